package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// host is a machine in fake time on which runners come and go: its processes, the streams of its clients and the record outlive them.
// It notes what must never happen in broken.
type host struct {
	t     *testing.T
	start time.Time

	mu       sync.Mutex // guards everything that follows
	broken   []string
	runner   *runner
	lives    map[Life]*fakeLife
	behave   func(Life) behaviour
	record   []byte
	stores   int
	storeErr error
	findErr  error
	kept     []Restart
	keepErr  error
	changes  []Change
	gate     fakeGate

	supervisor *Supervisor // of the runner
	stopRunner func()
	ran        chan error // what Run of the last runner returned
}

// behaviour is what a life does by itself; the zero value serves until it is told to end, and then ends.
type behaviour struct {
	noStart  error
	warmup   time.Duration
	lines    int // of output while it warms up
	notReady error
	crash    time.Duration // after its start; 0: never
	grace    time.Duration // from TERM to its end
	deaf     bool          // it ignores TERM
	lacks    string        // what it says it is waited for
	prints   []string      // its last lines; after TERM there is one more
	orphan   time.Duration // a child outlives it for so long, unless it is killed
}

type fakeLife struct {
	host     *host
	life     Life
	does     behaviour
	started  time.Time
	gone     chan struct{} // closed when its main process is
	reaped   chan struct{} // closed when nothing of it is alive
	cut      bool
	ready    bool
	asked    int // Ready and Reclaim that wait for an answer
	exit     Exit
	waitErrs int // Wait fails so often
}

type fakeGate struct {
	state             string // "holding", "open", "refusing", "leaving"
	life              Life
	waiting           []*stream
	inFlight          map[Life]map[*stream]bool
	owed, paid        map[Life]bool // Drained, once until the gate is opened again
	done, cut, denied int
	longestHold       time.Duration // since the mark
	worstHold         time.Duration
	marked            int64
	atMark            Tally
}

type stream struct {
	arrived time.Time
	lasts   time.Duration
}

func newHost(t *testing.T) *host {
	return &host{
		t: t, start: time.Now(), lives: map[Life]*fakeLife{}, behave: func(Life) behaviour { return behaviour{} },
		gate: fakeGate{state: "holding", inFlight: map[Life]map[*stream]bool{}, owed: map[Life]bool{}, paid: map[Life]bool{}},
	}
}

func (h *host) clock() time.Duration { return time.Hour + time.Since(h.start) }

// pass lets time pass, and everything that is due happen.
func (h *host) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// set changes something of the host while a runner runs.
func (h *host) set(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
}

func (h *host) breach(format string, args ...any) {
	h.broken = append(h.broken, fmt.Sprintf("%v: ", h.clock())+fmt.Sprintf(format, args...))
}

// runner is one runner's way to the host. After its death it reaches nothing any more.
type runner struct {
	h *host
	s interface{ Drained(Life) }
}

func (r *runner) dead() bool { return r.h.runner != r }

var errDead = errors.New("this runner is dead")

// run starts a runner, after the death of the one before.
func (h *host) run(change ...func(*Options)) *Supervisor {
	h.t.Helper()
	r := &runner{h: h}
	h.mu.Lock()
	h.runner = r
	h.gate.state, h.gate.owed, h.gate.paid = "holding", map[Life]bool{}, map[Life]bool{}
	h.mu.Unlock()
	o := Options{
		Gate: r, Driver: r, Record: r, Clock: h.clock, Traffic: r, Journal: r, Limits: DefaultLimits(), Seed: 7,
		Log: slog.New(slog.DiscardHandler), Watch: []func(Change){r.changed, LogChanges(slog.New(slog.DiscardHandler))},
	}
	for _, f := range change {
		f(&o)
	}
	s, err := New(o)
	if err != nil {
		h.t.Fatal(err)
	}
	h.mu.Lock()
	r.s, h.supervisor = s, s
	h.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	h.stopRunner, h.ran = cancel, make(chan error, 1)
	go func() { h.ran <- s.Run(ctx) }()
	return s
}

// kill ends the runner as kill -9 does: what it does from now on reaches nobody.
func (h *host) kill() {
	h.mu.Lock()
	h.runner = nil
	h.mu.Unlock()
	h.stopRunner()
	<-h.ran
}

func (r *runner) changed(c Change) {
	r.h.mu.Lock()
	defer r.h.mu.Unlock()
	if !r.dead() {
		r.h.changes = append(r.h.changes, c)
	}
}

// Record.

func (r *runner) Load() ([]byte, error) { return slices.Clone(r.h.record), nil }

func (r *runner) Store(b []byte) error {
	r.h.mu.Lock()
	defer r.h.mu.Unlock()
	r.h.stores++
	if len(b) > MaxRecord {
		r.h.breach("a record of %d bytes", len(b))
	}
	if !r.dead() && r.h.storeErr == nil {
		r.h.record = slices.Clone(b)
	}
	return r.h.storeErr
}

// Journal.

func (r *runner) Append(a Restart) error {
	r.h.mu.Lock()
	defer r.h.mu.Unlock()
	if r.dead() {
		return errDead
	}
	if r.h.keepErr == nil {
		r.h.kept = append(r.h.kept, a)
	}
	return r.h.keepErr
}

// Driver.

func (r *runner) Start(_ context.Context, life Life) (Process, error) {
	h := r.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.dead() {
		return nil, errDead
	}
	for other, p := range h.lives {
		if p.alive() {
			h.breach("life %d was started beside life %d", life, other)
		}
	}
	does := h.behave(life)
	if does.noStart != nil {
		return nil, does.noStart
	}
	p := &fakeLife{host: h, life: life, does: does, started: time.Now(), gone: make(chan struct{}), reaped: make(chan struct{})}
	h.lives[life] = p
	if does.crash != 0 {
		time.AfterFunc(does.crash, func() { p.end(Exit{Known: true, Code: 1, LastLines: []string{"CUDA out of memory"}}) })
	}
	return p, nil
}

func (r *runner) Find(_ context.Context, life Life, _ int) (Process, bool, error) {
	r.h.mu.Lock()
	defer r.h.mu.Unlock()
	if r.h.findErr != nil {
		return nil, false, r.h.findErr
	}
	p := r.h.lives[life]
	if p == nil || !p.alive() {
		return nil, false, nil
	}
	return p, true, nil
}

// Process.

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (p *fakeLife) alive() bool { return !closed(p.reaped) }
func (p *fakeLife) PID() int    { return 100 + int(p.life) }
func (p *fakeLife) Upstream() Upstream {
	return Upstream{"unix", fmt.Sprintf("/run/worker-%d.sock", p.life)}
}

func (p *fakeLife) Ready(ctx context.Context, progress func(string)) error {
	defer p.asking()()
	for line := range p.does.lines {
		progress(fmt.Sprintf("Loading weights %d/%d", line+1, p.does.lines))
	}
	select {
	case <-time.After(time.Until(p.started.Add(p.does.warmup))):
	case <-ctx.Done():
		return ctx.Err()
	}
	p.host.mu.Lock()
	defer p.host.mu.Unlock()
	p.ready = p.does.notReady == nil
	return p.does.notReady
}

func (p *fakeLife) Pending() (string, []string) { return p.does.lacks, p.does.prints }

func (h *host) questions(life Life) (asked int) {
	h.set(func() { asked = h.lives[life].asked })
	return asked
}

// asking counts a question, until the func that it returns.
func (p *fakeLife) asking() (answered func()) {
	p.host.set(func() { p.asked++ })
	return func() { p.host.set(func() { p.asked-- }) }
}

func (p *fakeLife) Wait(ctx context.Context) (Exit, error) {
	p.host.mu.Lock()
	fails := p.waitErrs > 0
	p.waitErrs--
	p.host.mu.Unlock()
	if fails {
		return Exit{}, errors.New("no such pidfd")
	}
	select {
	case <-p.gone:
		return p.exit, nil
	case <-ctx.Done():
		return Exit{}, ctx.Err()
	}
}

// end is the end of the main process, and sooner or later of its child.
func (p *fakeLife) end(exit Exit) {
	p.host.mu.Lock()
	defer p.host.mu.Unlock()
	if closed(p.gone) {
		return
	}
	p.exit = exit
	close(p.gone)
	time.AfterFunc(p.does.orphan, p.reap)
}

func (p *fakeLife) reap() {
	p.host.mu.Lock()
	defer p.host.mu.Unlock()
	if p.alive() {
		close(p.reaped)
	}
}

// told is a signal: it must not meet a life that works for somebody.
func (p *fakeLife) told(signal string) {
	p.host.mu.Lock()
	defer p.host.mu.Unlock()
	if n := len(p.host.gate.inFlight[p.life]); n > 0 && !p.cut && !closed(p.gone) {
		p.host.breach("%s to life %d with %d streams in flight", signal, p.life, n)
	}
}

func (p *fakeLife) Terminate() error {
	p.told("TERM")
	if !p.does.deaf {
		time.AfterFunc(p.does.grace, func() { p.end(Exit{Known: true, LastLines: append(p.does.prints, "got SIGTERM")}) })
	}
	return nil
}

func (p *fakeLife) Kill() error {
	p.told("KILL")
	p.end(Exit{Known: true, Signal: "SIGKILL"})
	p.reap()
	return nil
}

func (p *fakeLife) Reclaim(ctx context.Context) error {
	defer p.asking()()
	select {
	case <-p.reaped:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Gate.

// arrive is a client with a request whose answer takes a while.
func (h *host) arrive(lasts time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &stream{arrived: time.Now(), lasts: lasts}
	switch h.gate.state {
	case "open":
		h.enter(s)
	case "holding":
		h.gate.waiting = append(h.gate.waiting, s)
	default:
		h.gate.denied++
	}
}

func (h *host) enter(s *stream) {
	life := h.gate.life
	if p := h.lives[life]; p == nil || !p.ready {
		h.breach("a stream entered life %d, which isn't ready", life)
	}
	if h.gate.inFlight[life] == nil {
		h.gate.inFlight[life] = map[*stream]bool{}
	}
	h.gate.inFlight[life][s] = true
	h.gate.longestHold = max(h.gate.longestHold, time.Since(s.arrived))
	h.gate.worstHold = max(h.gate.worstHold, time.Since(s.arrived))
	time.AfterFunc(s.lasts, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.gate.inFlight[life][s] {
			delete(h.gate.inFlight[life], s)
			h.gate.done++
			h.settle(life)
		}
	})
}

// settle tells the runner of a drained life, once.
func (h *host) settle(life Life) {
	if h.runner != nil && h.gate.owed[life] && len(h.gate.inFlight[life]) == 0 {
		delete(h.gate.owed, life)
		h.gate.paid[life] = true
		h.runner.s.Drained(life)
	}
}

func (r *runner) Open(life Life, to Upstream) {
	h := r.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.dead() {
		return
	}
	if want := h.lives[life].Upstream(); to != want {
		h.breach("the gate opens to %v, life %d is at %v", to, life, want)
	}
	h.gate.state, h.gate.life = "open", life
	delete(h.gate.owed, life)
	delete(h.gate.paid, life)
	for _, s := range h.gate.waiting {
		h.enter(s)
	}
	h.gate.waiting = nil
}

func (r *runner) Hold(life Life) int {
	h := r.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.dead() {
		return 0
	}
	if h.gate.state != "leaving" {
		h.gate.state = "holding"
	}
	h.gate.owed[life] = !h.gate.paid[life]
	h.settle(life)
	return len(h.gate.inFlight[life])
}

func (r *runner) Refuse(string) { r.turnAway("refusing") }
func (r *runner) Leave()        { r.turnAway("leaving") }

func (r *runner) turnAway(state string) {
	r.h.mu.Lock()
	defer r.h.mu.Unlock()
	if r.dead() {
		return
	}
	r.h.gate.state = state
	r.h.gate.denied += len(r.h.gate.waiting)
	r.h.gate.waiting = nil
}

func (r *runner) Cut(life Life, _ CutCause) {
	h := r.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.dead() {
		return
	}
	if p := h.lives[life]; p != nil {
		p.cut = true
	}
	h.gate.cut += len(h.gate.inFlight[life])
	clear(h.gate.inFlight[life])
	h.settle(life)
}

// Traffic.

func (h *host) counts() Tally {
	return Tally{Cut: int64(h.gate.cut), Held: int64(len(h.gate.waiting)), Refused: int64(h.gate.denied), LongestHold: h.gate.longestHold}
}

func (r *runner) Mark(restart int64) {
	h := r.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.dead() || h.gate.marked == restart {
		return
	}
	h.gate.longestHold = 0
	h.gate.marked, h.gate.atMark = restart, h.counts()
}

func (r *runner) Tally(restart int64) Tally {
	h := r.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.gate.marked != restart {
		return Tally{}
	}
	now := h.counts()
	now.Cut -= h.gate.atMark.Cut
	now.Refused -= h.gate.atMark.Refused
	return now
}

// alive are the lives of which something is.
func (h *host) alive() (lives []Life) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for life, p := range h.lives {
		if p.alive() {
			lives = append(lives, life)
		}
	}
	return lives
}

// check fails the test for what must never happen and did.
func (h *host) check() {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, b := range h.broken {
		h.t.Error(b)
	}
}
