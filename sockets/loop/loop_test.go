package loop

import (
	"errors"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// poller runs a set until the test ends. Each batch goes to told, which the loop waits for.
func poller(t *testing.T, told chan<- []Event) *Poller {
	t.Helper()
	p := newPoller(t)
	run(t, p, func(events []Event, over <-chan struct{}) {
		select {
		case told <- slices.Clone(events):
		case <-over:
		}
	})
	return p
}

func newPoller(t *testing.T) *Poller {
	t.Helper()
	p, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func run(t *testing.T, p *Poller, handle func(events []Event, over <-chan struct{})) {
	t.Helper()
	over, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- p.Run(func(events []Event) bool {
			handle(events, over)
			select {
			case <-over:
				return false
			default:
				return true
			}
		}, func() bool { return true })
	}()
	t.Cleanup(func() {
		close(over)
		p.Wake()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// pair is two ends of a stream.
func pair(t *testing.T) (near, far int32) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, fd := range fds {
			unix.Close(fd) // or it was closed by the test
		}
	})
	return int32(fds[0]), int32(fds[1])
}

func write(t *testing.T, fd int32, s string) {
	t.Helper()
	if _, err := unix.Write(int(fd), []byte(s)); err != nil {
		t.Fatal(err)
	}
}

func watch(t *testing.T, p *Poller, fd int32, token uint64, events uint32) {
	t.Helper()
	if err := p.Watch(fd, token, events); err != nil {
		t.Fatal(err)
	}
}

// next waits for an event with a token.
func next(t *testing.T, told <-chan []Event, token uint64) uint32 {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		select {
		case events := <-told:
			for _, e := range events {
				if e.Token == token {
					return e.Events
				}
			}
		case <-deadline:
			t.Fatalf("nothing is told of %#x", token)
		}
	}
}

func TestEventsNameTheirDescriptors(t *testing.T) {
	told := make(chan []Event)
	p := poller(t, told)
	for _, token := range []uint64{0, 1, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 0x0123456789abcdef, 1 << 63, MaxToken} {
		near, far := pair(t)
		watch(t, p, near, token, Readable)
		write(t, far, "x")
		if e := next(t, told, token); e != Readable {
			t.Errorf("token %#x: events %#x, want %#x", token, e, Readable)
		}
		if err := p.Unwatch(near); err != nil {
			t.Error(err)
		}
	}
}

// TestEventsAreToldUntilTheyAreDealtWith: a loop may leave some for its next turn.
func TestEventsAreToldUntilTheyAreDealtWith(t *testing.T) {
	told := make(chan []Event)
	p := poller(t, told)
	near, far := pair(t)
	watch(t, p, near, 7, Readable)
	write(t, far, "abc")
	for range 3 {
		next(t, told, 7)
		if n, err := unix.Read(int(near), make([]byte, 1)); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	p.Wake()
	select {
	case events := <-told:
		if len(events) == 1 { // it was on the way
			events = <-told
		}
		if len(events) != 0 {
			t.Errorf("%v is told of though nothing is left", events)
		}
	case <-time.After(10 * time.Second):
		t.Error("the wake isn't heard")
	}
}

func TestWhatIsWatchedForCanChange(t *testing.T) {
	told := make(chan []Event)
	p := poller(t, told)
	near, far := pair(t)
	watch(t, p, near, 1, Readable)
	if err := p.Rewatch(near, 2, Writable); err != nil {
		t.Fatal(err)
	}
	if e := next(t, told, 2); e != Writable {
		t.Errorf("events %#x, want %#x", e, Writable)
	}
	write(t, far, "x")
	if err := p.Rewatch(near, 3, Readable|Writable); err != nil {
		t.Fatal(err)
	}
	if e := next(t, told, 3); e != Readable|Writable {
		t.Errorf("events %#x, want both", e)
	}
	if err := p.Unwatch(near); err != nil {
		t.Fatal(err)
	}
	other, far := pair(t)
	watch(t, p, other, 4, Readable)
	write(t, far, "x")
	next(t, told, 4) // what was on the way before Unwatch has come by now
	if events := <-told; len(events) != 1 || events[0].Token != 4 {
		t.Errorf("%v: who isn't watched any more is told of", events)
	}
}

// TestEndsAreTold: that a peer has ended is told with its last bytes, and a hang-up whoever watches for what.
func TestEndsAreTold(t *testing.T) {
	told := make(chan []Event)
	p := poller(t, told)

	near, far := pair(t)
	write(t, far, "last")
	if err := unix.Shutdown(int(far), unix.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	watch(t, p, near, 1, Readable|PeerEnded)
	if e := next(t, told, 1); e != Readable|PeerEnded {
		t.Errorf("events %#x, want that there is something and that it is the last", e)
	}
	p.Unwatch(near)

	near, far = pair(t)
	watch(t, p, near, 2, Failed)
	unix.Close(int(far))
	if e := next(t, told, 2); e&HangUp == 0 {
		t.Errorf("events %#x, want a hang-up among them", e)
	}
	p.Unwatch(near)

	near, far = pair(t)
	write(t, near, "unread")
	watch(t, p, near, 3, Failed)
	unix.Close(int(far))
	if e := next(t, told, 3); e&Failed == 0 {
		t.Errorf("events %#x, want a failure among them", e)
	}
	p.Unwatch(near)
}

func TestAClosedDescriptorIsForgotten(t *testing.T) {
	told := make(chan []Event)
	p := poller(t, told)
	near, far := pair(t)
	watch(t, p, near, 1, Readable)
	write(t, far, "x")
	next(t, told, 1)
	unix.Close(int(near))
	again, far := pair(t) // gets the number
	watch(t, p, again, 2, Readable)
	write(t, far, "x")
	next(t, told, 2)
	if e := <-told; slices.ContainsFunc(e, func(e Event) bool { return e.Token == 1 }) {
		t.Errorf("%v: the closed one is told of", e)
	}
}

// TestMoreThanABatchIsTold: none starves behind others that are always ready.
func TestMoreThanABatchIsTold(t *testing.T) {
	const many = 600
	told := make(chan []Event)
	p := poller(t, told)
	for i := range uint64(many) {
		near, far := pair(t)
		write(t, far, "x")
		watch(t, p, near, i, Readable)
	}
	seen := map[uint64]bool{}
	for batches := 0; len(seen) < many; batches++ {
		if batches > 1000 {
			t.Fatalf("%d of %d are told of in %d batches", len(seen), many, batches)
		}
		events := <-told
		if len(events) > 256 {
			t.Fatalf("a batch of %d", len(events))
		}
		for _, e := range events {
			seen[e.Token] = true
		}
	}
}

// TestNoWakeIsLost: who says something and then wakes is heard, however many do so at once.
func TestNoWakeIsLost(t *testing.T) {
	const wakers, each = 4, 2000
	var said atomic.Int64
	heard := make(chan struct{})
	var once sync.Once
	p := newPoller(t)
	run(t, p, func(events []Event, _ <-chan struct{}) {
		if len(events) != 0 {
			t.Errorf("a wake tells of %v", events)
		}
		if said.Load() == wakers*each {
			once.Do(func() { close(heard) })
		}
	})
	var all sync.WaitGroup
	for range wakers {
		all.Go(func() {
			for range each {
				said.Add(1)
				p.Wake()
			}
		})
	}
	all.Wait()
	select {
	case <-heard:
	case <-time.After(10 * time.Second):
		t.Error("the last wake isn't heard")
	}
}

// TestTicksComeInTime: never too early, and also while there is no end of events.
func TestTicksComeInTime(t *testing.T) {
	for name, busy := range map[string]bool{"idle": false, "busy": true} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			p := newPoller(t)
			if busy {
				near, far := pair(t)
				write(t, far, "x") // which nobody reads
				watch(t, p, near, 1, Readable)
			}
			ticks, batches := 0, 0
			err := p.Run(func([]Event) bool { batches++; return true }, func() bool {
				ticks++
				if after := time.Since(began); after < time.Duration(ticks)*TickEvery {
					t.Errorf("tick %d comes after %v", ticks, after)
				}
				return ticks < 4
			})
			if err != nil || ticks != 4 {
				t.Errorf("%d ticks, %v; want 4", ticks, err)
			}
			if busy && batches < 100 {
				t.Errorf("only %d batches between %d ticks", batches, ticks)
			}
		})
	}
}

func TestHandleMayEndTheRun(t *testing.T) {
	p := newPoller(t)
	p.Wake()
	calls := 0
	if err := p.Run(func([]Event) bool { calls++; return false }, func() bool { return true }); err != nil || calls != 1 {
		t.Errorf("%d calls, %v; want 1", calls, err)
	}
	p.Wake() // it can be run again
	if err := p.Run(func([]Event) bool { calls++; return false }, func() bool { return true }); err != nil || calls != 2 {
		t.Errorf("%d calls, %v; want 2", calls, err)
	}
}

// TestTwoLoopsShareAListener: a client wakes at least one of them.
func TestTwoLoopsShareAListener(t *testing.T) {
	l, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(l)
	if err := errors.Join(unix.Bind(l, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(l, 5)); err != nil {
		t.Fatal(err)
	}
	told := make(chan []Event)
	for range 2 {
		watch(t, poller(t, told), int32(l), MaxToken, Readable|Exclusive)
	}
	address, err := unix.Getsockname(l)
	if err != nil {
		t.Fatal(err)
	}
	client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(client)
	if err := unix.Connect(client, address); err != nil {
		t.Fatal(err)
	}
	if e := next(t, told, MaxToken); e != Readable {
		t.Errorf("events %#x, want %#x", e, Readable)
	}
}

func TestWhatCannotBeWatchedIsSaid(t *testing.T) {
	p := newPoller(t)
	near, other := pair(t)
	watch(t, p, near, 1, Readable)
	file, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for name, test := range map[string]struct {
		err, want error
	}{
		"twice":         {p.Watch(near, 2, Readable), unix.EEXIST},
		"not watched":   {p.Rewatch(other, 2, Readable), unix.ENOENT},
		"never watched": {p.Unwatch(other), unix.ENOENT},
		"a file":        {p.Watch(int32(file.Fd()), 2, Readable), unix.EPERM},
		"no descriptor": {p.Watch(-1, 2, Readable), unix.EBADF},
		"its own set":   {p.Watch(int32(p.fd), 2, Readable), unix.EINVAL},
	} {
		if !errors.Is(test.err, test.want) {
			t.Errorf("%s: %v, want %v", name, test.err, test.want)
		}
	}
}

func TestCloseLeavesNothingOpen(t *testing.T) {
	open := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	newPoller(t) // Go's own netpoller is there from here on
	before := open()
	for range 20 {
		p, err := New()
		if err != nil {
			t.Fatal(err)
		}
		p.Close()
	}
	if after := open(); after != before {
		t.Errorf("%d descriptors are open, %d were before", after, before)
	}
}

// A loop with traffic keeps its processor between two events. Others must have theirs all the same, and what comes after
// a pause that was longer than any stay must be told as well.
func TestTrafficStarvesNobody(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	told := make(chan []Event)
	p := poller(t, told)
	near, far := pair(t)
	watch(t, p, near, 7, Readable)
	for i := range 200 {
		write(t, far, "x")
		next(t, told, 7)
		var b [1]byte
		if _, err := unix.Read(int(near), b[:]); err != nil {
			t.Fatal(err)
		}
		if i%50 == 49 {
			time.Sleep(2 * stays * stayMS * time.Millisecond)
		}
	}
}

func TestTicksAreRareAtRest(t *testing.T) {
	for _, rests := range []bool{true, false} {
		var ticks atomic.Int64
		p := newPoller(t)
		if err := errors.Join(p.Rest(true), p.Rest(rests)); err != nil {
			t.Fatal(err)
		}
		over := time.AfterFunc(10*restEvery/4, p.Wake)
		began := time.Now()
		err := p.Run(func([]Event) bool { return time.Since(began) < 10*restEvery/4 }, func() bool { ticks.Add(1); return true })
		over.Stop()
		if err != nil {
			t.Fatal(err)
		}
		// On a busy machine ticks fall together, so only the rests have an upper bound that nothing can break.
		if n := ticks.Load(); rests && n > 3 || n == 0 {
			t.Errorf("rests=%v: %d ticks in %v", rests, n, 10*restEvery/4)
		}
	}
}
