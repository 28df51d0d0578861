package supervisor

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"autoglm-sidecar/health"
)

// Trust comes slowly: a sidecar may be told to decide and not to do, for good (mode observe) or for a while (a freeze).

// Withheld is why a restart that was decided on is not carried out.
type Withheld uint8

const (
	NotWithheld Withheld = iota
	ByMode               // mode observe
	ByFreeze             // a freeze is in force
)

// String says why in a few words.
func (w Withheld) String() string {
	switch w {
	case NotWithheld:
		return "not withheld"
	case ByMode:
		return "mode is observe"
	case ByFreeze:
		return "frozen"
	}
	return nameOf(nil, uint8(w))
}

// The errors of what is withheld. That of a freeze is wrapped, with who said so, why, and how much longer.
var (
	ErrObserving = errors.New("mode is observe: the restart was counted and is not carried out")
	ErrFrozen    = errors.New("frozen")
)

// err is the error of what is withheld.
func (w Withheld) err(why string) error {
	if w == ByMode {
		return ErrObserving
	}
	return fmt.Errorf("%w %s", ErrFrozen, why)
}

// Would counts restarts that were decided on and not carried out, by their reason. Each that was asked for is one: who asks
// again for the same trouble counts it again.
type Would [health.NumReasons]uint32

// Freeze is a person's word that no life that serves is ended until a time, by nobody: neither by a judge nor by another person.
// It does not keep the sidecar from leaving, nor a worker that has crashed from being started again, unless it says so.
type Freeze struct {
	Until time.Duration // 0: there is none
	At    time.Duration // since when
	All   bool          // a worker that has crashed stays down until then, too
	By    string
	Why   string
}

// MaxFreeze bounds a freeze: what is forgotten must end by itself.
const MaxFreeze = 7 * 24 * time.Hour

// frozen says that a freeze is in force. It hangs on no timer: one that comes late prolongs nothing.
func (m *Machine) frozen(now time.Duration) bool { return now < m.Freeze.Until }

// staysDown says that a worker that has crashed is not to be started again now.
func (t *turn) staysDown() bool { return t.m.Failed && t.m.Freeze.All && t.m.frozen(t.now) }

// withholds says why a restart for that reason is not carried out now. Mode observe lets a person's word pass, a freeze does not:
// it is a person's word, too, and who knows better takes it back first. A restart after a crash never asks.
func (m *Machine) withholds(reason health.Reason, now time.Duration) Withheld {
	switch {
	case m.frozen(now):
		return ByFreeze
	case m.Observe && !reason.ByHand():
		return ByMode
	}
	return NotWithheld
}

// withhold counts a restart that would have begun, and changes nothing else.
func (t *turn) withhold(by Withheld) {
	joins := t.m.Restart.ID != 0 || t.m.Phase() == PhaseStarting
	if !joins && !t.e.Reason.ByHand() {
		t.m.Would[t.e.Reason]++
	}
	answer := Effect{Kind: EffectAnswer, Ask: t.e.Ask, Withheld: by}
	if by == ByFreeze {
		answer.Why = t.frozenWords()
	}
	t.effect(answer)
}

// frozenWords are for who meets a freeze.
func (t *turn) frozenWords() string {
	f := t.m.Freeze
	return fmt.Sprintf("by %s for another %v: %s", f.By, (f.Until - t.now).Round(time.Second), f.Why)
}

// freeze puts off a restart whose old life still runs. One that has ended its old life goes on, or nobody would serve. So does a
// person's stop: it was there first.
func freeze(t *turn) {
	if t.m.Want == WantLeave {
		t.refuse(byLeaving)
		return
	}
	t.m.Freeze = Freeze{Until: t.now + t.e.For, At: t.now, All: t.e.All, By: t.e.By, Why: t.e.Why}
	state := t.m.State
	if state == Finding {
		state = t.m.Noted
	}
	if state == Serving || state == Holding || state == Draining {
		t.finish(Overtaken, fmt.Sprintf("frozen by %s: %s", t.e.By, t.e.Why))
	}
	t.effect(Effect{Kind: EffectAnswer, Ask: t.e.Ask, Life: t.m.Life})
	t.pursue()
}

// unfreeze ends a freeze before its time.
func unfreeze(t *turn) {
	if t.m.Want == WantLeave {
		t.refuse(byLeaving)
		return
	}
	t.effect(Effect{Kind: EffectAnswer, Ask: t.e.Ask, Life: t.m.Life, Joined: !t.m.frozen(t.now)})
	t.m.Freeze = Freeze{}
	t.pursue()
}

// thaw is the end of a freeze by itself.
func thaw(t *turn) {
	if t.m.Freeze.Until == 0 || t.m.frozen(t.now) {
		return
	}
	t.m.Freeze = Freeze{}
	t.pursue()
}

// oneLine is what fits into the account of a restart.
func oneLine(s string) string { return clip(strings.Join(strings.Fields(s), " "), maxWhy) }
