package supervisor

import (
	"errors"
	"strings"

	"autoglm-sidecar/health"
)

// Trust comes slowly: a sidecar may be told to decide and not to do.

// Withheld is why a restart that was decided on is not carried out.
type Withheld uint8

const (
	NotWithheld Withheld = iota
	Observing            // mode observe
)

// String says why in a few words.
func (w Withheld) String() string {
	switch w {
	case NotWithheld:
		return "not withheld"
	case Observing:
		return "mode is observe"
	}
	return nameOf(nil, uint8(w))
}

// ErrObserving is why a restart that no person asks for is not carried out in mode observe.
var ErrObserving = errors.New("mode is observe: the restart was counted and is not carried out")

// err is the error of a restart that is withheld.
func (w Withheld) err(string) error { return ErrObserving }

// Would counts restarts that were decided on and not carried out, by their reason. Each that was asked for is one: who asks
// again for the same trouble counts it again.
type Would [health.NumReasons]uint32

// withholds says why a restart for that reason is not carried out now. A person's word always is; a restart after a crash is
// no decision, since nobody serves, and never asks.
func (m *Machine) withholds(reason health.Reason) Withheld {
	if m.Observe && !reason.ByHand() {
		return Observing
	}
	return NotWithheld
}

// withhold counts a restart that would have begun, and changes nothing else.
func (t *turn) withhold(by Withheld) {
	if t.m.Restart.ID == 0 && t.m.Phase() != PhaseStarting { // else it would have been joined
		t.m.Would[t.e.Reason]++
	}
	t.effect(Effect{Kind: EffectAnswer, Ask: t.e.Ask, Withheld: by})
}

// oneLine is what fits into the account of a restart.
func oneLine(s string) string { return clip(strings.Join(strings.Fields(s), " "), maxWhy) }
