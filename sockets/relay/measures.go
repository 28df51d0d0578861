package relay

import (
	"time"

	"autoglm-sidecar/sockets/arena"
)

// Measures are what is counted beside Counts, for those who watch many sidecars: the sums of all lanes since the first
// runner started. No lane is stopped for them.
type Measures struct {
	UpBytes, DownBytes int64           // taken from clients, given to clients
	Busy               []time.Duration // each lane's time spent on events
	TurnedAway         int64           // connections of addresses that had as many as they may
	Early, EarlyFailed int64           // answers begun before the worker had said anything, and those of them that became an error
	TooLong            int64           // streams with an event too long to be judged
	Refusals           map[string]int64
	LogLost            int64 // what was to be told of single streams and found no room

	Gaps, Holds, Queued, Firsts, Connects arena.Distribution
}

// Measures returns them as they are.
func (r *Relay) Measures() Measures {
	m := Measures{Refusals: map[string]int64{}, LogLost: r.Arena.Ends().Lost()}
	for _, code := range arena.Refusals() {
		m.Refusals[code.String()] = r.refusals(code)
	}
	for i := range arena.MaxLoops {
		c := r.Arena.Counters(i)
		m.UpBytes += c.UpBytes.Load()
		m.DownBytes += c.DownBytes.Load()
		m.TurnedAway += c.TurnedAway.Load()
		m.Early += c.Early.Load()
		m.EarlyFailed += c.EarlyFailed.Load()
		m.TooLong += c.TooLong.Load()
		if busy := c.Busy.Load(); busy != 0 || i < len(r.lanes) {
			m.Busy = append(m.Busy, time.Duration(busy))
		}
		c.Gaps.AddTo(&m.Gaps)
		c.Holds.AddTo(&m.Holds)
		c.Queued.AddTo(&m.Queued)
		c.Firsts.AddTo(&m.Firsts)
		c.Connects.AddTo(&m.Connects)
	}
	return m
}
