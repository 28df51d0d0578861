package relay

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/kernel"
	"autoglm-sidecar/sockets/kernel/fake"
)

// world is everything around a relay on a fake kernel: clients, workers, and the runner, which may be killed. One
// goroutine moves it all.
type world struct {
	t       testing.TB
	kernel  *fake.Kernel
	arena   *arena.Arena
	relay   *Relay
	pollers []*fake.Poller
	rand    *rand.Rand

	front   int // at which clients connect
	clients []*client
	workers []*workerConn
	answers map[string]answer // by path
	seen    map[string][]byte // bodies of the requests that came whole to a worker, by path

	life      int64
	dead      bool           // the life has died, and the relay was told
	heard     map[string]int // whole requests that came to a worker, by path
	open      bool           // whether the gate is to be open
	steps     int
	patience  int // steps after which a run is stuck
	drained   []int64
	lies      func(kernel.Kernel) kernel.Kernel // what the runner is told instead of the truth
	options   func(*Options)
	successor func()                  // what follows a death; nil: start
	forgives  func(panicked any) bool // whether a panic that is no kill is a death like others; nil: none is
}

// fakeFronts are those of every world.
var fakeFronts = []Front{{FD: fake.Front}, {FD: fake.UnixFront}}

// answer is what a worker writes for a path.
type answer struct {
	bytes string
	burst bool // all at once
	early bool // before the request's body
	keep  bool // the worker leaves its connection open
	reset bool // breaks it off instead of closing it
	goes  bool // goes on with the next request of this connection
}

// client sends its requests' bytes and keeps what comes back.
type client struct {
	end      *fake.End
	send     []byte
	sent     int
	got      []byte
	ended    bool
	broken   bool
	slow     bool
	asleep   bool // takes nothing
	leaveAt  int  // bytes received after which it closes, 0: never
	left     bool
	answered int // responses expected before it closes
}

type workerConn struct {
	deaf   bool // reads nothing
	end    *fake.End
	got    []byte
	answer []byte
	begun  bool
	closed bool
	script answer

	listened int // bytes of got when it was last looked at
	used     int // bytes of got that the request under way has
	served   int // requests that were answered
}

type killed struct{}

func newWorld(t testing.TB, seed uint64, overUnix bool) *world {
	w := &world{
		t: t, kernel: fake.New(seed, overUnix), arena: arena.OnHeap(6), rand: rand.New(rand.NewPCG(seed, 2)),
		front: fake.Front, answers: map[string]answer{}, seen: map[string][]byte{}, heard: map[string]int{}, life: 1, open: true, patience: 30_000,
	}
	return w
}

// start begins a runner: the first one, or one that takes over.
func (w *world) start() {
	w.takeOver()
	w.serve()
}

// takeOver is what a runner does before it is ready.
func (w *world) takeOver() {
	var k kernel.Kernel = w.kernel
	if w.lies != nil {
		k = w.lies(k)
	}
	o := Options{
		Arena: w.arena, Kernel: k, Log: slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})), Fronts: slices.Clone(fakeFronts), Lanes: 2,
		Limits: Limits{HeadTime: 30 * time.Second, BodyRate: 256, BodyGrace: 30 * time.Second, Stalled: time.Minute, Idle: 10 * time.Minute},
		Hold:   time.Minute, Waiting: w.arena.Slots(), Heartbeat: 10 * time.Second,
		Replay:  Replay{Paths: []string{"/chat/completions"}, PerRequest: 16 * arena.BlockSize},
		Drained: func(life int64) { w.drained = append(w.drained, life) },
	}
	if w.options != nil {
		w.options(&o)
	}
	w.pollers = nil
	var pollers []poller
	for range o.Lanes {
		p := w.kernel.NewPoller()
		w.pollers = append(w.pollers, p)
		pollers = append(pollers, p)
	}
	w.relay = assemble(o, pollers)
	if err := w.relay.TakeOver(); err != nil {
		w.t.Fatalf("take over: %v", err)
	}
}

// serve is what it does then.
func (w *world) serve() {
	for _, l := range w.relay.lanes {
		l.wakeUp()
	}
	switch {
	case w.dead:
		w.relay.LifeGone(w.life) // the supervisor says it again
	case w.open:
		w.relay.Open(w.life, w.at())
	}
}

// at is where the worker listens; the fake kernel knows of one only.
func (w *world) at() kernel.Address { return kernel.Address{Unix: "worker"} }

// workerDies ends all that the worker has; the relay isn't told yet.
func (w *world) workerDies() {
	w.kernel.Refuse(true)
	for end := w.kernel.Worker(); end != nil; end = w.kernel.Worker() {
		end.Close() // in its backlog
	}
	for _, c := range w.workers {
		if !c.closed {
			c.closed = true
			c.end.Close()
		}
	}
}

// crash lets the worker die, as the relay learns at once.
func (w *world) crash() {
	w.workerDies()
	w.tellCrash()
}

func (w *world) tellCrash() {
	w.dead = true
	w.survive(func() {
		w.relay.Gate().Hold(w.life)
		w.relay.LifeGone(w.life)
	})
}

// revive starts the next life.
func (w *world) revive() {
	w.dead = false
	w.life++
	w.kernel.Refuse(false)
	w.survive(func() { w.relay.Open(w.life, w.at()) })
}

// survive runs f as the runner; where the runner is killed in it, another one is started, as often as needed.
func (w *world) survive(f func()) (deaths int) {
	for {
		if w.lives(f) {
			return deaths
		}
		deaths++
		if f = w.start; w.successor != nil {
			f = w.successor
		}
	}
}

func (w *world) lives(f func()) (alive bool) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(killed); !ok && (w.forgives == nil || !w.forgives(r)) {
				panic(r)
			}
		}
	}()
	f()
	return true
}

// step moves everyone once. It says whether all clients are done.
func (w *world) step() (done bool, deaths int) {
	w.steps++
	w.kernel.Clock += int64(time.Millisecond)
	done = true
	for _, c := range w.clients {
		c.act(w)
		done = done && (c.ended || c.left)
	}
	for end := w.kernel.Worker(); end != nil; end = w.kernel.Worker() {
		w.workers = append(w.workers, &workerConn{end: end})
	}
	for _, c := range w.workers {
		c.act(w)
	}
	deaths = w.survive(func() {
		for i, l := range w.relay.lanes {
			if events, some := w.pollers[i].Events(); some {
				l.handle(events)
			}
			if w.steps%100 == 0 {
				l.tick()
			}
		}
	})
	return done, deaths
}

// run moves the world until all clients are done.
func (w *world) run() (deaths int, err error) {
	for range w.patience {
		done, died := w.step()
		deaths += died
		if done {
			return deaths, nil
		}
	}
	var stuck []string
	for i, c := range w.clients {
		if !c.ended && !c.left {
			_, why := c.responses()
			stuck = append(stuck, fmt.Sprintf("client %d: sent %d of %d, got %d bytes, ends %q: %v", i, c.sent, len(c.send), len(c.got), tail(c.got), why))
		}
	}
	return deaths, fmt.Errorf("stuck: %s", strings.Join(stuck, "; "))
}

func tail(b []byte) []byte { return b[max(0, len(b)-60):] }

func (w *world) connect(requests ...string) *client {
	return w.connectFrom(fake.SomeClient, requests...)
}

func (w *world) connectFrom(at netip.Addr, requests ...string) *client {
	c := &client{end: w.kernel.ClientAt(w.front, at), send: []byte(strings.Join(requests, "")), answered: len(requests)}
	w.clients = append(w.clients, c)
	return c
}

func (c *client) act(w *world) {
	if c.left {
		return
	}
	if c.sent < len(c.send) {
		c.sent += c.end.Write(c.send[c.sent:min(len(c.send), c.sent+1+w.rand.IntN(4000))])
	}
	if c.slow && w.steps%50 != 0 || c.asleep {
		return
	}
	b, ended, broken := c.end.Read(1 + w.rand.IntN(8000))
	c.got = append(c.got, b...)
	if ended && !c.ended {
		c.ended, c.broken = true, broken
		c.end.Close()
	}
	if c.leaveAt > 0 && len(c.got) >= c.leaveAt {
		c.left = true
		c.end.Close()
	}
	if len(b) > 0 && !c.ended && c.leaveAt == 0 && c.complete() {
		c.ended = true
		c.end.Close()
	}
}

// complete: all expected answers are there.
func (c *client) complete() bool {
	if len(c.got) == 0 || c.answered == 0 {
		return false
	}
	_, err := c.responses()
	return err == nil
}

type response struct {
	status  int
	header  http.Header
	body    string
	trailer http.Header
	close   bool
}

// responses parses what came, by net/http. Its error says what is missing or wrong.
func (c *client) responses() (all []response, err error) {
	in := bufio.NewReader(bytes.NewReader(c.got))
	requests := bufio.NewReader(bytes.NewReader(c.send))
	for range c.answered {
		q, err := http.ReadRequest(requests)
		if err != nil {
			q = &http.Request{Method: "GET"}
		} else {
			io.Copy(io.Discard, q.Body)
		}
		var r *http.Response
		for r == nil || r.StatusCode < 200 {
			if r, err = http.ReadResponse(in, q); err != nil {
				return all, fmt.Errorf("head of answer %d: %w", len(all), err)
			}
		}
		body, err := io.ReadAll(r.Body)
		all = append(all, response{r.StatusCode, r.Header, string(body), r.Trailer, r.Close})
		if err != nil {
			return all, fmt.Errorf("body of answer %d: %w", len(all)-1, err)
		}
		if r.Close && r.ContentLength < 0 && len(r.TransferEncoding) == 0 && !c.ended {
			return all, errors.New("ends with the connection")
		}
	}
	if in.Buffered() > 0 {
		return all, fmt.Errorf("%d bytes after the last answer", in.Buffered())
	}
	return all, nil
}

func (c *workerConn) act(w *world) {
	if c.closed || c.deaf {
		return
	}
	b, ended, _ := c.end.Read(1 + w.rand.IntN(6000))
	c.got = append(c.got, b...)
	if ended {
		c.closed = true
		c.end.Close()
		return
	}
	if !c.begun && len(c.got) != c.listened {
		c.listened = len(c.got)
		c.listen(w)
	}
	if !c.begun {
		return
	}
	if len(c.answer) > 0 {
		most := 1 + w.rand.IntN(700)
		if c.script.burst {
			most = len(c.answer)
		}
		n := c.end.Write(c.answer[:min(len(c.answer), most)])
		c.answer = c.answer[n:]
	}
	if len(c.answer) == 0 && c.script.goes {
		c.got, c.begun, c.listened = c.got[c.used:], false, 0
		c.served++
		return
	}
	if len(c.answer) == 0 && !c.script.keep {
		c.closed = true
		if c.script.reset {
			c.end.Reset()
		} else {
			c.end.Close()
		}
	}
}

// listen begins the answer when the request is whole, or its head, where the answer is an early one.
func (c *workerConn) listen(w *world) {
	rest := bytes.NewReader(c.got)
	in := bufio.NewReader(rest)
	q, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	body, err := io.ReadAll(q.Body)
	c.used = len(c.got) - rest.Len() - in.Buffered()
	script, known := w.answers[q.URL.Path]
	if !known {
		w.t.Errorf("a request for %q reached the worker", q.URL.Path)
	}
	if err != nil && !script.early {
		return
	}
	if err == nil {
		w.seen[q.URL.Path] = body
		w.heard[q.URL.Path]++
	}
	c.begun, c.script, c.answer = true, script, []byte(script.bytes)
}
