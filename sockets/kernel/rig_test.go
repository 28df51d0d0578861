package kernel_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"autoglm-sidecar/sockets/kernel"
)

var linux kernel.Linux

// until waits for what the kernel will have done soon.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: still waiting after 10 s", what)
		}
	}
}

// events are what poll(2) tells of fd now.
func events(fd int32) int16 {
	p := []unix.PollFd{{Fd: fd, Events: unix.POLLIN | unix.POLLOUT | unix.POLLRDHUP}}
	if _, err := unix.Poll(p, 0); err != nil {
		return 0
	}
	return p[0].Revents
}

// await waits until poll(2) tells all of want.
func await(t *testing.T, fd int32, want int16) {
	t.Helper()
	until(t, fmt.Sprintf("events %#x of socket %d", want, fd), func() bool { return events(fd)&want == want })
}

// queued is how many bytes wait to be read.
func queued(fd int32) int {
	n, err := unix.IoctlGetInt(int(fd), unix.SIOCINQ)
	if err != nil {
		return -1
	}
	return n
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// listener is a TCP listener at the address's IP, or a unix listener in a folder of its own.
func listener(t *testing.T, network string) (fd int, at kernel.Address) {
	t.Helper()
	var sa unix.Sockaddr
	family := unix.AF_INET
	switch network {
	case "tcp4":
		sa = &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	case "tcp6":
		family, sa = unix.AF_INET6, &unix.SockaddrInet6{Addr: [16]byte{15: 1}}
	case "unix":
		at.Unix = filepath.Join(t.TempDir(), "s")
		family, sa = unix.AF_UNIX, &unix.SockaddrUnix{Name: at.Unix}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	ok(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	ok(t, unix.Bind(fd, sa))
	ok(t, unix.Listen(fd, 16))
	bound, err := unix.Getsockname(fd)
	ok(t, err)
	switch bound := bound.(type) {
	case *unix.SockaddrInet4:
		at.TCP = netip.AddrPortFrom(netip.AddrFrom4(bound.Addr), uint16(bound.Port))
	case *unix.SockaddrInet6:
		at.TCP = netip.AddrPortFrom(netip.AddrFrom16(bound.Addr), uint16(bound.Port))
	}
	return fd, at
}

// connection is one of ours: near is our descriptor, far is the other process's.
type connection struct {
	near, far int32
	worker    kernel.Conn
	connected bool // by us
}

// accepted is a client's connection, connected one to a worker.
func accepted(t *testing.T, network string) *connection {
	t.Helper()
	l, at := listener(t, network)
	client, e := linux.Connect(at)
	if e != 0 {
		t.Fatal(e)
	}
	await(t, int32(l), unix.POLLIN)
	c, e := linux.Accept(l)
	if e != 0 {
		t.Fatal(e)
	}
	await(t, client.Socket, unix.POLLOUT)
	if network == "unix" { // the far side is somebody else's, who knows no pipe
		linux.Close(client.PipeR)
		linux.Close(client.PipeW)
	}
	return track(t, &connection{near: c.Socket, far: client.Socket, worker: c})
}

func connected(t *testing.T, network string) *connection {
	t.Helper()
	l, at := listener(t, network)
	w, e := linux.Connect(at)
	if e != 0 {
		t.Fatal(e)
	}
	await(t, w.Socket, unix.POLLOUT)
	await(t, int32(l), unix.POLLIN)
	if e := linux.Connected(w.Socket); e != 0 {
		t.Fatal(e)
	}
	far, _, err := unix.Accept4(l, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	ok(t, err)
	_ = unix.SetsockoptInt(far, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) // what is no TCP has none
	return track(t, &connection{near: w.Socket, far: int32(far), worker: w, connected: true})
}

func track(t *testing.T, c *connection) *connection {
	t.Cleanup(func() {
		for _, fd := range []int32{c.near, c.far, c.worker.PipeR, c.worker.PipeW} {
			if fd >= 0 {
				linux.Reset(fd) // leaves nothing behind in TIME_WAIT
				linux.Close(fd)
			}
		}
	})
	return c
}

// each runs a test for both kinds of TCP connection over both versions of IP.
func each(t *testing.T, test func(*testing.T, *connection)) {
	for _, network := range []string{"tcp4", "tcp6"} {
		t.Run(network+"/accepted", func(t *testing.T) { test(t, accepted(t, network)) })
		t.Run(network+"/connected", func(t *testing.T) { test(t, connected(t, network)) })
	}
}

// write is what the other process writes; all of it must fit.
func (c *connection) write(t *testing.T, n int) {
	t.Helper()
	before := queued(c.near)
	if got, e := linux.Send(c.far, make([]byte, n)); got != n || e != 0 {
		t.Fatalf("the other side wrote %d of %d bytes: %v", got, n, e)
	}
	until(t, "what was written", func() bool { return queued(c.near) == before+n })
}

// read is what we take; all of it must be there.
func (c *connection) read(t *testing.T, n int) {
	t.Helper()
	if got, e := linux.Read(c.near, make([]byte, n)); got != n || e != 0 {
		t.Fatalf("read %d of %d bytes: %v", got, n, e)
	}
}

// send is what we give.
func (c *connection) send(t *testing.T, n int) {
	t.Helper()
	if got, e := linux.Send(c.near, make([]byte, n)); got != n || e != 0 {
		t.Fatalf("sent %d of %d bytes: %v", got, n, e)
	}
}

// farReads empties the other side's queue, which must hold n bytes.
func (c *connection) farReads(t *testing.T, n int) {
	t.Helper()
	until(t, "what was sent", func() bool { return queued(c.far) == n })
	if got, e := linux.Read(c.far, make([]byte, n+1)); got != n || e != 0 {
		t.Fatalf("the other side read %d of %d bytes: %v", got, n, e)
	}
}

func (c *connection) closeFar() {
	linux.Close(c.far)
	c.far = -1
}

// check asks for the totals, with nothing noted.
func (c *connection) check(t *testing.T, when string, taken, given int64) {
	t.Helper()
	for _, noted := range []int64{0, taken} {
		if n, err := linux.Taken(c.near, noted); err != nil || n != taken {
			t.Errorf("%s: taken %d (%d noted), %v; want %d", when, n, noted, err, taken)
		}
	}
	if n, err := linux.Given(c.near, c.connected); err != nil || n != given {
		t.Errorf("%s: given %d, %v; want %d", when, n, err, given)
	}
}

// descriptors are how many this process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	ok(t, err)
	return len(entries)
}
