// Package fake is a kernel for the relay's tests: sockets, pipes and a clock in plain memory, moved by one goroutine,
// deterministic for a seed. Before and after each call it runs a hook, in which a test may let the calling process
// die; the sockets, like real ones in a shared descriptor table, live on. What clients and workers do at the other
// ends is done through End.
package fake

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"autoglm-sidecar/sockets/kernel"
	"autoglm-sidecar/sockets/loop"
)

// Descriptors of the listeners that clients connect to.
const (
	Front     = 105
	UnixFront = 111
)

// listeners are the addresses that they are bound to.
var listeners = map[int32]kernel.Address{
	Front:     {TCP: netip.MustParseAddrPort("127.0.0.1:8000")},
	UnixFront: {Unix: "/front"},
}

// BoundTo is where a listener is bound to.
func BoundTo(front int) kernel.Address { return listeners[int32(front)] }

// Kernel is a fake kernel; it implements kernel.Kernel.
type Kernel struct {
	Clock int64             // nanoseconds
	Hook  func(call string) // before and after each call; may panic
	Rand  *rand.Rand        // how much a call moves
	// Window is what arrives here before it is read, where it is more than usual.
	Window int
	Most   int // bytes that one call moves at the most; 0: no bound

	files   map[int32]any // *socket or pipeEnd
	last    int32
	backlog map[int32][]*socket // clients that wait to be accepted, by listener
	dialled []*socket           // the worker's ends that wait to be accepted by it
	refuse  bool
	unix    bool
}

var _ kernel.Kernel = (*Kernel)(nil)

// New makes a fake kernel. With overUnix the worker is reached through a unix socket.
func New(seed uint64, overUnix bool) *Kernel {
	return &Kernel{
		Clock: 1e9, Rand: rand.New(rand.NewPCG(seed, 1)), files: map[int32]any{}, last: 200, backlog: map[int32][]*socket{}, unix: overUnix,
	}
}

// window is what a socket's receive side holds.
const window = 16 << 10

type socket struct {
	peer     *socket
	in       []byte // arrived, not read
	received int64  // ever arrived
	accepted int64  // ever taken from our user space
	fin      bool   // the peer sends no more
	finished bool   // and said so by a FIN
	reset    bool   // by the peer
	gone     bool   // closed here
	shut     bool   // FIN sent from here
	linger0  bool
	local    kernel.Address
	from     netip.Addr // of a client
	unix     bool
	room     int
}

type pipe struct{ data []byte }

type pipeEnd struct {
	*pipe
	writes bool
}

// over: both sides have ended the connection, or one has broken it off. TCP then counts a FIN as a byte and no longer
// says whether there was one.
func (s *socket) over() bool { return !s.unix && (s.reset || s.shut && s.fin) }

// close is what the peer of a socket sees of its close.
func (s *socket) close() {
	s.gone = true
	switch {
	case s.linger0 && !s.unix || len(s.in) > 0:
		s.peer.fin, s.peer.reset = true, true
	default:
		s.finish()
	}
}

// finish sends a FIN.
func (s *socket) finish() {
	s.peer.finished = s.peer.finished || !s.peer.reset
	s.shut, s.peer.fin = true, true
}

func (k *Kernel) hook(call string) {
	if k.Hook != nil {
		k.Hook(call)
	}
}

func (k *Kernel) pair(local kernel.Address, overUnix bool) (ours, theirs *socket) {
	ours = &socket{local: local, unix: overUnix, room: max(window, k.Window)}
	theirs = &socket{unix: overUnix, room: window, peer: ours}
	ours.peer = theirs
	return ours, theirs
}

func (k *Kernel) install(file any) int32 {
	k.last++
	k.files[k.last] = file
	return k.last
}

func (k *Kernel) socket(fd int32) *socket {
	s, ok := k.files[fd].(*socket)
	if !ok {
		panic("fake: system call on a descriptor that is no socket")
	}
	return s
}

// some is how many of n bytes a call moves.
func (k *Kernel) some(n int) int {
	if k.Most > 0 && n > 1 {
		n = 1 + k.Rand.IntN(min(n, k.Most))
	}
	return n
}

// Now implements kernel.Kernel.
func (k *Kernel) Now() int64 { return k.Clock }

// Accept implements kernel.Kernel.
func (k *Kernel) Accept(listener int) (kernel.Conn, kernel.Errno) {
	k.hook("accept")
	waiting := k.backlog[int32(listener)]
	if len(waiting) == 0 {
		return kernel.None, unix.EAGAIN
	}
	k.backlog[int32(listener)] = waiting[1:]
	fd := k.install(waiting[0])
	k.hook("accepted")
	return k.conn(fd), 0
}

// Adopt implements kernel.Kernel.
func (k *Kernel) Adopt(fd int32) (kernel.Conn, kernel.Errno) {
	k.hook("adopt")
	return k.conn(fd), 0
}

// conn makes a connection of a fresh socket.
func (k *Kernel) conn(fd int32) kernel.Conn {
	c := kernel.Conn{Socket: fd, PipeR: -1, PipeW: -1}
	if k.socket(fd).unix {
		p := &pipe{}
		c.PipeR = k.install(pipeEnd{p, false})
		c.PipeW = k.install(pipeEnd{p, true})
		k.hook("a pipe made")
	}
	return c
}

// Connect implements kernel.Kernel.
func (k *Kernel) Connect(kernel.Address) (kernel.Conn, kernel.Errno) {
	k.hook("connect")
	if k.refuse {
		return kernel.None, unix.ECONNREFUSED
	}
	var local kernel.Address // a unix socket that connects has none
	if !k.unix {
		local.TCP = netip.MustParseAddrPort("127.0.0.1:40000")
	}
	ours, theirs := k.pair(local, k.unix)
	k.dialled = append(k.dialled, theirs)
	w := k.conn(k.install(ours))
	k.hook("connecting")
	return w, 0
}

// Connected implements kernel.Kernel.
func (k *Kernel) Connected(fd int32) kernel.Errno {
	if k.socket(fd).reset {
		return unix.ECONNREFUSED
	}
	return 0
}

// Quiet implements kernel.Kernel.
func (k *Kernel) Quiet(fd int32) bool {
	s := k.socket(fd)
	k.hook("quiet")
	return len(s.in) == 0 && !s.reset && !s.fin
}

// Read implements kernel.Kernel.
func (k *Kernel) Read(fd int32, b []byte) (int, kernel.Errno) {
	s := k.socket(fd)
	k.hook("read")
	if len(s.in) == 0 {
		switch {
		case s.reset:
			return 0, unix.ECONNRESET
		case s.fin:
			return 0, 0
		}
		return 0, unix.EAGAIN
	}
	n := copy(b[:k.some(min(len(b), len(s.in)))], s.in)
	s.in = s.in[n:]
	k.hook("taken")
	return n, 0
}

// Send implements kernel.Kernel.
func (k *Kernel) Send(fd int32, b []byte) (int, kernel.Errno) {
	k.hook("send")
	n, e := k.put(k.socket(fd), b)
	k.hook("given")
	return n, e
}

func (k *Kernel) put(s *socket, b []byte) (int, kernel.Errno) {
	switch {
	case s.reset:
		return 0, unix.ECONNRESET
	case s.peer.gone && s.unix:
		return 0, unix.EPIPE
	case s.peer.gone: // it goes out, and an RST comes back
		s.reset = true
		s.accepted += int64(len(b))
		return len(b), 0
	}
	n := min(len(b), s.peer.room-len(s.peer.in))
	if n <= 0 {
		return 0, unix.EAGAIN
	}
	n = k.some(n)
	s.peer.in = append(s.peer.in, b[:n]...)
	s.peer.received += int64(n)
	s.accepted += int64(n)
	return n, 0
}

// Pipe implements kernel.Kernel.
func (k *Kernel) Pipe(w kernel.Conn, b []byte) (int, kernel.Errno) {
	p := k.files[w.PipeW].(pipeEnd)
	k.hook("pipe")
	if len(p.data) > 0 {
		panic("fake: a pipe is filled that isn't empty")
	}
	n := k.some(min(len(b), 64<<10))
	p.data = slices.Clone(b[:n])
	k.hook("piped")
	return n, 0
}

// Pour implements kernel.Kernel.
func (k *Kernel) Pour(w kernel.Conn, n int) (int, kernel.Errno) {
	p := k.files[w.PipeR].(pipeEnd)
	k.hook("pour")
	moved, e := k.put(k.socket(w.Socket), p.data[:min(n, len(p.data))])
	p.data = p.data[moved:]
	k.hook("poured")
	return moved, e
}

// HalfClose implements kernel.Kernel.
func (k *Kernel) HalfClose(fd int32) {
	k.hook("halfclose")
	k.socket(fd).finish()
	k.hook("halfclosed")
}

// Reset implements kernel.Kernel.
func (k *Kernel) Reset(fd int32) { k.socket(fd).linger0 = true }

// Close implements kernel.Kernel.
func (k *Kernel) Close(fd int32) {
	k.hook("close")
	switch f := k.files[fd].(type) {
	case nil:
		panic("fake: close of a descriptor that isn't open")
	case *socket:
		f.close()
	}
	delete(k.files, fd)
	k.hook("closed")
}

// Taken implements kernel.Kernel.
func (k *Kernel) Taken(fd int32, noted int64) (int64, error) {
	s, ok := k.files[fd].(*socket)
	if !ok {
		return 0, errors.New("no socket")
	}
	n := s.received - int64(len(s.in))
	if s.over() {
		if s.finished {
			n++
		}
		if n != noted {
			return 0, errors.New("nobody knows whether a FIN is counted")
		}
	}
	return n, nil
}

// Lap implements kernel.Kernel.
func (k *Kernel) Lap(int32) {}

// Given implements kernel.Kernel.
func (k *Kernel) Given(fd int32, _ bool) (int64, error) {
	s, ok := k.files[fd].(*socket)
	if !ok || s.unix {
		return 0, errors.New("only TCP counts what it is given")
	}
	if s.over() && s.shut {
		return s.accepted + 1, nil
	}
	return s.accepted, nil
}

// Untaken implements kernel.Kernel: in this one the other end takes bytes by reading them.
func (k *Kernel) Untaken(fd int32) int64 { return int64(len(k.socket(fd).peer.in)) }

// InPipe implements kernel.Kernel.
func (k *Kernel) InPipe(w kernel.Conn) (int64, error) {
	from, read := k.files[w.PipeR].(pipeEnd)
	to, write := k.files[w.PipeW].(pipeEnd)
	if !read || !write || from.pipe != to.pipe || from.writes || !to.writes {
		return 0, errors.New("not the ends of one pipe")
	}
	return int64(len(from.data)), nil
}

// Skew makes the kernel's counters of fd wrong: by taken bytes that were never read, and given that were never sent.
func (k *Kernel) Skew(fd int32, taken, given int64) {
	if s, ok := k.files[fd].(*socket); ok {
		s.received += taken
		s.accepted += given
	}
}

// Descriptors implements kernel.Kernel.
func (k *Kernel) Descriptors() ([]int32, error) {
	var fds []int32
	for fd := range k.files {
		fds = append(fds, fd)
	}
	slices.Sort(fds)
	return fds, nil
}

// Local implements kernel.Kernel.
func (k *Kernel) Local(fd int32) kernel.Address {
	if s, ok := k.files[fd].(*socket); ok {
		return s.local
	}
	return listeners[fd]
}

// Peer implements kernel.Kernel.
func (k *Kernel) Peer(fd int32) string { return netip.AddrPortFrom(k.PeerAddr(fd), 1).String() }

// PeerAddr implements kernel.Kernel.
func (k *Kernel) PeerAddr(fd int32) netip.Addr { return k.socket(fd).from }

// Poller is a loop's epoll set: it dies with its process.
type Poller struct {
	k       *Kernel
	watched map[int32]watch
	woken   bool
}

type watch struct {
	token  uint64
	events uint32
}

// NewPoller makes an empty set.
func (k *Kernel) NewPoller() *Poller { return &Poller{k: k, watched: map[int32]watch{}} }

// Watch begins to watch fd.
func (p *Poller) Watch(fd int32, token uint64, events uint32) error {
	if _, twice := p.watched[fd]; twice && p.k.files[fd] != nil {
		return unix.EEXIST
	}
	p.watched[fd] = watch{token, events}
	return nil
}

// Rewatch changes what fd is watched for.
func (p *Poller) Rewatch(fd int32, token uint64, events uint32) error {
	if _, ok := p.watched[fd]; !ok {
		return unix.ENOENT
	}
	p.watched[fd] = watch{token, events}
	return nil
}

// Unwatch forgets fd.
func (p *Poller) Unwatch(fd int32) error {
	if _, ok := p.watched[fd]; !ok {
		return unix.ENOENT
	}
	delete(p.watched, fd)
	return nil
}

// Wake makes Events tell of itself.
func (p *Poller) Wake() { p.woken = true }

// Rest does nothing: the test says when a tick comes.
func (p *Poller) Rest(bool) error { return nil }

// Run isn't how a test drives a lane: see Events.
func (p *Poller) Run(func([]loop.Event) bool, func() bool) error {
	return errors.New("fake: the test drives the lane")
}

// Events is what epoll would tell now, in the order of descriptors. some is false where there is nothing to tell.
func (p *Poller) Events() (events []loop.Event, some bool) {
	var fds []int32
	for fd := range p.watched {
		if _, listens := listeners[fd]; !listens && p.k.files[fd] == nil { // closed descriptors leave a set by themselves
			delete(p.watched, fd)
			continue
		}
		fds = append(fds, fd)
	}
	slices.Sort(fds)
	for _, fd := range fds {
		w := p.watched[fd]
		if e := p.k.ready(fd) & (w.events | loop.HangUp | loop.Failed); e != 0 {
			events = append(events, loop.Event{Token: w.token, Events: e})
		}
	}
	woken := p.woken
	p.woken = false
	return events, woken || len(events) > 0
}

func (k *Kernel) ready(fd int32) (events uint32) {
	if _, listens := listeners[fd]; listens {
		if len(k.backlog[fd]) > 0 {
			return loop.Readable
		}
		return 0
	}
	s := k.socket(fd)
	if len(s.in) > 0 || s.fin || s.reset {
		events |= loop.Readable
	}
	if s.fin {
		events |= loop.PeerEnded
	}
	if s.fin && s.shut || s.unix && s.peer.gone {
		events |= loop.HangUp
	}
	if s.reset {
		events |= loop.Failed | loop.HangUp | loop.PeerEnded
	}
	if len(s.peer.in) < s.peer.room || s.peer.gone {
		events |= loop.Writable
	}
	return events
}
