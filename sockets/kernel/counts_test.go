package kernel_test

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestTotalsOfALifeThatThePeerEnds(t *testing.T) {
	each(t, func(t *testing.T, c *connection) {
		c.check(t, "fresh", 0, 0)
		c.write(t, 100)
		c.check(t, "something has arrived", 0, 0)
		c.read(t, 30)
		c.check(t, "some of it is read", 30, 0)
		c.read(t, 70)
		c.check(t, "all of it is read", 100, 0)
		c.send(t, 50)
		c.check(t, "sent, and not read there", 100, 50)
		c.farReads(t, 50)
		c.check(t, "sent, and read there", 100, 50)

		c.write(t, 20)
		linux.HalfClose(c.far)
		await(t, c.near, unix.POLLRDHUP)
		c.check(t, "a FIN behind unread bytes", 100, 50)
		c.read(t, 15)
		c.check(t, "a FIN behind fewer", 115, 50)
		c.read(t, 5)
		c.check(t, "a FIN that is next", 120, 50)
		if n, e := linux.Read(c.near, make([]byte, 10)); n != 0 || e != 0 {
			t.Errorf("read %d, %v; want the end", n, e)
		}
		c.check(t, "a FIN that was read", 120, 50)
		c.send(t, 7)
		c.farReads(t, 7)
		c.check(t, "sent after the peer's FIN", 120, 57)
	})
}

func TestTotalsOfALifeThatWeEnd(t *testing.T) {
	each(t, func(t *testing.T, c *connection) {
		c.write(t, 10)
		c.send(t, 30)
		linux.HalfClose(c.near)
		await(t, c.far, unix.POLLRDHUP)
		c.check(t, "our FIN behind unread bytes", 0, 30)
		c.farReads(t, 30)
		c.check(t, "our FIN was acknowledged", 0, 30)
		c.write(t, 5)
		c.read(t, 12)
		c.check(t, "the peer goes on", 12, 30)
	})
}

// TestTotalsOfAnEndedConnectionAreNotGuessed: when it is over nobody can tell whether the peer's FIN is among the bytes
// received.
func TestTotalsOfAnEndedConnectionAreNotGuessed(t *testing.T) {
	each(t, func(t *testing.T, c *connection) {
		c.write(t, 10)
		c.read(t, 10)
		linux.HalfClose(c.near)
		linux.HalfClose(c.far)
		await(t, c.near, unix.POLLRDHUP|unix.POLLHUP)
		for _, noted := range []int64{0, 9, 10} {
			if n, err := linux.Taken(c.near, noted); err == nil {
				t.Errorf("taken %d for sure, %d noted, of a connection with FINs of both sides", n, noted)
			}
		}
	})
}

func TestTotalsAfterAReset(t *testing.T) {
	each(t, func(t *testing.T, c *connection) {
		c.write(t, 100)
		c.read(t, 40)
		c.send(t, 25)
		c.farReads(t, 25)
		c.send(t, 30) // which is never read
		local := linux.Local(c.near)
		c.closeFar()
		await(t, c.near, unix.POLLERR|unix.POLLHUP)
		if n, err := linux.Taken(c.near, 40); err != nil || n != 40 {
			t.Errorf("taken %d, %v, where 40 are noted: want 40", n, err)
		}
		if n, err := linux.Taken(c.near, 39); err == nil {
			t.Errorf("taken %d for sure, where 39 are noted: is it 39 and a FIN, or 40?", n)
		}
		if n, err := linux.Given(c.near, c.connected); err != nil || n != 55 {
			t.Errorf("given %d, %v; want 55", n, err)
		}
		c.read(t, 60) // what had arrived can be read
		if n, err := linux.Taken(c.near, 100); err != nil || n != 100 {
			t.Errorf("taken %d, %v; want 100", n, err)
		}
		if _, e := linux.Read(c.near, make([]byte, 1)); e != unix.ECONNRESET {
			t.Errorf("read: %v, want %v", e, unix.ECONNRESET)
		}
		if got := linux.Local(c.near); got != local || local.TCP.Port() == 0 {
			t.Errorf("local address %v, %v before the reset", got, local)
		}
	})
}

// TestTotalsAfterAFINAndAReset: here the one byte too many is there.
func TestTotalsAfterAFINAndAReset(t *testing.T) {
	each(t, func(t *testing.T, c *connection) {
		c.write(t, 50)
		c.read(t, 20)
		c.closeFar()
		await(t, c.near, unix.POLLRDHUP)
		c.check(t, "the peer has closed", 20, 0)
		c.send(t, 60) // nobody is there: an RST comes back
		await(t, c.near, unix.POLLHUP)
		for _, noted := range []int64{0, 19, 20} {
			if n, err := linux.Taken(c.near, noted); err == nil {
				t.Errorf("taken %d for sure, %d noted", n, noted)
			}
		}
		if n, err := linux.Given(c.near, c.connected); err != nil || n != 60 {
			t.Errorf("given %d, %v; want 60", n, err)
		}
		if _, e := linux.Send(c.near, make([]byte, 1)); e == 0 || e == unix.EAGAIN {
			t.Errorf("send: %v, want that it fails", e)
		}
	})
}

func TestTotalsOfAFullWindow(t *testing.T) {
	each(t, func(t *testing.T, c *connection) {
		piece := make([]byte, 100_001)
		given := int64(0)
		fill := func() {
			t.Helper()
			for {
				n, e := linux.Send(c.near, piece)
				if e == unix.EAGAIN {
					return
				}
				if e != 0 {
					t.Fatal(e)
				}
				given += int64(n)
			}
		}
		fill()
		if given < 100_000 {
			t.Fatalf("only %d bytes went in", given)
		}
		c.check(t, "the window is full", 0, given)
		drained := int64(0)
		for range 20 {
			n, e := linux.Read(c.far, piece)
			if e != 0 && e != unix.EAGAIN {
				t.Fatal(e)
			}
			drained += int64(n)
			c.check(t, "the other side reads", 0, given)
			fill()
			c.check(t, "the window is full again", 0, given)
		}
		linux.HalfClose(c.near)
		c.check(t, "our FIN waits behind a full window", 0, given)
		for drained < given {
			await(t, c.far, unix.POLLIN)
			n, _ := linux.Read(c.far, piece)
			drained += int64(n)
		}
		if n, e := linux.Read(c.far, piece); n != 0 || e != 0 || drained != given {
			t.Errorf("the other side read %d bytes and then %d, %v; %d were counted", drained, n, e, given)
		}
		c.check(t, "all of it was read", 0, given)
	})
}

// TestTotalsWhileOurFINWaits: it can't go out while the window is full, and the peer's own has come before or after it.
func TestTotalsWhileOurFINWaits(t *testing.T) {
	for name, first := range map[string]func(c *connection) (near, far int32){
		"the peer's FIN was first": func(c *connection) (int32, int32) { return c.far, c.near },
		"ours was first":           func(c *connection) (int32, int32) { return c.near, c.far },
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, c *connection) {
				c.write(t, 500)
				c.read(t, 123)
				given := int64(0)
				for piece := make([]byte, 1<<20); ; {
					n, e := linux.Send(c.near, piece)
					if e == unix.EAGAIN {
						break
					}
					given += int64(n)
				}
				one, other := first(c)
				linux.HalfClose(one)
				linux.HalfClose(other)
				await(t, c.near, unix.POLLRDHUP)
				c.check(t, "FINs of both sides", 123, given)
				c.read(t, 377)
				c.check(t, "all is read", 500, given)
			})
		})
	}
}

func TestTotalsBothWaysAtOnce(t *testing.T) {
	each(t, func(t *testing.T, c *connection) {
		var taken, given int64
		for i := range 300 {
			n := i*7919%3000 + 1
			c.write(t, n)
			c.read(t, n)
			taken += int64(n)
			c.send(t, 2*n)
			c.farReads(t, 2*n)
			given += int64(2 * n)
			c.check(t, "between two turns", taken, given)
		}
	})
}

// TestTotalsOfAConnectionThatIsMade: a stream whose connection may not even stand has given nothing.
func TestTotalsOfAConnectionThatIsMade(t *testing.T) {
	t.Parallel() // the kernel asks again after a second
	for _, network := range []string{"tcp4", "tcp6"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			l, at := listener(t, network)
			ok(t, unix.Listen(l, 0)) // room for one
			first, e := linux.Connect(at)
			if e != 0 {
				t.Fatal(e)
			}
			await(t, first.Socket, unix.POLLOUT)
			second, e := linux.Connect(at)
			if e != 0 {
				t.Fatal(e)
			}
			c := track(t, &connection{near: second.Socket, far: first.Socket, worker: second, connected: true})
			if events(c.near)&unix.POLLOUT != 0 {
				t.Fatal("the second connection stands though the backlog is full")
			}
			c.check(t, "no answer to our SYN", 0, 0)
			ok(t, unix.Shutdown(l, unix.SHUT_RDWR)) // ends to listen
			await(t, c.near, unix.POLLERR|unix.POLLHUP)
			c.check(t, "it is refused", 0, 0)
			if e := linux.Connected(c.near); e != unix.ECONNREFUSED {
				t.Errorf("connected: %v, want %v", e, unix.ECONNREFUSED)
			}
			c.check(t, "and that was asked for", 0, 0)
		})
	}
}

func TestWhatCountsNothingSaysSo(t *testing.T) {
	var pipe [2]int
	ok(t, unix.Pipe2(pipe[:], unix.O_CLOEXEC))
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	l, _ := listener(t, "tcp4")
	u := connected(t, "unix")
	for name, fd := range map[string]int32{"a pipe": int32(pipe[0]), "a listener": int32(l), "nothing": 1 << 20, "no descriptor": -1} {
		if n, err := linux.Taken(fd, 0); err == nil {
			t.Errorf("taken from %s: %d", name, n)
		}
		if n, err := linux.Given(fd, false); err == nil {
			t.Errorf("given to %s: %d", name, n)
		}
	}
	if n, err := linux.Given(u.near, true); err == nil {
		t.Errorf("given to a unix socket: %d", n)
	}
}
