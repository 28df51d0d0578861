package kernel_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"autoglm-sidecar/sockets/kernel"
	"autoglm-sidecar/sockets/kernel/fake"
	"autoglm-sidecar/sockets/loop"
)

// far is what the other process does with its end of a connection.
type far interface {
	Write(b []byte) int
	Read(most int) (b []byte, ended, broken bool)
	HalfClose()
	Close()
	Reset()
}

// side is one connection on one kernel.
type side struct {
	k         kernel.Kernel
	w         kernel.Conn // its socket is our end, whoever connected
	connected bool
	far       far
	hungUp    func() bool // as epoll tells it
}

// linuxFar is the other end of a real connection.
type linuxFar struct{ fd int32 }

func (f *linuxFar) Write(b []byte) int {
	n, _ := linux.Send(f.fd, b)
	return n
}

func (f *linuxFar) Read(most int) (b []byte, ended, broken bool) {
	b = make([]byte, most)
	n, e := linux.Read(f.fd, b)
	return b[:n], n == 0 && e != unix.EAGAIN, e != 0 && e != unix.EAGAIN
}

func (f *linuxFar) HalfClose() { linux.HalfClose(f.fd) }

func (f *linuxFar) Close() {
	linux.Close(f.fd)
	f.fd = -1
}

func (f *linuxFar) Reset() {
	linux.Reset(f.fd)
	f.Close()
}

// pair is the same connection on both kernels, and what has to be known to wait for the real one, which is not done with
// a call when the call returns.
type pair struct {
	t           *testing.T
	fake, linux side
	far         *linuxFar
	unix        bool
	log         []string

	down, up     int // bytes on their way to us, and from us to the far end
	piped        int
	finished     bool // the far end has sent a FIN
	broken       bool // an RST is on its way to us, or here
	shut         bool // we have sent a FIN
	gone         bool // the far end is closed
	taken, given int64
}

func newPair(t *testing.T, kind string, seed uint64) *pair {
	p := &pair{t: t, unix: strings.HasPrefix(kind, "unix")}
	var c *connection
	k := fake.New(seed, p.unix)
	network, front := "tcp4", fake.Front
	if p.unix {
		network, front = "unix", fake.UnixFront
	}
	if strings.HasSuffix(kind, "accepted") {
		end := k.ClientAt(front, fake.SomeClient)
		w, _ := k.Accept(front)
		p.fake = side{k, w, false, end, nil}
		c = accepted(t, network)
	} else {
		w, _ := k.Connect(kernel.Address{})
		p.fake = side{k, w, true, k.Worker(), nil}
		c = connected(t, network)
	}
	p.far = &linuxFar{c.far}
	c.far = -1
	t.Cleanup(func() {
		if p.far.fd >= 0 {
			p.far.Reset()
		}
	})
	p.linux = side{linux, c.worker, c.connected, p.far, func() bool { return events(c.near)&unix.POLLHUP != 0 }}
	poller := k.NewPoller()
	ok(t, poller.Watch(p.fake.w.Socket, 0, 0))
	p.fake.hungUp = func() bool {
		told, _ := poller.Events()
		return len(told) > 0 && told[0].Events&loop.HangUp != 0
	}
	return p
}

// settle waits until the real kernel is where the fake one is at once.
func (p *pair) settle() {
	p.t.Helper()
	near := p.linux.w.Socket
	until(p.t, "what comes to us: "+strings.Join(p.log, ", "), func() bool { return queued(near) == p.down })
	switch {
	case p.broken && !p.unix:
		await(p.t, near, unix.POLLHUP)
	case p.finished || p.gone:
		await(p.t, near, unix.POLLRDHUP)
	}
	if !p.gone {
		until(p.t, "what goes to the far end: "+strings.Join(p.log, ", "), func() bool { return queued(p.far.fd) == p.up })
		if p.shut {
			await(p.t, p.far.fd, unix.POLLRDHUP)
		}
	}
}

// result is a call's, as far as anybody decides by it: how much, and whether again, or no more.
func result(n int, e kernel.Errno) string {
	switch e {
	case 0:
		return fmt.Sprint(n)
	case unix.EAGAIN:
		return "again"
	default:
		return "over"
	}
}

// call does the same on both kernels, which must do the same.
func (p *pair) call(what string, do func(s side) string) string {
	p.t.Helper()
	p.log = append(p.log, what)
	f, l := do(p.fake), do(p.linux)
	if f != l {
		p.t.Fatalf("%s: the fake says %s, Linux %s", strings.Join(p.log, ", "), f, l)
	}
	return l
}

// compare asks both kernels all that a take-over asks, with what may be noted.
func (p *pair) compare(noted int64) {
	p.t.Helper()
	p.settle()
	said := len(p.log)
	ask := func(n int64, err error) string {
		if err != nil {
			return "unknown"
		}
		return fmt.Sprint(n)
	}
	if got := p.call(fmt.Sprintf("taken, %d noted", noted), func(s side) string { return ask(s.k.Taken(s.w.Socket, noted)) }); got != "unknown" && got != fmt.Sprint(p.taken) {
		p.t.Fatalf("%s: both say %s, and %d were taken", strings.Join(p.log, ", "), got, p.taken)
	}
	p.call("hung up", func(s side) string { return fmt.Sprint(s.hungUp()) })
	if p.unix {
		p.call("in the pipe", func(s side) string { return ask(s.k.InPipe(s.w)) })
	}
	if (!p.unix || p.down == 0) && !p.broken { // else the question would change the answer to others
		quiet := fmt.Sprint(p.down == 0 && !p.finished)
		if got := p.call("quiet", func(s side) string { return fmt.Sprint(s.k.Quiet(s.w.Socket)) }); got != quiet {
			p.t.Fatalf("%s: both say quiet %s, want %s", strings.Join(p.log, ", "), got, quiet)
		}
	}
	want := p.given
	if p.shut && (p.finished || p.broken) {
		want++
	}
	if got := p.call("given", func(s side) string { return ask(s.k.Given(s.w.Socket, s.connected)) }); got != "unknown" && got != fmt.Sprint(want) {
		p.t.Fatalf("%s: both say %s, and %d were given", strings.Join(p.log, ", "), got, want)
	}
	p.log = p.log[:said]
}

// move makes one random move of either side.
func (p *pair) move(r *rand.Rand) {
	p.t.Helper()
	n := 1 + r.IntN(1500)
	switch r.IntN(14) {
	case 0, 1, 2:
		p.read(n)
	case 3, 4, 5:
		p.send(n)
	case 6, 7, 8:
		if !p.finished && !p.gone && p.down < 8000 {
			p.call(fmt.Sprintf("far write %d", n), func(s side) string { return fmt.Sprint(s.far.Write(make([]byte, n))) })
			p.down += n
		}
	case 9, 10:
		if !p.gone {
			p.call(fmt.Sprintf("far read %d", n), func(s side) string {
				b, ended, broken := s.far.Read(n)
				return fmt.Sprint(len(b), ended, broken)
			})
			p.up -= min(n, p.up)
		}
	case 11:
		if !p.finished && !p.gone && r.IntN(4) == 0 {
			p.call("far half-close", func(s side) string { s.far.HalfClose(); return "" })
			p.finished = true
		}
	case 12:
		if !p.gone && r.IntN(6) == 0 {
			p.end(!p.unix && r.IntN(2) == 0)
		}
	case 13:
		if !p.shut && !p.broken && !p.unix && r.IntN(4) == 0 {
			p.call("half-close", func(s side) string { s.k.HalfClose(s.w.Socket); return "" })
			p.shut = true
		}
	}
}

// end closes the far end, or breaks it off.
func (p *pair) end(reset bool) {
	p.gone = true
	if reset {
		over := p.shut && p.finished // then there is nothing left to be broken off
		p.call("far reset", func(s side) string { s.far.Reset(); return "" })
		p.broken = p.broken || !over
		return
	}
	p.broken = p.broken || p.up > 0
	p.call("far close", func(s side) string { s.far.Close(); return "" })
	p.finished = p.finished || !p.broken
}

func (p *pair) read(n int) {
	got := p.call(fmt.Sprintf("read %d", n), func(s side) string {
		n, e := s.k.Read(s.w.Socket, make([]byte, n))
		if n == 0 && e == 0 {
			return "over"
		}
		return result(n, e)
	})
	if got != "over" && got != "again" {
		moved := min(n, p.down)
		p.taken += int64(moved)
		p.down -= moved
	}
}

func (p *pair) send(n int) {
	switch {
	case p.shut || p.up > 8000:
		return
	case !p.unix:
		got := p.call(fmt.Sprintf("send %d", n), func(s side) string { return result(s.k.Send(s.w.Socket, make([]byte, n))) })
		if got == "over" {
			return
		}
		p.given += int64(n)
		if p.gone {
			p.broken = true // nobody takes it: an RST comes back
		} else {
			p.up += n
		}
		return
	case p.piped == 0:
		p.call(fmt.Sprintf("pipe %d", n), func(s side) string { return result(s.k.Pipe(s.w, make([]byte, n))) })
		p.piped = n
	}
	most := min(n, p.piped)
	if got := p.call(fmt.Sprintf("pour %d", most), func(s side) string { return result(s.k.Pour(s.w, most)) }); got != "over" {
		p.piped -= most
		p.up += most
		p.given += int64(most)
	}
}

// TestTheFakeKernelIsTrue: after any moves of both sides, the fake says of a connection what Linux says.
func TestTheFakeKernelIsTrue(t *testing.T) {
	const runs, moves = 150, 60
	for _, kind := range []string{"tcp accepted", "tcp connected", "unix accepted", "unix connected"} {
		t.Run(kind, func(t *testing.T) {
			for seed := range uint64(runs) {
				t.Run(fmt.Sprint(seed), func(t *testing.T) {
					r := rand.New(rand.NewPCG(seed, 3))
					p := newPair(t, kind, seed)
					for range moves {
						p.move(r)
						p.compare(p.taken - int64(r.IntN(2))*r.Int64N(p.taken+1))
					}
				})
			}
		})
	}
}
