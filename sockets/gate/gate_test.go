package gate

import (
	"slices"
	"testing"
)

// house is a gate with its neighbours.
type house struct {
	*Gate
	posted  []Grant
	drained []int64
}

func newHouse(waiting int) *house { return boundedHouse(Bounds{Waiting: waiting}) }

func boundedHouse(b Bounds) *house {
	h := &house{}
	h.Gate = New(b, func(g Grant) { h.posted = append(h.posted, g) }, func(life int64) { h.drained = append(h.drained, life) })
	return h
}

func ticket(at int64) Ticket { return Ticket{Arrived: at, Slot: int32(at), Loop: 0} }

func TestANewGateHoldsAndLetsThemPassInOrderOfArrival(t *testing.T) {
	h := newHouse(10)
	for _, at := range []int64{5, 3, 9, 1} {
		if v, _ := h.Enter(ticket(at)); v != Held {
			t.Fatalf("ticket %d: verdict %d, want held", at, v)
		}
	}
	h.Open(7)
	var order []int64
	for _, g := range h.posted {
		if g.Verdict != Pass || g.Life != 7 {
			t.Errorf("grant %+v, want pass to life 7", g)
		}
		order = append(order, g.Arrived)
	}
	if !slices.Equal(order, []int64{1, 3, 5, 9}) {
		t.Errorf("granted in the order %v", order)
	}
	if n := h.Hold(7); n != 4 {
		t.Errorf("in flight %d, want the 4 that were granted", n)
	}
}

func TestDrainedFollowsHoldExactlyOnce(t *testing.T) {
	h := newHouse(10)
	h.Open(1)
	h.Enter(ticket(1))
	h.Enter(ticket(2))
	if n := h.Hold(1); n != 2 {
		t.Fatalf("in flight %d, want 2", n)
	}
	h.Hold(1)
	h.Exit(1)
	if len(h.drained) != 0 {
		t.Fatal("drained with a stream in flight")
	}
	h.Exit(1)
	h.Hold(1)
	if !slices.Equal(h.drained, []int64{1}) {
		t.Errorf("drained %v, want it once", h.drained)
	}
	h.Open(1)
	h.Hold(1)
	if !slices.Equal(h.drained, []int64{1, 1}) {
		t.Errorf("drained %v: a hold after an open is another one, and this life was empty", h.drained)
	}
}

func TestOpeningAgainTakesTheDrainedBack(t *testing.T) {
	h := newHouse(10)
	h.Open(1)
	h.Enter(ticket(1))
	h.Hold(1)
	h.Open(1)
	h.Exit(1)
	if len(h.drained) != 0 {
		t.Errorf("drained %v after the gate was opened again", h.drained)
	}
}

func TestAReturnedStreamKeepsItsPlace(t *testing.T) {
	h := newHouse(1)
	h.Open(1)
	h.Enter(ticket(1))
	h.Hold(1)
	h.Enter(ticket(2))
	if v, _ := h.Enter(ticket(3)); v != Full {
		t.Errorf("verdict %d, want full", v)
	}
	if v, _ := h.Return(ticket(1), 1); v != Held {
		t.Errorf("verdict %d: a returned stream waits whatever the bound", v)
	}
	if !slices.Equal(h.drained, []int64{1}) {
		t.Errorf("drained %v: the returned stream has left life 1", h.drained)
	}
	h.Open(2)
	if h.posted[0].Arrived != 1 || h.posted[1].Arrived != 2 {
		t.Errorf("granted %+v, want the returned one first", h.posted)
	}
}

func TestRefusingAndLeaving(t *testing.T) {
	h := newHouse(10)
	h.Enter(ticket(1))
	h.Refuse("given up")
	if len(h.posted) != 1 || h.posted[0].Verdict != Closed {
		t.Errorf("posted %+v, want the waiting one refused", h.posted)
	}
	if v, _ := h.Enter(ticket(2)); v != Closed {
		t.Errorf("verdict %d, want closed", v)
	}
	if s := h.Stats(); s.Reason != "given up" || s.State != Refusing {
		t.Errorf("stats %+v", s)
	}
	h.Hold(1)
	if v, _ := h.Enter(ticket(3)); v != Held {
		t.Errorf("verdict %d: a hold ends the refusing", v)
	}
	h.Leave()
	h.Open(2)
	if v, _ := h.Enter(ticket(4)); v != Closed {
		t.Errorf("verdict %d: nothing undoes a leave", v)
	}
}
