package relay

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/kernel"
)

const small = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// bounded is a world whose worker may have n streams at once, each of which it answers by path only when told to.
func bounded(t *testing.T, n int) *world {
	w := newWorld(t, 3, false)
	w.options = func(o *Options) { o.Concurrency = n }
	w.answers = map[string]answer{}
	for i := range 10 {
		w.answers[fmt.Sprintf("/%d", i)] = answer{keep: true}
	}
	return w
}

// get asks for a path from an address.
func (w *world) get(path int, from string) *client {
	c := w.connectFrom(netip.MustParseAddr(from), fmt.Sprintf("GET /%d HTTP/1.1\r\nHost: x\r\n\r\n", path))
	w.moves(5) // one after the other
	return c
}

// asked is the paths that reached the worker, in order.
func (w *world) asked() (paths string) {
	for _, c := range w.workers {
		if at := slices.Index(c.got, '/'); at >= 0 {
			paths += string(c.got[at+1])
		}
	}
	return paths
}

// answerNext lets the worker answer the oldest request that it didn't answer yet.
func (w *world) answerNext() {
	w.t.Helper()
	for _, c := range w.workers {
		if !c.closed && c.begun {
			c.answer, c.script.keep = []byte(small), false
			w.moves(30)
			return
		}
	}
	w.t.Fatal("the worker has nothing to answer")
}

func TestAWorkerGetsNoMoreThanItsBoundAndAddressesTakeTurns(t *testing.T) {
	w := bounded(t, 2)
	w.start()
	for path := range 5 {
		w.get(path, "192.0.2.1")
	}
	late := w.get(5, "192.0.2.2")
	if s := w.relay.Stats(); w.asked() != "01" || s.Gate.Queued != 4 || s.Gate.InFlight != 2 {
		t.Fatalf("the worker was asked for %q, stats %+v", w.asked(), s.Gate)
	}
	w.answerNext()
	w.answerNext()
	if got := w.asked(); got != "0125" {
		t.Errorf("the worker was asked for %q, want the second address to have its turn after one of the first", got)
	}
	for range 4 {
		w.answerNext()
	}
	w.finish()
	if r := w.only(late); r.body != "ok" {
		t.Errorf("got %+v", r)
	}
	w.outcomes("complete 6")
	var queued, held arena.Distribution
	for i := range w.relay.lanes {
		w.arena.Counters(i).Queued.AddTo(&queued)
		w.arena.Counters(i).Holds.AddTo(&held)
	}
	if n, h := sum(queued.Counts), sum(held.Counts); n != 4 || h != 0 || w.relay.counts().Waited != 0 {
		t.Errorf("%d waits in the queue and %d holds were counted, want 4 and none", n, h)
	}
	if s := w.relay.Stats().Gate; s.Waiting != 0 || s.InFlight != 0 {
		t.Errorf("in the end %+v", s)
	}
}

func sum(counts []int64) (n int64) {
	for _, c := range counts {
		n += c
	}
	return n
}

func TestThoseHeldEnterByTheBound(t *testing.T) {
	w := bounded(t, 1)
	w.open = false
	w.start()
	for path := range 4 {
		w.get(path, "192.0.2.1")
	}
	w.relay.Open(1, kernel.Address{Unix: "worker"})
	w.moves(20)
	if got := w.asked(); got != "0" {
		t.Errorf("the worker was asked for %q at once", got)
	}
	for range 4 {
		w.answerNext()
	}
	w.finish()
	if got := w.asked(); got != "0123" || w.relay.counts().Waited != 4 {
		t.Errorf("the worker was asked for %q; held %d", got, w.relay.counts().Waited)
	}
}

// TestTheQueueSurvivesARunner: the turns of the addresses are found again from arrivals and from the kernel.
func TestTheQueueSurvivesARunner(t *testing.T) {
	w := bounded(t, 1)
	w.start()
	for path := range 4 {
		w.get(path, "2001:db8::1:"+fmt.Sprint(path+1)) // one network: one client
	}
	w.get(4, "2001:db8:0:1::1")
	w.get(5, "192.0.2.1")
	w.start()
	w.moves(20)
	if s := w.relay.Stats().Gate; w.asked() != "0" || s.Queued != 5 || s.InFlight != 1 {
		t.Fatalf("after a death the worker was asked for %q, stats %+v", w.asked(), s)
	}
	for range 6 {
		w.answerNext()
	}
	w.finish()
	if got := w.asked(); got != "014523" {
		t.Errorf("the worker was asked for %q, want each network in its turn", got)
	}
}

func TestAStreamIsQueuedForAsLongAsItMayBeHeld(t *testing.T) {
	w := bounded(t, 1)
	w.start()
	w.get(0, "192.0.2.1")
	c := w.get(1, "192.0.2.1")
	w.passTime(61 * time.Second)
	if r := w.only(c); r.status != 503 || !strings.Contains(r.body, "as many requests as it may have") {
		t.Errorf("got %d %q", r.status, r.body)
	}
	if s := w.relay.Stats().Gate; s.Waiting != 0 || s.InFlight != 1 {
		t.Errorf("stats %+v", s)
	}
}

func TestAQueuedClientThatLeavesMakesRoom(t *testing.T) {
	w := bounded(t, 1)
	w.start()
	w.get(0, "192.0.2.1")
	gone := w.get(1, "192.0.2.1")
	last := w.get(2, "192.0.2.1")
	gone.end.Close()
	gone.left = true
	w.moves(5)
	w.answerNext()
	w.answerNext()
	w.finish()
	if r := w.only(last); r.body != "ok" || w.asked() != "02" {
		t.Errorf("got %+v; the worker was asked for %q", r, w.asked())
	}
}

// TestABusyWorldInAQueue kills the runner at points of a run in which one stream at a time may be in flight.
func TestABusyWorldInAQueue(t *testing.T) {
	run := func(kills ...int) (points int, err error) {
		w, want := busy(t, 1, false)
		w.options = func(o *Options) { o.Concurrency = 1 }
		points, _, err = playIn(w, want, kills...)
		if s := w.relay.Stats().Gate; err == nil && (s.Waiting != 0 || s.InFlight > 1) { // the last may just be on its way out
			err = fmt.Errorf("in the end %+v", s)
		}
		return points, err
	}
	points, err := run()
	if err != nil {
		t.Fatal(err)
	}
	for at := 1; at <= points; at += 5 * everyPoint {
		if _, err := run(at, at+1+at%7); err != nil {
			t.Fatalf("killed at point %d of %d: %v", at, points, err)
		}
	}
}
