package relay

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"autoglm-sidecar/sockets/arena"
)

// record counts a stream's end, and has it told where it was cut or a restart has touched it. It comes before the record
// that says the stream is over, so a death may count it twice and never miss it.
func (l *lane) record(c *conn) {
	l.count.Outcomes[c.r.Outcome].Add(1)
	if c.r.Outcome == arena.Cut {
		l.count.Causes[c.r.Cause].Add(1)
	}
	if c.r.Outcome == arena.Cut || c.slot.Story.Restart != 0 {
		l.relay.teller.put(l.storyOf(c))
	}
}

// storyOf is what there is to tell of a stream now.
func (l *lane) storyOf(c *conn) arena.End {
	r, s := &c.r, &c.slot.Story
	e := arena.End{
		Restart: s.Restart, Life: r.Life, Arrived: r.Arrived, Waited: s.Waited, At: l.now, Bytes: c.slot.Noted.DownGiven - s.GivenAt,
		Status: r.Status, Outcome: r.Outcome, Cause: r.Cause, ID: c.slot.ID, Route: s.Route,
	}
	if r.Phase == arena.Held {
		e.Waited += l.now - s.WaitSince
	}
	e.Client.Set(l.k.Peer(r.Client))
	return e
}

// teller writes to the log what lanes have put into the arena's ring, those of a dead runner too, and hands it on to who
// keeps it. A lane never waits for it: a slow log or disk loses records, which are counted, never a stream's time.
type teller struct {
	ends arena.Ends
	log  *slog.Logger
	keep func([]arena.End) // nil: nobody does
	some chan struct{}     // has room for one: there is something to tell

	mu sync.Mutex // held by the lane that puts a record into the ring: a copy's time
}

// tellBatch is how many streams are told of at once: who keeps them makes them last by one write.
const tellBatch = 64

func newTeller(o Options) *teller {
	return &teller{ends: o.Arena.Ends(), log: o.Log, keep: o.Ended, some: make(chan struct{}, 1)}
}

func (t *teller) put(e arena.End) {
	t.mu.Lock()
	t.ends.Put(&e)
	t.mu.Unlock()
	select {
	case t.some <- struct{}{}:
	default: // it knows
	}
}

// tell tells until ctx ends, and then what is left.
func (t *teller) tell(ctx context.Context, refusals func(arena.Refusal) int64) {
	look := time.NewTicker(time.Second)
	defer look.Stop()
	lastSummed := time.Time{}
	for goOn := true; goOn; {
		t.tellStreams()
		if now := time.Now(); now.Sub(lastSummed) >= sumRefusals && t.tellRefusals(refusals) {
			lastSummed = now
		}
		select {
		case <-ctx.Done():
			goOn = false
		case <-t.some:
		case <-look.C:
		}
	}
	t.tellStreams()
	t.tellRefusals(refusals)
}

func (t *teller) tellStreams() {
	for {
		ends, places := t.ends.Take(tellBatch)
		if places == 0 {
			return
		}
		for i := range ends {
			t.line(&ends[i])
		}
		if t.keep != nil && len(ends) > 0 {
			t.keep(ends)
		}
		t.ends.Dealt(places)
	}
}

// line is one stream's in the log, where it has one.
func (t *teller) line(e *arena.End) {
	attrs := []slog.Attr{
		slog.String("request", string(e.ID.Value())), slog.String("client", string(e.Client.Value())), slog.String("route", string(e.Route.Value())),
		slog.Int64("life", e.Life), slog.Int64("age_ms", (e.At-e.Arrived)/1e6), slog.Int64("waited_ms", e.Waited/1e6), slog.Int64("bytes", e.Bytes),
		slog.Int64("status", int64(e.Status)),
	}
	if e.Restart != 0 {
		attrs = append(attrs, slog.Int64("restart", e.Restart))
	}
	switch {
	case e.What == arena.TooLong:
		t.log.LogAttrs(context.Background(), slog.LevelWarn, "event longer than the buffer: this stream's end can't be judged any more", attrs...)
	case e.Outcome == arena.Cut:
		t.log.LogAttrs(context.Background(), slog.LevelError, "stream cut", append([]slog.Attr{slog.String("cause", e.Cause.String())}, attrs...)...)
	}
}

// sumRefusals is how often refused streams are told of at the most. Whoever is refused knows; a flood of them must not
// drown the log.
const sumRefusals = 10 * time.Second

// tellRefusals writes one line for all streams that were refused since the last one. It says whether there was any.
func (t *teller) tellRefusals(now func(arena.Refusal) int64) bool {
	var total int64
	var codes []string
	for _, code := range arena.Refusals() {
		told := t.ends.ToldRefusals(code)
		if n := now(code) - told.Load(); n > 0 {
			total += n
			codes = append(codes, fmt.Sprintf("%s %d", code, n))
			told.Add(n)
		}
	}
	if total > 0 {
		t.log.Warn("streams refused", "streams", total, "codes", strings.Join(codes, ", "))
	}
	return total > 0
}
