package kernel_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"autoglm-sidecar/sockets/kernel"
)

func TestNoDescriptorBlocksOrIsInherited(t *testing.T) {
	for name, c := range map[string]*connection{
		"accepted": accepted(t, "tcp4"), "connected": connected(t, "tcp6"), "unix": connected(t, "unix"),
	} {
		for _, fd := range []int32{c.near, c.worker.PipeR, c.worker.PipeW} {
			if fd < 0 {
				continue
			}
			status, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
			ok(t, err)
			flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
			ok(t, err)
			if status&unix.O_NONBLOCK == 0 || flags&unix.FD_CLOEXEC == 0 {
				t.Errorf("%s: descriptor %d has the status %#x and flags %#x", name, fd, status, flags)
			}
		}
		if delay, err := unix.GetsockoptInt(int(c.near), unix.IPPROTO_TCP, unix.TCP_NODELAY); name != "unix" && (err != nil || delay != 1) {
			t.Errorf("%s: no delay %d, %v: tokens would wait", name, delay, err)
		}
	}
	tcp := connected(t, "tcp4").worker
	if tcp.PipeR != -1 || tcp.PipeW != -1 {
		t.Errorf("a TCP worker has a pipe: %+v", tcp)
	}
}

func TestNobodyWaitsAtTheFront(t *testing.T) {
	l, _ := listener(t, "tcp4")
	if c, e := linux.Accept(l); c != kernel.None || e != unix.EAGAIN {
		t.Errorf("accepted %+v, %v; want %v", c, e, unix.EAGAIN)
	}
	if _, e := linux.Accept(-1); e != unix.EBADF {
		t.Errorf("accept on no descriptor: %v, want %v", e, unix.EBADF)
	}
}

// TestAFailedConnectLeavesNothingOpen: workers are away for minutes, and asked for every second.
func TestAFailedConnectLeavesNothingOpen(t *testing.T) {
	closed, at := listener(t, "tcp4")
	ok(t, unix.Shutdown(closed, unix.SHUT_RDWR))
	busy, full := listener(t, "unix")
	ok(t, unix.Listen(busy, 0))
	first, e := linux.Connect(full)
	if e != 0 {
		t.Fatal(e)
	}
	track(t, &connection{near: first.Socket, far: -1, worker: first})
	dead := filepath.Join(t.TempDir(), "dead")
	left, err := new(net.ListenConfig).Listen(t.Context(), "unix", dead)
	ok(t, err)
	left.(*net.UnixListener).SetUnlinkOnClose(false)
	left.Close()

	before := descriptors(t)
	for name, test := range map[string]struct {
		to   kernel.Address
		want kernel.Errno
	}{
		"nobody listens":             {at, unix.ECONNREFUSED},
		"no socket there":            {kernel.Address{Unix: filepath.Join(t.TempDir(), "none")}, unix.ENOENT},
		"a socket nobody listens at": {kernel.Address{Unix: dead}, unix.ECONNREFUSED},
		"the backlog is full":        {full, unix.EAGAIN},
		"a path too long":            {kernel.Address{Unix: filepath.Join(t.TempDir(), string(make([]byte, 200)))}, unix.EINVAL},
	} {
		t.Run(name, func(t *testing.T) {
			w, e := linux.Connect(test.to)
			if e == 0 { // it may be refused a moment later
				await(t, w.Socket, unix.POLLERR)
				e = linux.Connected(w.Socket)
				linux.Close(w.Socket)
			} else if w != kernel.None {
				t.Errorf("a failed connect returns %+v", w)
			}
			if e != test.want {
				t.Errorf("%v, want %v", e, test.want)
			}
		})
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors are open, %d were before", after, before)
	}
}

func TestConnectedTellsWhenItStands(t *testing.T) {
	for _, network := range []string{"tcp4", "tcp6", "unix"} {
		if e := linux.Connected(connected(t, network).near); e != 0 {
			t.Errorf("%s: %v", network, e)
		}
	}
	if e := linux.Connected(-1); e != unix.EBADF {
		t.Errorf("no descriptor: %v, want %v", e, unix.EBADF)
	}
}

// TestLocalAddressesTellClientsFromTheRest is how a take-over knows whom a front has accepted.
func TestLocalAddressesTellClientsFromTheRest(t *testing.T) {
	for _, network := range []string{"tcp4", "tcp6", "unix"} {
		l, at := listener(t, network)
		if got := linux.Local(int32(l)); got != at {
			t.Errorf("%s: the listener is at %v, want %v", network, got, at)
		}
		client, e := linux.Connect(at)
		if e != 0 {
			t.Fatal(e)
		}
		await(t, int32(l), unix.POLLIN)
		near, e := linux.Accept(l)
		if e != 0 {
			t.Fatal(e)
		}
		track(t, &connection{near: near.Socket, far: client.Socket, worker: near})
		if got := linux.Local(near.Socket); got != at {
			t.Errorf("%s: a client's connection is at %v, want %v", network, got, at)
		}
		if got := linux.Local(client.Socket); got == at || network != "unix" && got.TCP.Port() == 0 {
			t.Errorf("%s: what connects is at %v", network, got)
		}
	}
	u := connected(t, "unix")
	for name, fd := range map[string]int32{"a worker's unix socket": u.near, "a pipe": u.worker.PipeR, "nothing": 1 << 20, "no descriptor": -1} {
		if got := linux.Local(fd); got != (kernel.Address{}) {
			t.Errorf("%s is at %v", name, got)
		}
	}
}

func TestPeersAreNamedForPeople(t *testing.T) {
	for network, ip := range map[string]string{"tcp4": "127.0.0.1", "tcp6": "::1"} {
		c := accepted(t, network)
		want := netip.AddrPortFrom(netip.MustParseAddr(ip), linux.Local(c.far).TCP.Port()).String()
		if got, want := linux.PeerAddr(c.near), netip.MustParseAddrPort(want).Addr(); got != want {
			t.Errorf("%s: the client has the address %v, want %v", network, got, want)
		}
		if got := linux.Peer(c.near); got != want {
			t.Errorf("%s: %q, want %q", network, got, want)
		}
	}
	// A client of IPv4 at a front for both is one of IPv4.
	l, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	ok(t, err)
	defer unix.Close(l)
	ok(t, unix.SetsockoptInt(l, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0))
	ok(t, unix.Bind(l, &unix.SockaddrInet6{}))
	ok(t, unix.Listen(l, 1))
	client, e := linux.Connect(kernel.Address{TCP: netip.AddrPortFrom(netip.MustParseAddr("::ffff:127.0.0.1"), linux.Local(int32(l)).TCP.Port())})
	if e != 0 {
		t.Fatal(e)
	}
	await(t, int32(l), unix.POLLIN)
	near, e := linux.Accept(l)
	if e != 0 {
		t.Fatal(e)
	}
	track(t, &connection{near: near.Socket, far: client.Socket, worker: kernel.None})
	if got, want := linux.Peer(near.Socket), netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), linux.Local(client.Socket).TCP.Port()).String(); got != want {
		t.Errorf("mapped: %q, want %q", got, want)
	}
	want := fmt.Sprintf("unix uid %d pid %d", os.Getuid(), os.Getpid())
	if got := linux.Peer(accepted(t, "unix").near); got != want {
		t.Errorf("unix: %q, want %q", got, want)
	}
	for name, fd := range map[string]int32{"a listener": int32(l), "nothing": 1 << 20} {
		if got := linux.Peer(fd); got != "" {
			t.Errorf("%s has the peer %q", name, got)
		}
	}
}

func TestAResetIsNoQuietEnd(t *testing.T) {
	quiet, loud := accepted(t, "tcp4"), accepted(t, "tcp4")
	linux.Close(quiet.near)
	quiet.near = -1
	linux.Reset(loud.near)
	linux.Close(loud.near)
	loud.near = -1
	await(t, quiet.far, unix.POLLRDHUP)
	await(t, loud.far, unix.POLLERR)
	if n, e := linux.Read(quiet.far, make([]byte, 1)); n != 0 || e != 0 {
		t.Errorf("after a close: read %d, %v; want the end", n, e)
	}
	if _, e := linux.Read(loud.far, make([]byte, 1)); e != unix.ECONNRESET {
		t.Errorf("after a reset: %v, want %v", e, unix.ECONNRESET)
	}
}

// TestTheFirstRunnerLeavesAloneWhatItsParentPassedOn: nothing is a dead runner's where there was none.
func TestTheFirstRunnerLeavesAloneWhatItsParentPassedOn(t *testing.T) {
	accepted(t, "tcp4")
	if fds, err := linux.Descriptors(); err != nil || len(fds) != 0 {
		t.Errorf("%v, %v; want none", fds, err)
	}
}

func TestTheClockIsMonotonic(t *testing.T) {
	var before, after unix.Timespec
	ok(t, unix.ClockGettime(unix.CLOCK_MONOTONIC, &before))
	now := linux.Now()
	ok(t, unix.ClockGettime(unix.CLOCK_MONOTONIC, &after))
	const slack = 20_000 // ns: the two clocks are put beside each other as well as a program can
	if now < before.Nano()-slack || now > after.Nano()+slack {
		t.Errorf("%d is not between %d and %d", now, before.Nano(), after.Nano())
	}
	for last, i := now, 0; i < 100_000; i++ {
		if now = linux.Now(); now < last {
			t.Fatalf("%d comes after %d", now, last)
		}
		last = now
	}
}

func TestAddressesAreNamedForPeople(t *testing.T) {
	for want, a := range map[string]kernel.Address{
		"127.0.0.1:80": {TCP: netip.MustParseAddrPort("127.0.0.1:80")},
		"[::1]:80":     {TCP: netip.MustParseAddrPort("[::1]:80")},
		"unix:/run/w":  {Unix: "/run/w"},
	} {
		if got := a.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
