package daemon

import (
	"time"

	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/relay"
	"autoglm-sidecar/supervisor"
)

// traffic is what the relay counts, as the supervisor wants it: since a restart's mark. The mark lies in the arena, so
// a restart's account is whole though runners died during it.
type traffic struct {
	relay *relay.Relay
	mark  *arena.Mark
}

// Mark implements supervisor.Traffic.
func (t traffic) Mark(restart int64) {
	if t.mark.Restart.Load() == restart {
		return
	}
	c := t.relay.Stats().Counts
	t.mark.Restart.Store(0) // a half-written mark is none
	t.mark.Cut.Store(c.Outcomes[arena.Cut.String()])
	t.mark.Refused.Store(c.Outcomes[arena.Refused.String()])
	t.mark.Waited.Store(c.Waited)
	t.relay.Mark()
	t.mark.Over.Store(0)
	t.mark.Restart.Store(restart)
}

// Tally implements supervisor.Traffic.
func (t traffic) Tally(restart int64) supervisor.Tally {
	if restart == 0 || t.mark.Restart.Load() != restart {
		return supervisor.Tally{}
	}
	s := t.relay.Stats()
	c := s.Counts
	return supervisor.Tally{
		Cut:         c.Outcomes[arena.Cut.String()] - t.mark.Cut.Load(),
		Held:        c.Waited - t.mark.Waited.Load(),
		Refused:     c.Outcomes[arena.Refused.String()] - t.mark.Refused.Load(),
		LongestHold: max(c.LongestHold, waitingFor(s)),
		LongestGap:  c.LongestGap,
	}
}

// waitingFor is how long the first of those that wait at the gate has waited.
func waitingFor(s relay.Stats) time.Duration {
	if s.Gate.Oldest == 0 {
		return 0
	}
	return monotonic() - time.Duration(s.Gate.Oldest)
}
