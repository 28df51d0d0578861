package check

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Group is a number of clients that do the same thing over and over, each beginning anew when its answer has ended.
type Group struct {
	Kind    Kind
	Clients int
	// Tokens is the least and the most text events of an answer, drawn anew for each. With the rate of the worker it sets
	// how long a stream is open.
	Tokens [2]int
	// Body is the least and the most bytes that the request carries, for kinds Image, Upload and Echo.
	Body [2]int
	// Sim is a JSON object of switches that each request carries for the simulated worker (its X-Sim header); empty: none.
	Sim string
}

// LoadOptions says who asks what of whom.
type LoadOptions struct {
	Address  string // host:port, or unix:PATH
	Groups   []Group
	Rate     float64       // tokens a second that the worker gives each stream
	Ramp     time.Duration // the clients begin spread over this time; 0 = all at once
	Patience time.Duration // the longest that a client waits for an answer beyond the time that its tokens take; 0 = 60 s
	Seed     uint64
}

// each connection carries so many answers, then the client dials anew: kept connections and fresh ones both matter.
const answersAConnection = 3

// afterTrouble is how long a client rests when an answer was not whole: nobody hammers a door that was just shut. It goes on
// with another request and never repeats one.
const afterTrouble = 200 * time.Millisecond

const defaultPatience = time.Minute

// Load is clients at work. Start it, look at Tally and Open, Rest and Resume it, and Stop it.
type Load struct {
	Tally Tally

	opts     LoadOptions
	leaves   departures
	moment   atomic.Pointer[moment]
	visitors atomic.Int64
	lengths  atomic.Pointer[[2]int]
	clients  []*client
	ended    sync.WaitGroup
	cancel   context.CancelFunc

	mu      sync.Mutex    // guards everything that follows
	turn    chan struct{} // closed when resting ends; nil while clients may go on
	stopped bool
	active  int
	idle    chan struct{} // closed when active is 0; nil when nobody waits for it
}

// StartLoad starts the clients; they run until Stop, or until ctx is done, which counts what is open then as cut.
func StartLoad(ctx context.Context, opts LoadOptions) *Load {
	if opts.Patience == 0 {
		opts.Patience = defaultPatience
	}
	l := &Load{opts: opts}
	ctx, l.cancel = context.WithCancel(ctx)
	seeds := rand.New(rand.NewPCG(opts.Seed, 1))
	for _, g := range opts.Groups {
		for range g.Clients {
			l.clients = append(l.clients, &client{load: l, group: g, number: len(l.clients), rng: rand.New(rand.NewPCG(opts.Seed, seeds.Uint64()))})
		}
	}
	// Kinds are spread over the ramp, not one after the other.
	seeds.Shuffle(len(l.clients), func(i, j int) { l.clients[i], l.clients[j] = l.clients[j], l.clients[i] })
	for i, c := range l.clients {
		delay := opts.Ramp * time.Duration(i) / time.Duration(len(l.clients))
		l.ended.Go(func() { c.run(ctx, delay) })
	}
	return l
}

// Open counts the streams that have begun, have not ended, and last for at least d at the worker's pace. Slow readers, whose
// time is only guessed, and leavers, who don't stay, aren't among them.
func (l *Load) Open(d time.Duration) int {
	n := 0
	for _, c := range l.clients {
		if c.group.Kind.paced() && c.group.Kind != Leaver && time.Duration(c.planned.Load()) >= d && c.began.Load() {
			n++
		}
	}
	return n
}

// Waiting counts the streams that were asked for and have not begun.
func (l *Load) Waiting() int {
	n := 0
	for _, c := range l.clients {
		if c.group.Kind.streamed() && c.planned.Load() > 0 && !c.began.Load() {
			n++
		}
	}
	return n
}

// WaitOpen waits until at least n streams of d or more are open, and returns how many are.
func (l *Load) WaitOpen(ctx context.Context, n int, d time.Duration) (open int, err error) {
	err = poll(ctx, 5*time.Millisecond, func() (bool, error) {
		open = l.Open(d)
		return open >= n, nil
	})
	return open, err
}

// WaitWaiting waits until at least n streams were asked for and have not begun.
func (l *Load) WaitWaiting(ctx context.Context, n int) error {
	return poll(ctx, 5*time.Millisecond, func() (bool, error) { return l.Waiting() >= n, nil })
}

// WaitBegun waits until no stream that was asked for is still to begin.
func (l *Load) WaitBegun(ctx context.Context) error {
	return poll(ctx, 5*time.Millisecond, func() (bool, error) { return l.Waiting() == 0, nil })
}

// Lengths replaces Group.Tokens for the streams that begin from now on, those of slow readers and plain answers excepted.
func (l *Load) Lengths(tokens [2]int) { l.lengths.Store(&tokens) }

// tokens is how long the next answer of c will be.
func (l *Load) tokens(c *client) int {
	bounds := c.group.Tokens
	if other := l.lengths.Load(); other != nil && c.group.Kind.paced() && !c.visitor {
		bounds = *other
	}
	return max(1, spread(c.rng, bounds))
}

// length is how long the answer to q takes if nothing is in its way.
func (l *Load) length(q ask) time.Duration {
	seconds := float64(q.tokens) / l.opts.Rate
	switch q.kind {
	case Upload, Echo:
		seconds = float64(len(q.body)) / uploadPiece * 2 * uploadPause.Seconds()
	case Slow:
		seconds = float64(q.tokens) / SlowRate
	default: // at the worker's pace
	}
	return time.Duration(seconds * float64(time.Second))
}

// Rest lets each client end its answer and begin no other, and returns when none is at work.
func (l *Load) Rest(ctx context.Context) error {
	l.mu.Lock()
	if l.turn == nil {
		l.turn = make(chan struct{})
	}
	var idle chan struct{}
	if l.active > 0 {
		if l.idle == nil {
			l.idle = make(chan struct{})
		}
		idle = l.idle
	}
	l.mu.Unlock()
	if idle == nil {
		return nil
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Resume ends a Rest.
func (l *Load) Resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.turn != nil {
		close(l.turn)
		l.turn = nil
	}
}

// Visit lets n more clients come for one short stream each. How long they wait for the first byte is recorded in waits, if
// that isn't nil.
func (l *Load) Visit(ctx context.Context, n int, waits *Histogram) {
	for range n {
		c := l.visitor(Group{Kind: Stream, Tokens: [2]int{3, 3}})
		l.ended.Go(func() {
			defer c.hangUp()
			a := c.once(ctx)
			l.Tally.Add(a)
			if waits != nil && a.Wait > 0 {
				waits.Record(a.Wait)
			}
		})
	}
}

// Ask lets one more client ask once, and returns what came instead of counting it.
func (l *Load) Ask(ctx context.Context, g Group) Answer {
	c := l.visitor(g)
	defer c.hangUp()
	return c.once(ctx)
}

func (l *Load) visitor(g Group) *client {
	number := len(l.clients) + int(l.visitors.Add(1))
	return &client{load: l, number: number, group: g, visitor: true, rng: rand.New(rand.NewPCG(l.opts.Seed, uint64(number)))}
}

// Stop lets each client end its answer, and returns when all have. Those that are still open when ctx ends are cut, and
// counted so.
func (l *Load) Stop(ctx context.Context) {
	l.mu.Lock()
	l.stopped = true
	l.mu.Unlock()
	l.Resume()
	done := context.AfterFunc(ctx, l.cancel)
	defer done()
	l.ended.Wait()
	l.cancel()
}

// begin waits for the turn of a client; false: there is none any more.
func (l *Load) begin(ctx context.Context) bool {
	for ctx.Err() == nil {
		l.mu.Lock()
		turn, stopped := l.turn, l.stopped
		if turn == nil && !stopped {
			l.active++
			l.mu.Unlock()
			return true
		}
		l.mu.Unlock()
		if stopped {
			return false
		}
		select {
		case <-turn:
		case <-ctx.Done():
		}
	}
	return false
}

func (l *Load) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.active--
	if l.active == 0 && l.idle != nil {
		close(l.idle)
		l.idle = nil
	}
}

// moment is an instant at which something was done to the sidecar, or, for comparison, nothing was.
type moment struct {
	at   time.Time
	gaps *Histogram // gets the pause of each stream that lies across at
}

// Mark makes this instant the one to which the next pauses belong. A stream that is between two tokens now records that
// pause in gaps, once.
func (l *Load) Mark(gaps *Histogram) time.Time {
	m := &moment{at: time.Now(), gaps: gaps}
	l.moment.Store(m)
	return m.at
}

// poll asks at intervals until done is true or fails, or ctx ends.
func poll(ctx context.Context, every time.Duration, done func() (bool, error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		switch ok, err := done(); {
		case err != nil:
			return err
		case ok:
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// spread is a number from the range that a Group gives.
func spread(r *rand.Rand, bounds [2]int) int {
	return bounds[0] + r.IntN(max(1, bounds[1]-bounds[0]+1))
}
