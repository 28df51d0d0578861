package daemon

import (
	"context"
	"fmt"
	"time"

	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/supervisor"
	"autoglm-sidecar/supervisor/admin"
	"autoglm-sidecar/supervisor/ledger"
)

// What a restart did to single streams: the relay tells of each, in numbers and in CLOCK_MONOTONIC; the ledger keeps it, in
// words and by the wall clock.

// keepStreams is told by the relay of streams that were cut, or that a restart has touched. Those that a worker spoilt
// while it served belong to no restart: the log has them.
func (d *daemon) keepStreams(ends []arena.End) {
	if d.journal == nil {
		return
	}
	var all []ledger.Stream
	for i := range ends {
		if e := &ends[i]; e.What == arena.Ending && (e.Restart != 0 || e.Cause == arena.Crash) {
			all = append(all, streamOf(e, readClocks()))
		}
	}
	d.journal.keep(all)
}

// keep is AppendStreams for those whom it is told by; an error is said and no more can be done about it.
func (j journal) keep(all []ledger.Stream) {
	if len(all) > 0 {
		j.d.stateIs(j.AppendStreams(all))
	}
}

func streamOf(e *arena.End, now clocks) ledger.Stream {
	outcome := e.Outcome.String()
	if e.Outcome == arena.Pending {
		outcome = admin.StillOpen
	}
	return ledger.Stream{
		Restart: e.Restart, Life: e.Life, Request: string(e.ID.Value()), Client: string(e.Client.Value()), Route: string(e.Route.Value()),
		Ended: now.wall.Add(time.Duration(e.At) - now.mono).UTC(), Age: time.Duration(e.At - e.Arrived), Waited: time.Duration(e.Waited),
		Bytes: e.Bytes, Status: int(e.Status), Outcome: outcome, Cause: e.Cause.String(),
	}
}

// mostInTheWay is how many of the streams that a restart was postponed for are kept.
const mostInTheWay = 100

// restartEnded closes what is noted of streams during a restart. It may be told of one twice, by two runners.
func (d *daemon) restartEnded(c supervisor.Change) {
	if !c.Ended {
		return
	}
	if mark := d.arena.Mark(); mark.Restart.Load() == c.Restart.ID && mark.Over.Load() == 0 {
		mark.Over.Store(int64(monotonic()))
	}
	if c.Restart.Result != supervisor.Postponed {
		return
	}
	now := time.Now().UTC()
	var all []ledger.Stream
	for _, s := range d.relay.Oldest(mostInTheWay) {
		all = append(all, ledger.Stream{
			Restart: c.Restart.ID, Life: s.Life, Request: s.RequestID, Client: s.Client, Route: s.Route, Ended: now, Age: s.Age,
			Outcome: admin.StillOpen, InTheWay: true,
		})
	}
	d.journal.keep(all)
}

// Touched implements admin.Backend.
func (b backend) Touched(_ context.Context, id int64) (admin.Touched, error) {
	if b.journal == nil {
		return admin.Touched{}, unknownRestart(id)
	}
	r := b.life.Status().Restart // under way
	var err error
	if r.ID != id {
		if r, err = find(id, b.journal.History); err != nil {
			return admin.Touched{}, err
		}
	}
	kept, err := b.journal.StreamsOf(r)
	if err != nil {
		return admin.Touched{}, err
	}
	known := map[string]bool{}
	for _, s := range kept {
		known[s.Request] = true
	}
	open := b.relay.Touched(id)
	now := readClocks()
	for i := range open {
		if s := streamOf(&open[i], now); !known[s.Request] {
			kept = append(kept, s)
		}
	}
	return touched(r, ledger.Longest(kept)), nil
}

// Touched reads the ledger in a directory while no sidecar runs.
func Touched(dir string, id int64) (admin.Touched, error) {
	r, err := find(id, func(n int) ([]ledger.Entry, error) { return ledger.Read(dir, n) })
	if err != nil {
		return admin.Touched{}, err
	}
	kept, err := ledger.ReadStreams(dir, r)
	return touched(r, kept), err
}

func find(id int64, read func(n int) ([]ledger.Entry, error)) (supervisor.Restart, error) {
	all, err := read(0)
	if err != nil {
		return supervisor.Restart{}, err
	}
	for _, e := range all {
		if e.ID == id {
			return e.Restart, nil
		}
	}
	return supervisor.Restart{}, unknownRestart(id)
}

func unknownRestart(id int64) error {
	return &admin.Refusal{Code: admin.UnknownRestart, Message: fmt.Sprintf("restart %d is not known here", id)}
}

func touched(r supervisor.Restart, kept []ledger.Stream) admin.Touched {
	t := admin.Touched{Restart: past(r), Streams: []admin.PastStream{}}
	for _, s := range kept {
		t.Streams = append(t.Streams, admin.PastStream{
			RequestID: s.Request, Client: s.Client, Route: s.Route, Outcome: s.Outcome, Cause: s.Cause, InTheWay: s.InTheWay, Life: s.Life,
			Ended: s.Ended, AgeMS: s.Age.Milliseconds(), WaitedMS: s.Waited.Milliseconds(), Bytes: s.Bytes, Status: s.Status,
		})
	}
	return t
}
