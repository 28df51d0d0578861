package daemon

import (
	"context"
	"time"
)

// The wall clock is for people alone: all that is decided goes by CLOCK_MONOTONIC, which doesn't jump. But times that the
// log, the ledger and status gave before a jump don't fit those after it, so a jump is said.

const (
	lookAtClock = 10 * time.Second
	// leap is how far the two clocks may drift apart from one look to the next: a clock that is slewed (adjtimex(2): at most
	// 500 ppm) gets nowhere near, one that is set does.
	leap = time.Second
)

// clocks are both, read at one moment.
type clocks struct {
	wall time.Time
	mono time.Duration
}

func readClocks() clocks { return clocks{time.Now().Round(0), monotonic()} } // Round: without Go's own monotonic reading

// leapt is how far the wall clock has jumped since before; false: it hasn't.
func (c clocks) leapt(before clocks) (by time.Duration, leapt bool) {
	by = c.wall.Sub(before.wall) - (c.mono - before.mono)
	return by, by.Abs() >= leap
}

// watchClock says so when the wall clock jumps, until ctx ends.
func (d *daemon) watchClock(ctx context.Context, read func() clocks) {
	every := time.NewTicker(lookAtClock)
	defer every.Stop()
	for before := read(); ; {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		now := read()
		if by, leapt := now.leapt(before); leapt {
			d.arena.Account().ClockJumps.Add(1)
			d.Log.Warn("the machine's clock jumped: times told before don't fit those told from now on", "by", by.Round(time.Millisecond).String())
		}
		before = now
	}
}

// afterSecond is when behind a full second what is done each second is done: the reader of GPUs looks on the second, and what it says
// has come by then. Who wakes up once a second costs half of who wakes up twice.
const afterSecond = 3 * time.Millisecond

// atSecond begins what is done each second.
func atSecond(ctx context.Context, run func(context.Context)) {
	select {
	case <-time.After(time.Until(time.Now().Truncate(time.Second).Add(time.Second + afterSecond))):
		run(ctx)
	case <-ctx.Done():
	}
}
