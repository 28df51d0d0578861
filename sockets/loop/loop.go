// Package loop is what moves the bytes: an epoll set, a timer wheel, and a mailbox. It knows descriptors and tokens, and
// nothing of what they mean.
//
// A loop waits in two ways. While there is traffic it stays in the kernel itself, for moments, without telling Go's
// scheduler; when nothing has come for a while it waits inside Go's netpoller, where it costs nothing. Why not one way:
// telling the scheduler of each wait costs a hand-over of the processor (38 µs a token instead of 23), and a pause in the
// netpoller lets all of Go fall asleep, after which its monitor thread looks around every 20 µs for a while: with a
// thousand short pauses a second that was 18 % of all the processor time spent. See docs/performance.md.
package loop

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"autoglm-sidecar/sockets/kernel"
)

// TickEvery is how often Run calls tick, unless Rest was asked for. It is the grain of the wheel and the sign of life for
// the keeper.
const TickEvery = 100 * time.Millisecond

// restEvery is how often it does then. The keeper, which looks twice a second, takes six looks without a tick for a hang.
const restEvery = 500 * time.Millisecond

// While there is traffic a loop stays in the kernel for stayMS at a time, and after stays of them without news it goes to
// the netpoller. A loop that stays holds one of Go's processors, perhaps the only one, so after every few batches it lets
// others have a turn. (A processor more than there are loops would be simpler, and cost 7 %: it is woken to look for work.)
const (
	stayMS     = 2
	stays      = 4
	yieldEvery = 4 // batches
)

// What a descriptor is watched for, and what an Event says of it. HangUp and Failed are always told.
const (
	Readable  = unix.EPOLLIN
	Writable  = unix.EPOLLOUT
	PeerEnded = unix.EPOLLRDHUP // the peer sends no more
	HangUp    = unix.EPOLLHUP
	Failed    = unix.EPOLLERR
	Exclusive = unix.EPOLLEXCLUSIVE // of several loops that watch one listener, wake one
)

// Event is one descriptor's news.
type Event struct {
	Token  uint64 // as it was given to Watch
	Events uint32
}

// Tokens that the loop keeps to itself.
const (
	timerToken = ^uint64(0) - iota
	wakeToken
	// MaxToken is the largest token that Watch takes.
	MaxToken
)

// Poller is one epoll set. Watch, Rewatch and Unwatch belong to the goroutine that runs it (or that will); Wake is
// for all.
type Poller struct {
	set   *os.File
	conn  syscall.RawConn
	fd    int
	timer int
	wake  int
	rests bool
	raw   [256]unix.EpollEvent
	out   [256]Event
}

// New makes an empty set.
func New() (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create an epoll set: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // or os.NewFile leaves it out of the netpoller
		unix.Close(fd)
		return nil, fmt.Errorf("prepare an epoll set: %w", err)
	}
	p := &Poller{set: os.NewFile(uintptr(fd), "epoll"), fd: fd, timer: -1, wake: -1}
	if err := p.equip(); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (p *Poller) equip() (err error) {
	if p.conn, err = p.set.SyscallConn(); err != nil {
		return fmt.Errorf("hand an epoll set to the netpoller: %w", err)
	}
	if p.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		return fmt.Errorf("create a timer: %w", err)
	}
	if err := p.setTimer(TickEvery); err != nil {
		return err
	}
	if p.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fmt.Errorf("create an eventfd: %w", err)
	}
	if err := p.Watch(int32(p.timer), timerToken, Readable); err != nil {
		return err
	}
	return p.Watch(int32(p.wake), wakeToken, Readable)
}

func (p *Poller) setTimer(d time.Duration) error {
	every := unix.NsecToTimespec(int64(d))
	if err := unix.TimerfdSettime(p.timer, 0, &unix.ItimerSpec{Interval: every, Value: every}, nil); err != nil {
		return fmt.Errorf("set a timer: %w", err)
	}
	return nil
}

// Rest makes ticks rare, for as long as there is nothing whose time could come, or often again. It belongs to the
// goroutine that runs the set.
func (p *Poller) Rest(on bool) error {
	if on == p.rests {
		return nil
	}
	p.rests = on
	if on {
		return p.setTimer(restEvery)
	}
	return p.setTimer(TickEvery)
}

// Close ends a set that doesn't run.
func (p *Poller) Close() {
	p.set.Close()
	for _, fd := range []int{p.timer, p.wake} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// Watch begins to watch fd. What it is watched for stays true until it is dealt with: events are level-triggered.
func (p *Poller) Watch(fd int32, token uint64, events uint32) error {
	return p.control(unix.EPOLL_CTL_ADD, fd, token, events)
}

// Rewatch changes what fd is watched for.
func (p *Poller) Rewatch(fd int32, token uint64, events uint32) error {
	return p.control(unix.EPOLL_CTL_MOD, fd, token, events)
}

// Unwatch forgets fd. A closed descriptor is forgotten by itself.
func (p *Poller) Unwatch(fd int32) error { return p.control(unix.EPOLL_CTL_DEL, fd, 0, 0) }

func (p *Poller) control(op int, fd int32, token uint64, events uint32) error {
	e := unix.EpollEvent{Events: events, Fd: int32(uint32(token)), Pad: int32(uint32(token >> 32))}
	if err := unix.EpollCtl(p.fd, op, int(fd), &e); err != nil {
		return fmt.Errorf("watch descriptor %d: %w", fd, err)
	}
	return nil
}

// Wake makes Run call handle soon, with no events if there are none. A wake that finds the counter full has been
// made already.
func (p *Poller) Wake() {
	one := [8]byte{1}
	_, _ = unix.Write(p.wake, one[:])
}

// Run waits for events and hands them to handle, batch by batch; tick is called every TickEvery. Both run on this
// goroutine, and so does everything they touch. It returns when handle or tick says false.
func (p *Poller) Run(handle func([]Event) bool, tick func() bool) error {
	goOn, stay, batches := true, 0, 0
	err := p.conn.Read(func(fd uintptr) bool {
		for goOn {
			n, e := kernel.Events(fd, p.raw[:], min(stay, 1)*stayMS)
			switch {
			case e == unix.EINTR: // the scheduler or the collector wants this processor for a moment
			case e != 0:
				panic(fmt.Sprintf("loop: ask for events: %v", e))
			case n > 0:
				var news bool
				if news, goOn = p.dispatch(n, handle, tick); news {
					stay = stays
				}
				if batches++; batches%yieldEvery == 0 {
					runtime.Gosched()
				}
			case stay > 0:
				stay--
				runtime.Gosched()
			default:
				return false // into the netpoller
			}
		}
		return true
	})
	if goOn && err != nil {
		return fmt.Errorf("wait for events: %w", err)
	}
	return nil
}

// dispatch deals with one batch. It says whether there was more in it than the loop's own timer and calls.
func (p *Poller) dispatch(n int, handle func([]Event) bool, tick func() bool) (news, goOn bool) {
	out, ticked := p.out[:0], false
	for _, e := range p.raw[:n] {
		token := uint64(uint32(e.Pad))<<32 | uint64(uint32(e.Fd))
		switch token {
		case timerToken:
			ticked = true
			drain(p.timer)
		case wakeToken:
			drain(p.wake)
		default:
			out = append(out, Event{token, e.Events})
		}
	}
	if !handle(out) {
		return true, false
	}
	return len(out) > 0, !ticked || tick()
}

// drain empties a timer or an eventfd; both hold one count.
func drain(fd int) {
	var count [8]byte
	_, _ = unix.Read(fd, count[:])
}
