// Package gate is where a stream enters. A gate is open (a stream passes to the life that serves), holding (it
// waits until a life serves), or closed (it is refused, so that its client retries elsewhere). It owns the queue of
// those that wait, in the order in which they arrived, and the count of those in flight on each life.
//
// It is also one half of the barrier on which every planned restart stands: after Hold has returned, nothing enters
// that life any more, and Drained is called exactly once, when its last stream has left.
//
// A small struct under one mutex; nothing here waits. What must be told to a stream that waits is posted to the
// loop that owns it. The queue isn't stored anywhere: a runner that takes over restores it from the slots, whose
// arrival times are the order.
package gate

import (
	"cmp"
	"slices"
	"sync"
)

// Ticket names one stream that enters: the slot it lies in, the loop that owns the slot, and its arrival in
// CLOCK_MONOTONIC nanoseconds, which is its place in the queue.
type Ticket struct {
	Arrived int64
	Slot    int32
	Loop    int32
}

func (t Ticket) compare(o Ticket) int {
	return cmp.Or(cmp.Compare(t.Arrived, o.Arrived), cmp.Compare(t.Slot, o.Slot))
}

// Verdict is what a gate says to a stream.
type Verdict uint8

const (
	Pass   Verdict = iota // go to the life; the stream is counted in flight on it
	Held                  // wait: a grant will be posted
	Full                  // too many wait already
	Closed                // refused: given up, stopped or leaving
)

// Grant is posted to the loop of a stream that waited: it passes to Life, or it is refused (Verdict Closed). Each
// grant that passes is in flight from then on; a loop that finds the stream gone answers it with Exit.
type Grant struct {
	Ticket
	Verdict Verdict
	Life    int64
}

// State is a gate's public state.
type State uint8

const (
	Holding State = iota
	Open
	Refusing
	Leaving
)

func (s State) String() string {
	switch s {
	case Open:
		return "open"
	case Refusing:
		return "refusing"
	case Leaving:
		return "leaving"
	default:
		return "holding"
	}
}

// Gate is described by its package. Its zero value is of no use: New.
type Gate struct {
	bound   int              // streams that may wait
	post    func(Grant)      // to the loop that owns the stream; must not block, must not call back
	drained func(life int64) // must not block, must not call back

	mu       sync.Mutex // guards everything that follows
	state    State
	reason   string // why it refuses
	life     int64  // that streams pass to while open
	waiting  []Ticket
	inFlight map[int64]int
	draining map[int64]bool // held lives whose Drained is still owed
	paid     int64          // the life whose Drained was called last, unless it was opened again
}

// New returns a gate that holds, with room for bound waiting streams. post and drained are called with the gate's
// mutex held: they put something into a mailbox and return.
func New(bound int, post func(Grant), drained func(life int64)) *Gate {
	return &Gate{bound: bound, post: post, drained: drained, inFlight: map[int64]int{}, draining: map[int64]bool{}}
}

// Enter asks for a new stream.
func (g *Gate) Enter(t Ticket) (Verdict, int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state == Holding && len(g.waiting) >= g.bound {
		return Full, 0
	}
	return g.enter(t)
}

// Return takes back a stream that passed and of which its life has not got one byte: it leaves that life and waits
// at the place that its arrival gives it, whatever the bound; while the gate is open it passes again.
func (g *Gate) Return(t Ticket, from int64) (Verdict, int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.exit(from)
	return g.enter(t)
}

func (g *Gate) enter(t Ticket) (Verdict, int64) {
	switch g.state {
	case Open:
		g.inFlight[g.life]++
		return Pass, g.life
	case Holding:
		i, found := slices.BinarySearchFunc(g.waiting, t, Ticket.compare)
		if !found {
			g.waiting = slices.Insert(g.waiting, i, t)
		}
		return Held, 0
	default:
		return Closed, 0
	}
}

// Forget drops a stream that no longer wants to wait. It says false where the stream does not wait any more: its
// grant is on the way.
func (g *Gate) Forget(t Ticket) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i, found := slices.BinarySearchFunc(g.waiting, t, Ticket.compare)
	if found {
		g.waiting = slices.Delete(g.waiting, i, i+1)
	}
	return found
}

// Exit says that a stream which passed to life has ended there.
func (g *Gate) Exit(life int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.exit(life)
}

func (g *Gate) exit(life int64) {
	n := g.inFlight[life] - 1
	switch {
	case n > 0:
		g.inFlight[life] = n
	case n == 0:
		delete(g.inFlight, life)
		g.settle(life)
	default:
		panic("gate: more streams left a life than entered it")
	}
}

// settle pays the Drained that is owed for a life without streams.
func (g *Gate) settle(life int64) {
	if g.draining[life] && g.inFlight[life] == 0 {
		delete(g.draining, life)
		g.paid = life
		g.drained(life)
	}
}

// Open lets all that wait pass to life, in order, and every new stream. Opening for another life than the one
// before takes back no Drained that is owed for that one.
func (g *Gate) Open(life int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state == Leaving {
		return
	}
	g.state, g.life = Open, life
	delete(g.draining, life)
	g.paid = 0
	g.release(Grant{Verdict: Pass, Life: life})
}

// release posts to every stream that waits.
func (g *Gate) release(to Grant) {
	for _, t := range g.waiting {
		if to.Verdict == Pass {
			g.inFlight[to.Life]++
		}
		to.Ticket = t
		g.post(to)
	}
	g.waiting = nil
}

// Hold shuts life off: on return no stream enters it any more. The count is of those still in flight on it; Drained
// follows exactly once, at once where the count is 0, unless the gate is opened for that life again before; holding
// again only asks for the count.
func (g *Gate) Hold(life int64) (inFlight int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state == Open || g.state == Refusing {
		g.state = Holding
	}
	n := g.inFlight[life]
	if !g.draining[life] && g.paid != life {
		g.draining[life] = true
		g.settle(life)
	}
	return n
}

// Refuse turns away everyone, those who wait too, until the gate is opened or held again.
func (g *Gate) Refuse(reason string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state == Leaving {
		return
	}
	g.state, g.reason = Refusing, reason
	g.release(Grant{Verdict: Closed})
}

// Leave turns away everyone for good: the sidecar goes.
func (g *Gate) Leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.state, g.reason = Leaving, "the sidecar is leaving"
	g.release(Grant{Verdict: Closed})
}

// Rejoin lets a stream that waited under a runner before wait again, whatever the bound.
func (g *Gate) Rejoin(t Ticket) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.enter(t)
}

// Restore counts a stream that a take-over found in flight on life.
func (g *Gate) Restore(life int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inFlight[life]++
}

// Stats is what people see of a gate.
type Stats struct {
	State    State
	Reason   string // why it refuses, while it does
	Life     int64
	InFlight int   // on all lives
	Waiting  int   // now
	Oldest   int64 // arrival of the first that waits, 0 where none does
}

// Stats returns a snapshot.
func (g *Gate) Stats() Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := Stats{State: g.state, Life: g.life, Waiting: len(g.waiting)}
	if g.state == Refusing || g.state == Leaving {
		s.Reason = g.reason
	}
	for _, n := range g.inFlight {
		s.InFlight += n
	}
	if len(g.waiting) > 0 {
		s.Oldest = g.waiting[0].Arrived
	}
	return s
}
