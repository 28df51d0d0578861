// Package gate is where a stream enters. A gate is open (a stream passes to the life that serves), holding (it
// waits until a life serves), or closed (it is refused, so that its client retries elsewhere). It owns the queue of
// those that wait and the count of those in flight on each life.
//
// A life may have a bound of streams in flight. What comes above it waits in the same queue though the gate is open,
// and passes as others end: each client address in its turn (queue.go). So a worker that comes back is not run over by
// all that waited for it, and no client pushes another aside.
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

// Ticket names one stream that enters: the slot it lies in and the loop that owns the slot; its arrival in
// CLOCK_MONOTONIC nanoseconds and its client's address, which are its place in the queue.
type Ticket struct {
	Arrived int64
	Client  uint64 // streams with the same one take turns; what it is made of is the caller's affair
	Slot    int32
	Loop    int32
	Queued  bool // it began to wait while the gate was open: other streams were in its way, not the lack of a life
}

func (t Ticket) compare(o Ticket) int {
	return cmp.Or(cmp.Compare(t.Arrived, o.Arrived), cmp.Compare(t.Slot, o.Slot))
}

// Verdict is what a gate says to a stream.
type Verdict uint8

const (
	Pass   Verdict = iota // go to the life; the stream is counted in flight on it
	Held                  // wait for a life: a grant will be posted
	Queued                // wait for others to end, since the life has as many as it may: a grant will be posted
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
	bounds  Bounds
	post    func(Grant)      // to the loop that owns the stream; must not block, must not call back
	drained func(life int64) // must not block, must not call back

	mu       sync.Mutex // guards everything that follows
	state    State
	reason   string // why it refuses
	life     int64  // that streams pass to while open
	waiting  queue
	inFlight flights
	draining map[int64]bool // held lives whose Drained is still owed
	paid     int64          // the life whose Drained was called last, unless it was opened again
}

// flights are the streams in flight on each life that has some: one life or two, so a list is quicker than a map.
type flights []flight

type flight struct {
	life    int64
	streams int
}

func (f flights) on(life int64) int {
	for i := range f {
		if f[i].life == life {
			return f[i].streams
		}
	}
	return 0
}

func (f *flights) add(life int64) {
	for i := range *f {
		if (*f)[i].life == life {
			(*f)[i].streams++
			return
		}
	}
	*f = append(*f, flight{life, 1})
}

// drop takes one away and returns how many are left.
func (f *flights) drop(life int64) int {
	i := slices.IndexFunc(*f, func(f flight) bool { return f.life == life })
	if i < 0 {
		panic("gate: more streams left a life than entered it")
	}
	(*f)[i].streams--
	left := (*f)[i].streams
	if left == 0 {
		*f = slices.Delete(*f, i, i+1)
	}
	return left
}

// Bounds are how many streams a gate lets be where.
type Bounds struct {
	Waiting  int // streams that may wait
	InFlight int // streams that a life may have; 0: no bound
}

// New returns a gate that holds. post and drained are called with the gate's mutex held: they put something into a
// mailbox and return.
func New(bounds Bounds, post func(Grant), drained func(life int64)) *Gate {
	return &Gate{bounds: bounds, post: post, drained: drained, draining: map[int64]bool{}}
}

// Enter asks for a new stream.
func (g *Gate) Enter(t Ticket) (Verdict, int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.waiting.length >= g.bounds.Waiting && (g.state == Holding || g.state == Open && !g.room()) {
		return Full, 0
	}
	return g.enter(t)
}

// Return takes back a stream that passed and of which its life has not got one byte: it leaves that life and waits
// at the place that its arrival gives it, whatever the bound; while the gate is open it passes again in its turn.
func (g *Gate) Return(t Ticket, from int64) (Verdict, int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.leave(from)
	verdict, life := g.enter(t)
	g.fill() // the room that it left is another's, or its own
	return verdict, life
}

func (g *Gate) enter(t Ticket) (Verdict, int64) {
	switch g.state {
	case Open:
		if g.room() && g.waiting.length == 0 {
			g.inFlight.add(g.life)
			return Pass, g.life
		}
		t.Queued = true
		g.waiting.push(t)
		return Queued, 0
	case Holding:
		g.waiting.push(t)
		return Held, 0
	default:
		return Closed, 0
	}
}

// room: the life may have one more.
func (g *Gate) room() bool {
	return g.bounds.InFlight == 0 || g.inFlight.on(g.life) < g.bounds.InFlight
}

// fill lets those that wait pass, each address in its turn, while there is room.
func (g *Gate) fill() {
	for g.state == Open && g.waiting.length > 0 && g.room() {
		g.inFlight.add(g.life)
		g.post(Grant{Ticket: g.waiting.pull(), Verdict: Pass, Life: g.life})
	}
}

// Forget drops a stream that no longer wants to wait. It says false where the stream does not wait any more: its
// grant is on the way.
func (g *Gate) Forget(t Ticket) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.waiting.drop(t)
}

// Exit says that a stream which passed to life has ended there.
func (g *Gate) Exit(life int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.leave(life)
	g.fill()
}

// leave counts a stream out of life.
func (g *Gate) leave(life int64) {
	if g.inFlight.drop(life) == 0 {
		g.settle(life)
	}
}

// settle pays the Drained that is owed for a life without streams.
func (g *Gate) settle(life int64) {
	if g.draining[life] && g.inFlight.on(life) == 0 {
		delete(g.draining, life)
		g.paid = life
		g.drained(life)
	}
}

// Open lets those that wait pass to life, each address in its turn, and every new stream, as far as the bound goes: the
// rest pass as others end. Opening for another life than the one
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
	g.fill()
}

// turnAway posts to every stream that waits.
func (g *Gate) turnAway() {
	for g.waiting.length > 0 {
		g.post(Grant{Ticket: g.waiting.pull(), Verdict: Closed})
	}
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
	n := g.inFlight.on(life)
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
	g.turnAway()
}

// Leave turns away everyone for good: the sidecar goes.
func (g *Gate) Leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.state, g.reason = Leaving, "the sidecar is leaving"
	g.turnAway()
}

// Rejoin lets a stream that has waited before, perhaps under another runner, wait again, whatever the bound; while the
// gate is open it passes.
func (g *Gate) Rejoin(t Ticket) (Verdict, int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.enter(t)
}

// IsOpen says whether a new stream would pass, or be queued.
func (g *Gate) IsOpen() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state == Open
}

// Restore counts a stream that a take-over found in flight on life.
func (g *Gate) Restore(life int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inFlight.add(life)
}

// Serves is the life that streams pass to now, 0 for none.
func (g *Gate) Serves() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state != Open {
		return 0
	}
	return g.life
}

// Stats is what people see of a gate.
type Stats struct {
	State    State
	Reason   string // why it refuses, while it does
	Life     int64
	InFlight int   // on all lives
	Waiting  int   // now
	Queued   int   // of them, those whose wait began while the gate was open
	Oldest   int64 // arrival of the first of the others, those that are held; 0 where there is none
}

// Stats returns a snapshot.
func (g *Gate) Stats() Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := Stats{State: g.state, Life: g.life, Waiting: g.waiting.length, Queued: g.waiting.queued, Oldest: g.waiting.oldest()}
	if g.state == Refusing || g.state == Leaving {
		s.Reason = g.reason
	}
	for _, f := range g.inFlight {
		s.InFlight += f.streams
	}
	return s
}
