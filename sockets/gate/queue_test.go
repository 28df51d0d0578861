package gate

import (
	"fmt"
	"slices"
	"testing"
)

// from is a stream of a client's.
func from(client uint64, at int64) Ticket {
	return Ticket{Arrived: at, Slot: int32(at), Client: client}
}

// order is the arrivals of those that were let pass since it was asked last.
func (h *house) order() (order []int64) {
	for _, g := range h.posted {
		if g.Verdict == Pass {
			order = append(order, g.Arrived)
		}
	}
	h.posted = nil
	return order
}

func (h *house) enter(t *testing.T, want Verdict, tickets ...Ticket) {
	t.Helper()
	for _, ticket := range tickets {
		if v, _ := h.Enter(ticket); v != want {
			t.Fatalf("ticket %+v: verdict %d, want %d", ticket, v, want)
		}
	}
}

func TestAnOpenGateLetsNoMoreInThanItsBound(t *testing.T) {
	h := boundedHouse(Bounds{Waiting: 10, InFlight: 2})
	h.Open(1)
	h.enter(t, Pass, from(1, 1), from(1, 2))
	h.enter(t, Queued, from(1, 3), from(1, 4))
	if s := h.Stats(); s.Waiting != 2 || s.Queued != 2 || s.InFlight != 2 || s.Oldest != 0 {
		t.Errorf("stats %+v", s)
	}
	h.Exit(1)
	if got := h.order(); !slices.Equal(got, []int64{3}) {
		t.Errorf("one has left, and %v were let in", got)
	}
	h.Exit(1)
	h.Exit(1)
	if got := h.order(); !slices.Equal(got, []int64{4}) {
		t.Errorf("let in %v, want the last that waited", got)
	}
	h.enter(t, Pass, from(1, 5))
}

func TestAfterARestartThoseHeldEnterByTheBound(t *testing.T) {
	h := boundedHouse(Bounds{Waiting: 100, InFlight: 3})
	for at := range int64(9) {
		h.enter(t, Held, from(1, at+1))
	}
	h.Open(1)
	for _, want := range [][]int64{{1, 2, 3}, {4}, {5}, {6}} {
		if got := h.order(); !slices.Equal(got, want) {
			t.Fatalf("let in %v, want %v", got, want)
		}
		h.Exit(1)
	}
}

func TestAddressesTakeTurns(t *testing.T) {
	for _, test := range []struct {
		name    string
		waiting []Ticket // in the order in which they come
		want    []int64
	}{
		{"one of a thousand beside one", []Ticket{from(1, 1), from(1, 2), from(1, 3), from(1, 4), from(2, 5)}, []int64{1, 5, 2, 3, 4}},
		{"the address that came first has the first turn", []Ticket{from(2, 1), from(1, 2), from(1, 3), from(2, 4)}, []int64{1, 2, 4, 3}},
		{"the oldest of an address comes first, whenever it came", []Ticket{from(1, 7), from(1, 3), from(2, 5), from(1, 6)}, []int64{3, 5, 6, 7}},
		{"three addresses", []Ticket{from(1, 1), from(1, 2), from(1, 3), from(2, 4), from(2, 5), from(3, 6)}, []int64{1, 4, 6, 2, 5, 3}},
		{"the same stream twice is one", []Ticket{from(1, 1), from(1, 1)}, []int64{1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := boundedHouse(Bounds{Waiting: 100, InFlight: 1})
			h.enter(t, Held, test.waiting...)
			h.Open(1)
			for range len(test.want) {
				h.Exit(1)
			}
			if got := h.order(); !slices.Equal(got, test.want) {
				t.Errorf("let in %v, want %v", got, test.want)
			}
		})
	}
}

// TestTheOrderSurvivesARunner: those that waited come back in the order of their slots, which is nobody's order.
func TestTheOrderSurvivesARunner(t *testing.T) {
	waiting := []Ticket{from(1, 1), from(1, 2), from(2, 3), from(1, 4), from(3, 5), from(2, 6)}
	want := []int64{1, 3, 5, 2, 6, 4}
	for turn := range len(waiting) {
		h := boundedHouse(Bounds{Waiting: 1, InFlight: 1})
		h.Restore(1)
		for i := range waiting {
			h.Rejoin(waiting[(i*5+turn)%len(waiting)])
		}
		h.Open(1)
		if got := h.order(); got != nil {
			t.Fatalf("let in %v beside one that was in flight when the runner died", got)
		}
		for range len(want) {
			h.Exit(1)
		}
		if got := h.order(); !slices.Equal(got, want) {
			t.Errorf("let in %v, want %v", got, want)
		}
	}
}

func TestAQueueHasItsOwnBound(t *testing.T) {
	h := boundedHouse(Bounds{Waiting: 1, InFlight: 1})
	h.Open(1)
	h.enter(t, Pass, from(1, 1))
	h.enter(t, Queued, from(1, 2))
	h.enter(t, Full, from(1, 3))
	h.Exit(1)
	h.Exit(1)
	h.enter(t, Pass, from(1, 4)) // there is room: nobody has to wait, so nobody is turned away
}

func TestAReturnedStreamPassesAgainInItsTurn(t *testing.T) {
	h := boundedHouse(Bounds{Waiting: 10, InFlight: 2})
	h.Open(1)
	h.enter(t, Pass, from(1, 1), from(2, 3))
	h.enter(t, Queued, from(2, 2), from(1, 4))
	if v, _ := h.Return(from(2, 3), 1); v != Queued {
		t.Errorf("verdict %d, want queued: others wait", v)
	}
	if got := h.order(); !slices.Equal(got, []int64{2}) {
		t.Errorf("let in %v, want the one that is older", got)
	}
	if v, _ := h.Return(from(1, 1), 1); v != Queued {
		t.Errorf("verdict %d, want queued: others wait", v)
	}
	if got := h.order(); !slices.Equal(got, []int64{1}) {
		t.Errorf("let in %v, want the returned one itself: nobody is older", got)
	}
}

func TestAHoldStopsTheQueueToo(t *testing.T) {
	h := boundedHouse(Bounds{Waiting: 10, InFlight: 1})
	h.Open(1)
	h.enter(t, Pass, from(1, 1))
	h.enter(t, Queued, from(1, 2))
	h.Hold(1)
	h.enter(t, Held, from(1, 3))
	h.Exit(1)
	if got := h.order(); got != nil || !slices.Equal(h.drained, []int64{1}) {
		t.Fatalf("let in %v after the hold, drained %v", got, h.drained)
	}
	if s := h.Stats(); s.Waiting != 2 || s.Queued != 1 || s.Oldest != 3 {
		t.Errorf("stats %+v, want 2 waiting, of whom the younger is held", s)
	}
	h.Open(2)
	if got := h.order(); !slices.Equal(got, []int64{2}) {
		t.Errorf("let in %v", got)
	}
}

// BenchmarkGate is a stream's way through a gate that keeps nobody waiting, the usual case, and through a queue.
func BenchmarkGate(b *testing.B) {
	for _, bounds := range []Bounds{{Waiting: 4096}, {Waiting: 4096, InFlight: 1024}} {
		b.Run(fmt.Sprintf("bound=%d", bounds.InFlight), func(b *testing.B) {
			g := New(bounds, func(Grant) {}, func(int64) {})
			g.Open(1)
			for b.Loop() {
				g.Enter(from(1, 1))
				g.Exit(1)
			}
		})
	}
	b.Run("queue of 1000", func(b *testing.B) {
		g := New(Bounds{Waiting: 4096, InFlight: 1}, func(Grant) {}, func(int64) {})
		g.Open(1)
		g.Enter(from(1, 1))
		at := int64(1)
		for range 1000 {
			at++
			g.Enter(from(uint64(at%10), at))
		}
		for b.Loop() {
			at++
			g.Enter(from(uint64(at%10), at))
			g.Exit(1)
		}
	})
}
