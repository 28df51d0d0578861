package kernel_test

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"autoglm-sidecar/sockets/kernel"
)

func option(t *testing.T, fd, level, option int) int {
	t.Helper()
	v, err := unix.GetsockoptInt(fd, level, option)
	ok(t, err)
	return v
}

func TestClientsAreSetAsTheirListenerIs(t *testing.T) {
	for _, network := range []string{"tcp4", "tcp6"} {
		l, at := listener(t, network)
		usual := option(t, l, unix.SOL_SOCKET, unix.SO_RCVBUF)
		set := kernel.Tuning{
			KeepAlive: 7 * time.Second, KeepInterval: 1500 * time.Millisecond, KeepCount: 5, UserTimeout: 90 * time.Second, SendBuffer: 20_000,
		}
		ok(t, set.Tune(l))
		client, e := linux.Connect(at)
		if e != 0 {
			t.Fatal(e)
		}
		await(t, int32(l), unix.POLLIN)
		near, e := linux.Accept(l)
		if e != 0 {
			t.Fatal(e)
		}
		track(t, &connection{near: near.Socket, far: client.Socket, worker: kernel.None})
		for _, want := range []struct {
			what                 string
			level, option, value int
		}{
			{"keep-alive", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
			{"idle", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 7},
			{"interval", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 2},
			{"count", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 5},
			{"user timeout", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 90_000},
			{"nodelay", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
			{"send buffer", unix.SOL_SOCKET, unix.SO_SNDBUF, 40_000}, // the kernel doubles it
			{"receive buffer", unix.SOL_SOCKET, unix.SO_RCVBUF, usual},
		} {
			if got := option(t, int(near.Socket), want.level, want.option); got != want.value {
				t.Errorf("%s: %s is %d, want %d", network, want.what, got, want.value)
			}
		}
		ok(t, kernel.Tuning{}.Tune(l))
		if option(t, l, unix.SOL_SOCKET, unix.SO_KEEPALIVE) != 0 {
			t.Errorf("%s: keep-alive stays on at a listener that was left by another runner", network)
		}
	}
	if err := (kernel.Tuning{KeepAlive: time.Second}).Tune(-1); err == nil {
		t.Error("no descriptor can be set")
	}
}

// TestAClientThatTakesSomethingIsSeen though its socket has no room for more.
func TestAClientThatTakesSomethingIsSeen(t *testing.T) {
	for _, network := range []string{"tcp4", "tcp6", "unix"} {
		c := accepted(t, network)
		full := make([]byte, 1<<20)
		for {
			if _, e := linux.Send(c.near, full); e != 0 {
				break
			}
		}
		var before int64
		until(t, "nothing is on its way any more", func() bool {
			last := before
			before = linux.Untaken(c.near)
			return last == before
		})
		if before == 0 {
			t.Fatalf("%s: nothing is untaken in a full socket", network)
		}
		until(t, "the client has taken some", func() bool {
			linux.Read(c.far, full[:64<<10])
			return linux.Untaken(c.near) < before
		})
	}
	if n := linux.Untaken(-1); n != 0 {
		t.Errorf("no descriptor has %d bytes untaken", n)
	}
}
