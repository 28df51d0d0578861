package kernel_test

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"

	"autoglm-sidecar/sockets/kernel"
)

func TestTakenFromAUnixSocket(t *testing.T) {
	c := connected(t, "unix")
	taken := int64(0)
	check := func(when string) {
		t.Helper()
		for _, noted := range []int64{0, taken / 2, taken} {
			if n, err := linux.Taken(c.near, noted); err != nil || n != taken {
				t.Errorf("%s: taken %d (%d noted), %v; want %d", when, n, noted, err, taken)
			}
		}
	}
	check("fresh")
	for i := range 200 {
		n := i*7919%5000 + 1
		c.write(t, n+10)
		check("something has arrived")
		c.read(t, n)
		taken += int64(n)
		check("some of it is read")
		c.read(t, 10)
		taken += 10
		check("all of it is read")
	}
	c.write(t, 33)
	c.closeFar()
	check("the worker has closed")
	c.read(t, 33)
	taken += 33
	check("the rest is read")
	if n, e := linux.Read(c.near, make([]byte, 1)); n != 0 || e != 0 {
		t.Errorf("read %d, %v; want the end", n, e)
	}
	check("the end is read")
}

// TestTakenFromAUnixSocketThatIsReset: the worker closed it with the request unread.
func TestTakenFromAUnixSocketThatIsReset(t *testing.T) {
	c := connected(t, "unix")
	give(t, c.worker, 100)
	c.write(t, 50)
	c.read(t, 20)
	c.closeFar()
	if n, err := linux.Taken(c.near, 0); err != nil || n != 20 {
		t.Errorf("taken %d, %v; want 20", n, err)
	}
	c.read(t, 30)
	if _, e := linux.Read(c.near, make([]byte, 1)); e != unix.ECONNRESET {
		t.Errorf("read: %v, want %v", e, unix.ECONNRESET)
	}
	if n, err := linux.Taken(c.near, 20); err != nil || n != 50 {
		t.Errorf("taken %d, %v; want 50", n, err)
	}
}

// TestAClientsUnixSocketIsCountedFromItsFirstByte: it may have been accepted by a runner that died before it could say so.
func TestAClientsUnixSocketIsCountedFromItsFirstByte(t *testing.T) {
	l, at := listener(t, "unix")
	client, e := linux.Connect(at)
	if e != 0 {
		t.Fatal(e)
	}
	fd, _, err := unix.Accept4(l, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	ok(t, err)
	c := track(t, &connection{near: int32(fd), far: client.Socket, worker: kernel.Conn{Socket: int32(fd), PipeR: client.PipeR, PipeW: client.PipeW}})
	taken := func(when string, want int64) {
		t.Helper()
		for _, noted := range []int64{0, want} {
			if n, err := linux.Taken(c.near, noted); err != nil || n != want {
				t.Errorf("%s: taken %d (%d noted), %v; want %d", when, n, noted, err, want)
			}
		}
	}
	taken("just accepted", 0)
	c.write(t, 70)
	taken("something has arrived", 0)
	for range 2 { // a runner may be killed between
		adopted, e := linux.Adopt(c.near)
		if e != 0 || adopted.Socket != c.near || adopted.PipeR < 0 || adopted.PipeW < 0 {
			t.Fatalf("adopted as %+v, %v", adopted, e)
		}
		t.Cleanup(func() { unix.Close(int(adopted.PipeR)); unix.Close(int(adopted.PipeW)) })
		taken("adopted", 0)
		give(t, adopted, 30)
	}
	c.read(t, 50)
	taken("some of it is read", 50)
	c.farReads(t, 60)
}

// TestAUnixSocketHasNoReset: its peer reads all that it was given. That the other side gave up it hears only where something
// that it said was left unread.
func TestAUnixSocketHasNoReset(t *testing.T) {
	for name, test := range map[string]struct {
		unread int
		want   kernel.Errno
	}{
		"everything was read": {0, 0},
		"something wasn't":    {1, unix.ECONNRESET},
	} {
		t.Run(name, func(t *testing.T) {
			c := accepted(t, "unix")
			c.write(t, 20+test.unread)
			c.read(t, 20)
			give(t, c.worker, 50)
			linux.HalfClose(c.near)
			linux.Reset(c.near)
			linux.Close(c.near)
			c.near = -1
			if n, e := linux.Read(c.far, make([]byte, 99)); n != 50 || e != 0 {
				t.Errorf("read %d, %v; want the 50 bytes that it was given", n, e)
			}
			if n, e := linux.Read(c.far, make([]byte, 1)); n != 0 || e != test.want {
				t.Errorf("then read %d, %v; want %v", n, e, test.want)
			}
		})
	}
}

// TestAUnixListenerHandsOutConnectionsThatCount is the usual way.
func TestAUnixListenerHandsOutConnectionsThatCount(t *testing.T) {
	c := accepted(t, "unix")
	c.write(t, 10)
	c.read(t, 7)
	if n, err := linux.Taken(c.near, 0); err != nil || n != 7 {
		t.Errorf("taken %d, %v; want 7", n, err)
	}
	give(t, c.worker, 100)
	inPipe(t, c.worker, 0)
	c.farReads(t, 100)
	for _, fd := range []int32{c.worker.PipeR, c.worker.PipeW} {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("a child inherits the pipe: %#x, %v", flags, err)
		}
	}
}

const (
	peekStart = 1 << 30 // where the offset of a fresh connection stands
	lap       = 1 << 29 // by which Lap raises it
	lapEvery  = 1 << 28 // how often the relay calls Lap
)

// travel puts a fresh connection where it would be after taken bytes, its offset raised as late as may be.
func travel(t *testing.T, c *connection, taken int64) {
	t.Helper()
	offset := lap - taken%lap
	if taken%lap > lapEvery || taken < lap {
		offset += lap
	}
	ok(t, unix.SetsockoptInt(int(c.near), unix.SOL_SOCKET, unix.SO_PEEK_OFF, int(offset)))
}

// TestLapsAreNotSeen moves to places around each lap, near and far, reads across them, and raises the offset before,
// after, and twice.
func TestLapsAreNotSeen(t *testing.T) {
	c := connected(t, "unix")
	for _, at := range []int64{0, lapEvery, lap, lap + lapEvery, 2 * lap, 2*lap + lapEvery, 3 * lap, 1 << 32, 1<<32 + lapEvery, 1 << 40, 1<<40 + lapEvery} {
		for _, before := range []int64{0, 1, 99, 100, 101, 200} {
			taken := max(at-before, 0)
			travel(t, c, taken)
			check := func(when string, noted int64) {
				t.Helper()
				if n, err := linux.Taken(c.near, noted); err != nil || n != taken {
					t.Fatalf("%s, at %d: taken %d (%d noted), %v", when, taken, n, noted, err)
				}
			}
			check("before", taken)
			noted := taken
			c.write(t, 100)
			c.read(t, 100)
			taken += 100
			check("read", noted)
			check("read and noted", taken)
			linux.Lap(c.near)
			check("raised", noted)
			linux.Lap(c.near)
			check("raised twice", taken)
			c.write(t, 100)
			c.read(t, 100)
			taken += 100
			check("read again", noted)
			c.write(t, 64<<10)
			c.read(t, 64<<10)
			taken += 64 << 10
			check("a whole area read", taken-64<<10)
		}
	}
}

// TestLapRaisesInTime takes more than a GiB as the relay does.
func TestLapRaisesInTime(t *testing.T) {
	t.Parallel()
	c := connected(t, "unix")
	buffer := make([]byte, 64<<10)
	var taken int64
	for taken < peekStart+lapEvery+1<<20 {
		if _, e := linux.Send(c.far, buffer); e != 0 {
			t.Fatal(e)
		}
		n, e := linux.Read(c.near, buffer[:len(buffer)-int(taken%1000)])
		if e != 0 {
			t.Fatal(e)
		}
		if taken%(1<<20) < int64(n) {
			if got, err := linux.Taken(c.near, taken); err != nil || got != taken+int64(n) {
				t.Fatalf("taken %d, %v; want %d", got, err, taken+int64(n))
			}
		}
		if taken/lapEvery != (taken+int64(n))/lapEvery {
			linux.Lap(c.near)
		}
		taken += int64(n)
		for queued(c.near) > 0 && e == 0 { // what a shorter read left
			n, e = linux.Read(c.near, buffer)
			if taken/lapEvery != (taken+int64(n))/lapEvery {
				linux.Lap(c.near)
			}
			taken += int64(n)
		}
	}
	if got, err := linux.Taken(c.near, taken-1000); err != nil || got != taken {
		t.Errorf("taken %d, %v; want %d", got, err, taken)
	}
}

// TestWithoutALapTheCountIsLost is why there are laps: the kernel stops at zero.
func TestWithoutALapTheCountIsLost(t *testing.T) {
	c := connected(t, "unix")
	ok(t, unix.SetsockoptInt(int(c.near), unix.SOL_SOCKET, unix.SO_PEEK_OFF, 60))
	noted := int64(lap - 60)
	c.write(t, 100)
	c.read(t, 100)
	if n, err := linux.Taken(c.near, noted); err != nil || n != lap {
		t.Errorf("taken %d, %v; want %d, 40 too few", n, err, lap)
	}
}

// give puts n bytes into a worker's unix socket, through its pipe.
func give(t *testing.T, w kernel.Conn, n int) {
	t.Helper()
	if put, e := linux.Pipe(w, make([]byte, n)); put != n || e != 0 {
		t.Fatalf("put %d of %d bytes into the pipe: %v", put, n, e)
	}
	if poured, e := linux.Pour(w, n); poured != n || e != 0 {
		t.Fatalf("poured %d of %d bytes: %v", poured, n, e)
	}
}

func inPipe(t *testing.T, w kernel.Conn, want int) {
	t.Helper()
	if n, err := linux.InPipe(w); err != nil || n != int64(want) {
		t.Fatalf("%d bytes in the pipe, %v; want %d", n, err, want)
	}
}

// TestAFullUnixSocketLeavesTheRestInThePipe: what the pipe holds and what the worker got are all that was put in.
func TestAFullUnixSocketLeavesTheRestInThePipe(t *testing.T) {
	c := connected(t, "unix")
	inPipe(t, c.worker, 0)
	var put, poured []byte
	next := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte((len(put) + i) * 31 >> 3)
		}
		return b
	}
	full := false
	for round := 0; !full; round++ {
		if round > 1000 {
			t.Fatal("the socket is never full")
		}
		want := next([]int{1, 62 << 10, 4097, 100, 30_000}[round%5])
		n, e := linux.Pipe(c.worker, want)
		if e != 0 || n != len(want) {
			t.Fatalf("put %d of %d bytes into an empty pipe: %v", n, len(want), e)
		}
		put = append(put, want[:n]...)
		inPipe(t, c.worker, n)
		for left := n; left > 0; {
			moved, e := linux.Pour(c.worker, left)
			if e == unix.EAGAIN {
				inPipe(t, c.worker, left)
				full = true
				break
			}
			if e != 0 || moved <= 0 {
				t.Fatalf("poured %d: %v", moved, e)
			}
			left -= moved
			inPipe(t, c.worker, left)
		}
	}
	for len(poured) < len(put) {
		b := make([]byte, 50_000)
		n, e := linux.Read(c.far, b)
		if e != 0 && e != unix.EAGAIN {
			t.Fatal(e)
		}
		poured = append(poured, b[:n]...)
		left, err := linux.InPipe(c.worker)
		ok(t, err)
		if left > 0 {
			if _, e := linux.Pour(c.worker, int(left)); e != 0 && e != unix.EAGAIN {
				t.Fatal(e)
			}
		} else if n == 0 {
			break
		}
	}
	if !bytes.Equal(poured, put) {
		t.Errorf("the worker got %d bytes, %d were put in, or other ones", len(poured), len(put))
	}
	if _, e := linux.Pour(c.worker, 1); e != unix.EAGAIN {
		t.Errorf("pouring from an empty pipe: %v, want %v", e, unix.EAGAIN)
	}
}

func TestAWorkerThatIsGoneTakesNothing(t *testing.T) {
	c := connected(t, "unix")
	give(t, c.worker, 10)
	c.closeFar()
	if n, e := linux.Pipe(c.worker, make([]byte, 500)); n != 500 || e != 0 {
		t.Fatalf("put %d, %v", n, e)
	}
	if n, e := linux.Pour(c.worker, 500); e != unix.EPIPE && e != unix.ECONNRESET {
		t.Errorf("poured %d, %v; want %v", n, e, unix.EPIPE)
	}
	if n, e := linux.Pour(c.worker, 500); e != unix.EPIPE {
		t.Errorf("poured %d, %v; want %v", n, e, unix.EPIPE)
	}
	inPipe(t, c.worker, 500)
}

func TestWhatIsNoPipeHoldsNothing(t *testing.T) {
	a, b, tcp := connected(t, "unix"), connected(t, "unix"), connected(t, "tcp4")
	for name, w := range map[string]kernel.Conn{
		"a TCP worker":      tcp.worker,
		"swapped ends":      {Socket: a.near, PipeR: a.worker.PipeW, PipeW: a.worker.PipeR},
		"one end twice":     {Socket: a.near, PipeR: a.worker.PipeR, PipeW: a.worker.PipeR},
		"ends of two pipes": {Socket: a.near, PipeR: a.worker.PipeR, PipeW: b.worker.PipeW},
		"sockets":           {Socket: a.near, PipeR: a.near, PipeW: a.far},
		"nothing":           {Socket: a.near, PipeR: 1 << 20, PipeW: 1<<20 + 1},
	} {
		if n, err := linux.InPipe(w); err == nil {
			t.Errorf("%s hold %d bytes", name, n)
		}
	}
}
