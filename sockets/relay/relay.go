// Package relay carries the streams between clients and the worker. A stream is a small state machine in a slot of
// the arena: its head is read, it enters at the gate, a connection to the life is made, the request goes there and
// the answer comes back, its end is judged. Nothing is sent before it was judged and committed, so a runner that
// takes over goes on with each stream at its very byte.
//
// The walk of a stream, a file each: lane.go (accept, events), head.go (the request's head, the gate), request.go
// (the request on its way to the worker), answer.go and events.go (the answer on its way back), end.go (how streams
// end). takeover.go is what a runner does first when there was one before it.
//
// What it knows of the supervisor is a number, the life. What it knows of the kernel and of waiting it is given.
package relay

import (
	"cmp"
	"context"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/gate"
	"autoglm-sidecar/sockets/http1"
	"autoglm-sidecar/sockets/kernel"
	"autoglm-sidecar/sockets/loop"
)

// Options are the relay's settings and neighbours. All are needed but those that say otherwise.
type Options struct {
	Arena  *arena.Arena
	Kernel kernel.Kernel
	Log    *slog.Logger

	Fronts []Front // that clients connect to, at most arena.MaxFronts
	Lanes  int     // loops, at most arena.MaxLoops; 0: one a processor, at most enoughLanes

	Hold    time.Duration // how long a stream waits at the gate at the most; 0: it doesn't wait, it is refused
	Waiting int           // how many may wait; 0: as many as there are slots
	// Concurrency bounds the streams that a life has at once; those above it wait, each client address in its turn.
	// 0: no bound.
	Concurrency int
	Limits      Limits
	// Siblings serve the same clients: while the gate isn't open answers end their connections, so that those of a load
	// balancer move to them.
	Siblings  bool
	Heartbeat time.Duration // of silence after which an event stream gets a comment; 0: never
	Replay    Replay        // which requests may be given to a second life
	// WorkerIdle is for how long a connection to the worker is kept between two requests; 0: none is.
	WorkerIdle time.Duration

	Drained     func(life int64)  // the barrier's second half; must not block
	Ended       func([]arena.End) // streams that were cut or that a restart has touched; may take its time; nil: nobody keeps them
	Unreachable func(life int64)  // a connection to that life's address failed; must not block; nil: nobody asks
	Broken      func(life int64)  // one broke before it was answered: that life may have died; must not block; nil: nobody asks
	Tick        func(lane int)    // a lane's sign of life; nil: nobody looks
}

// enoughLanes move more tokens than any one worker makes: one of them carries some 40,000 a second. Each costs a few
// wake-ups a second, idle or not.
const enoughLanes = 4

// Relay is described by its package.
type Relay struct {
	Options
	gate   *gate.Gate
	lanes  []*lane
	turns  *turns
	target atomic.Pointer[target]
	teller *teller
	crowd  crowd
}

// target is where streams that pass go.
type target struct {
	life int64
	to   kernel.Address
}

// New makes a relay over an arena that may hold streams of a dead runner: TakeOver them before Serve.
func New(o Options) (*Relay, error) {
	if o.Lanes == 0 {
		o.Lanes = min(runtime.GOMAXPROCS(0), enoughLanes)
	}
	o.Lanes = min(o.Lanes, arena.MaxLoops)
	if o.Waiting == 0 {
		o.Waiting = o.Arena.Slots()
	}
	if o.Hold == 0 {
		o.Waiting = 0
	}
	pollers := make([]poller, o.Lanes)
	for i := range pollers {
		p, err := loop.New()
		if err != nil {
			return nil, err
		}
		pollers[i] = p
	}
	return assemble(o, pollers), nil
}

func assemble(o Options, pollers []poller) *Relay {
	r := &Relay{Options: o, teller: newTeller(o)}
	r.Fronts = slices.Clone(o.Fronts)
	if o.Limits.HeadSize == 0 {
		r.Limits.HeadSize = http1.MaxHead
	}
	for i, f := range r.Fronts {
		if f.FD >= 0 {
			r.Fronts[i].At = o.Kernel.Local(int32(f.FD))
		}
	}
	r.gate = gate.New(gate.Bounds{Waiting: o.Waiting, InFlight: o.Concurrency},
		func(g gate.Grant) { r.lanes[g.Loop].mail.Post(g) }, o.Drained)
	r.turns = &turns{post: func(t gate.Ticket) { r.lanes[t.Loop].turns.Post(t) }}
	for i, p := range pollers {
		r.lanes = append(r.lanes, newLane(r, i, p))
	}
	return r
}

// Serve runs the lanes and the log until Close.
func (r *Relay) Serve() error {
	telling, stop := context.WithCancel(context.Background())
	var teller sync.WaitGroup
	teller.Go(func() { r.teller.tell(telling, r.refusals) })
	defer teller.Wait()
	defer stop()
	errs := make(chan error, len(r.lanes))
	for _, l := range r.lanes {
		go func() { errs <- l.run() }()
	}
	var first error
	for range r.lanes {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

// Close stops the lanes; streams that are still open end with the process.
func (r *Relay) Close() {
	for _, l := range r.lanes {
		l.closing.Store(true)
		l.poll.Wake()
	}
}

// Thaw undoes Freeze.
func (r *Relay) Thaw() {
	for _, l := range r.lanes {
		l.mu.Unlock()
	}
}

// Freeze stops the lanes where they are and keeps them so: for a process that is about to become another.
func (r *Relay) Freeze() {
	for _, l := range r.lanes {
		l.mu.Lock()
	}
}

// Gate is where streams enter. Open it by Open, so that they find the way.
func (r *Relay) Gate() *gate.Gate { return r.gate }

// Open lets streams pass to life, which listens at to.
func (r *Relay) Open(life int64, to kernel.Address) {
	r.target.Store(&target{life, to})
	if first := r.gate.Stats().Oldest; first != 0 { // a restart's account is closed before the lanes get to their grants
		r.lanes[0].heldSince(first, r.Kernel.Now())
	}
	r.gate.Open(life)
}

// Retarget changes where life listens, as when a name has another address now.
func (r *Relay) Retarget(life int64, to kernel.Address) {
	if t := r.target.Load(); t != nil && t.life == life {
		r.target.CompareAndSwap(t, &target{life, to})
	}
}

// LifeGone says that life's process has exited unasked. What lies in its connections is still read; streams that don't
// come to their end by that are cut, or, not answered yet, given to the next life. It may be said again.
func (r *Relay) LifeGone(life int64) {
	r.turns.restore() // no suspect's turn comes before all are found
	defer r.turns.over()
	for _, l := range r.lanes {
		l.mu.Lock()
		l.dropKept(func(k *kept) bool { return k.life == life })
		l.mu.Unlock()
	}
	r.each(func(c *conn) bool { return c.of(life) }, func(l *lane, c *conn) {
		c.lifeGone = true
		c.workerIn = c.watchedWorker() // one last look, unless the client is in the way
		l.advance(c)
		if c.of(life) && !c.workerIn && !c.clientBlocked() {
			l.workerLost(c, arena.Crash, "the worker died")
			l.advance(c)
		}
	})
	r.Crashed(life)
}

// Crashed says that life has crashed, as far as anybody can tell: requests that it had got and lost without an answer
// may be what it died of.
func (r *Relay) Crashed(life int64) {
	r.turns.restore() // as above
	defer r.turns.over()
	r.each(func(c *conn) bool { return c.r.LostOn == life && c.r.Phase == arena.Held }, func(l *lane, c *conn) {
		l.crashTold(c)
		l.advance(c)
	})
}

// Cut ends every stream that life still has: loudly, but for those that it hasn't answered yet and another life may.
func (r *Relay) Cut(life int64, cause arena.Cause) {
	r.each(func(c *conn) bool { return c.of(life) }, func(l *lane, c *conn) {
		l.cutOrGiveAgain(c, cause)
		l.advance(c)
	})
}

// each does something with every connection that is meant, under its lane's mutex.
func (r *Relay) each(meant func(*conn) bool, do func(*lane, *conn)) {
	for _, l := range r.lanes {
		l.mu.Lock()
		l.now = r.Kernel.Now()
		for _, c := range l.conns {
			if c != nil && meant(c) {
				do(l, c)
			}
		}
		l.settle()
		l.mu.Unlock()
	}
}

// Stats is what people see of the relay.
type Stats struct {
	Gate        gate.Stats
	Fronts      []FrontStats // by number
	Connections int
	Streams     int           // open: waiting, relayed, or being flushed
	Oldest      time.Duration // of the open streams
	Suspects    int           // that wait for their turn
	Kept        int           // connections to the worker between two requests
	CopyBytes   int64         // of the requests' copies, in blocks; of CopyMost
	CopyMost    int64
	Counts      Counts
}

// FrontStats are those of one front.
type FrontStats struct {
	Connections int
	Streams     int // open
}

// Counts are the sums of all lanes' counters since the first runner started.
type Counts struct {
	Accepted, Streams, Waited, Heartbeats, Shed, Stalled int64
	Outcomes                                             map[string]int64
	Cuts                                                 map[string]int64 // by cause
	Retries                                              map[string]int64 // requests given again, by what was lost
	Uncopied                                             map[string]int64 // requests that went on without a copy, by why
	Condemned, SuspectsRefused                           int64            // requests that two lives died of, and the same ones sent again
	Opened, Reused                                       int64            // connections to the worker, and how often one was used again
	HoldEver                                             time.Duration
	LongestHold, LongestGap                              time.Duration // since Mark
	TakeOver                                             TakeOverCounts
}

// TakeOverCounts say what take-overs found.
type TakeOverCounts struct {
	Mended, Untaken, Ungiven, Unjudged, Unsent, Adopted, Orphans, Impossible, Poisoned int64
}

// Stats returns a snapshot.
func (r *Relay) Stats() Stats {
	s := Stats{Gate: r.gate.Stats(), Fronts: make([]FrontStats, arena.MaxFronts), Counts: r.counts(), Suspects: r.turns.waits()}
	s.CopyBytes, s.CopyMost = int64(r.Arena.BlocksClaimed())*arena.BlockSize, int64(r.Arena.Blocks())*arena.BlockSize
	now := r.Kernel.Now()
	for _, l := range r.lanes {
		l.mu.Lock()
		s.Kept += len(l.kept)
		for _, c := range l.conns {
			if c == nil {
				continue
			}
			s.Connections++
			front := &s.Fronts[c.r.Front]
			front.Connections++
			if p := c.r.Phase; p == arena.Held || p == arena.Relay || p == arena.Flush {
				s.Streams++
				front.Streams++
				s.Oldest = max(s.Oldest, time.Duration(now-c.r.Arrived))
			}
		}
		l.mu.Unlock()
	}
	return s
}

// Lanes is how many lanes there are; each ticks.
func (r *Relay) Lanes() int { return len(r.lanes) }

// Stream is one open stream, for people.
type Stream struct {
	Slot      int
	RequestID string
	Client    string // its address
	Route     string // method and path
	Life      int64
	Age       time.Duration
}

// Oldest returns the open streams that are in flight on a life, oldest first, at most most.
func (r *Relay) Oldest(most int) []Stream {
	var all []Stream
	now := r.Kernel.Now()
	for _, l := range r.lanes {
		l.mu.Lock()
		for _, c := range l.conns {
			if c != nil && c.r.Phase == arena.Relay {
				all = append(all, Stream{
					Slot: int(c.index), RequestID: string(c.slot.ID.Value()), Client: r.Kernel.Peer(c.r.Client),
					Route: string(c.slot.Story.Route.Value()), Life: c.r.Life,
					Age: time.Duration(now - c.r.Arrived),
				})
			}
		}
		l.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b Stream) int { return cmp.Compare(b.Age, a.Age) })
	return all[:min(len(all), most)]
}

// Touched returns what there is to tell of the open streams that have waited for a restart, or do.
func (r *Relay) Touched(restart int64) (all []arena.End) {
	for _, l := range r.lanes {
		l.mu.Lock()
		for _, c := range l.conns {
			if c == nil {
				continue
			}
			s := &c.slot.Story
			waits := c.r.Phase == arena.Held && r.Arena.Mark().Since(s.WaitSince) == restart
			if open := c.r.Phase == arena.Relay || c.r.Phase == arena.Flush; waits || open && s.Restart == restart {
				e := l.storyOf(c)
				e.Restart = restart
				all = append(all, e)
			}
		}
		l.mu.Unlock()
	}
	return all
}

// refusals is how many streams got that code, on all lanes.
func (r *Relay) refusals(code arena.Refusal) (n int64) {
	for i := range arena.MaxLoops {
		n += r.Arena.Counters(i).Refusals[code].Load()
	}
	return n
}

func (r *Relay) counts() Counts {
	c := Counts{Outcomes: map[string]int64{}, Cuts: map[string]int64{}, Retries: map[string]int64{}, Uncopied: map[string]int64{}}
	for i := range arena.MaxLoops { // there may have been more lanes in an earlier life
		from := r.Arena.Counters(i)
		c.Accepted += from.Accepted.Load()
		c.Streams += from.Streams.Load()
		c.Waited += from.Waited.Load()
		c.Heartbeats += from.Heartbeats.Load()
		c.Shed += from.Shed.Load()
		c.Stalled += from.Stalled.Load()
		for o := arena.Complete; int(o) < len(from.Outcomes); o++ {
			c.Outcomes[o.String()] += from.Outcomes[o].Load()
		}
		for cause := arena.Crash; int(cause) < len(from.Causes); cause++ {
			c.Cuts[cause.String()] += from.Causes[cause].Load()
		}
		for of, name := range lossNames {
			c.Retries[name] += from.Retries[of].Load()
		}
		for why, name := range uncopiedNames {
			c.Uncopied[name] += from.Uncopied[why].Load()
		}
		c.Condemned += from.Condemned.Load()
		c.SuspectsRefused += from.SuspectsRefused.Load()
		c.Opened += from.Opened.Load()
		c.Reused += from.Reused.Load()
		c.HoldEver = max(c.HoldEver, time.Duration(from.HoldEver.Load()))
		c.LongestHold = max(c.LongestHold, time.Duration(from.LongestHold.Load()))
		c.LongestGap = max(c.LongestGap, time.Duration(from.LongestGap.Load()))
		t := &c.TakeOver
		t.Mended += from.Mended.Load()
		t.Untaken += from.Untaken.Load()
		t.Ungiven += from.Ungiven.Load()
		t.Unjudged += from.Unjudged.Load()
		t.Unsent += from.Unsent.Load()
		t.Adopted += from.Adopted.Load()
		t.Orphans += from.Orphans.Load()
		t.Impossible += from.Impossible.Load()
		t.Poisoned += from.Poisoned.Load()
	}
	return c
}

// Mark begins a new measure of the longest hold and the longest gap.
func (r *Relay) Mark() {
	for i := range arena.MaxLoops {
		r.Arena.Counters(i).LongestHold.Store(0)
		r.Arena.Counters(i).LongestGap.Store(0)
	}
}
