// Package loop is what moves the bytes: an epoll set that is waited for inside Go's netpoller, a timer wheel, and a
// mailbox. It knows descriptors and tokens, and nothing of what they mean.
//
// Why inside the netpoller: a goroutine that blocks in an EpollWait of its own costs a hand-over of the processor
// each time (measured: 38 µs a token instead of 23).
package loop

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"autoglm-sidecar/sockets/kernel"
)

// TickEvery is how often Run calls tick. It is the grain of the wheel and the sign of life for the keeper.
const TickEvery = 100 * time.Millisecond

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
	every := unix.NsecToTimespec(int64(TickEvery))
	if err := unix.TimerfdSettime(p.timer, 0, &unix.ItimerSpec{Interval: every, Value: every}, nil); err != nil {
		return fmt.Errorf("set a timer: %w", err)
	}
	if p.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fmt.Errorf("create an eventfd: %w", err)
	}
	if err := p.Watch(int32(p.timer), timerToken, Readable); err != nil {
		return err
	}
	return p.Watch(int32(p.wake), wakeToken, Readable)
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
	goOn := true
	err := p.conn.Read(func(fd uintptr) bool {
		for goOn {
			n, e := kernel.Events(fd, p.raw[:])
			switch {
			case e != 0:
				panic(fmt.Sprintf("loop: ask for events: %v", e))
			case n == 0:
				return false // into the netpoller
			default:
				goOn = p.dispatch(n, handle, tick)
			}
		}
		return true
	})
	if goOn && err != nil {
		return fmt.Errorf("wait for events: %w", err)
	}
	return nil
}

func (p *Poller) dispatch(n int, handle func([]Event) bool, tick func() bool) bool {
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
		return false
	}
	return !ticked || tick()
}

// drain empties a timer or an eventfd; both hold one count.
func drain(fd int) {
	var count [8]byte
	_, _ = unix.Read(fd, count[:])
}
