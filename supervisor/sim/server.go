package sim

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// server is one life of the simulated worker.
type server struct {
	counters
	meter

	options Options
	life    string // the nonce
	pacer   *pacer
	gpu     *device          // nil: it has none
	wall    func() time.Time // for created and date
	born    time.Time
	linger  time.Duration  // how long an early answer's request is still read
	crash   func(exit int) // ends the process; -1: by SIGKILL
	stopped chan struct{}  // closed by stop
	nobody  chan struct{}  // capacity 1: the last open answer ended

	faults  atomic.Pointer[Faults]
	crashAt atomic.Int64 // the count of tokens at which the process crashes; 0: never
	turns   atomic.Int64 // requests that Every counts
	ready   atomic.Bool
	leaving atomic.Bool // answers end, then the worker does

	aborting atomic.Bool // answers that are still to begin are aborted too

	mu        sync.Mutex // guards what follows
	over      bool
	conns     map[*connection]struct{}
	listeners []net.Listener
	group     sync.WaitGroup // accepting, pacing, and one of each connection
}

func newServer(o Options) *server {
	s := &server{
		meter: newMeter(), options: o, life: newLife(), wall: time.Now, born: time.Now(), linger: time.Second, crash: crash,
		stopped: make(chan struct{}), nobody: make(chan struct{}, 1), conns: map[*connection]struct{}{},
	}
	s.faults.Store(&o.Faults)
	s.crashAt.Store(o.Faults.CrashAfterTokens)
	s.pacer = newPacer(s)
	s.group.Go(func() { s.pacer.run(s.stopped) })
	return s
}

// newLife makes the nonce that tells this life's answers from those of others.
func newLife() string {
	var random [8]byte
	rand.Read(random[:]) // never fails
	return "sim-" + hex.EncodeToString(random[:])
}

// crash ends the process as if it had failed.
func crash(exit int) {
	if exit >= 0 {
		os.Exit(exit)
	}
	unix.Kill(unix.Getpid(), unix.SIGKILL)
	select {} // until the signal is delivered
}

// serve accepts connections on listener, in the background, until it is closed. The error that ends it goes to failed.
func (s *server) serve(listener net.Listener, failed chan<- error) {
	s.mu.Lock()
	s.listeners = append(s.listeners, listener)
	s.mu.Unlock()
	s.group.Go(func() {
		for {
			c, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				failed <- fmt.Errorf("accept on %s: %w", listener.Addr(), err)
				return
			}
			s.welcome(c)
		}
	})
}

// welcome starts a connection's goroutine.
func (s *server) welcome(c net.Conn) {
	conn := newConnection(s, c)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		c.Close()
		return
	}
	s.conns[conn] = struct{}{}
	s.connections.Add(1)
	s.group.Go(func() {
		conn.serve()
		s.connections.Add(-1)
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
	})
}

// address is where it listens.
func (s *server) address() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listeners[0].Addr()
}

// closeListeners closes the listeners: nobody can connect any more.
func (s *server) closeListeners() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, listener := range s.listeners {
		listener.Close()
	}
}

// stop cuts everything and waits until nothing of the server runs.
func (s *server) stop() {
	s.closeListeners()
	s.mu.Lock()
	s.over = true
	for conn := range s.conns {
		conn.close()
	}
	s.mu.Unlock()
	close(s.stopped)
	s.group.Wait()
}

// change changes the switches that patch, a JSON object, names.
func (s *server) change(patch []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.faults.Load()
	next, err := old.with(patch)
	if err != nil {
		return err
	}
	if next.CrashAfterTokens != old.CrashAfterTokens {
		at := int64(0)
		if next.CrashAfterTokens > 0 {
			at = s.tokens.Load() + next.CrashAfterTokens
		}
		s.crashAt.Store(at)
	}
	s.faults.Store(&next)
	if old.Hang != HangNone && next.Hang == HangNone || old.Saturated && !next.Saturated {
		s.pacer.resumeAll()
	}
	return nil
}

func (s *server) hanging() bool { return s.faults.Load().Hang != HangNone }

func (s *server) saturated() bool { return s.faults.Load().Saturated }

func (s *server) counted(tokens int) {
	now := s.tokens.Add(int64(tokens))
	if at := s.crashAt.Load(); at > 0 && now >= at {
		s.crash(s.faults.Load().CrashExit)
	}
}

func (s *server) ended(whole bool) {
	if whole {
		s.whole.Add(1)
	} else {
		s.broken.Add(1)
	}
	s.endOne()
}

func (s *server) left(d *delivery, reason string) {
	while := "tokens"
	if d.tokens.Load() == 0 {
		while = "prompt"
	}
	s.endOne()
	s.depart(d.request, while, d.tokens.Load(), d.began, reason, d.conn.net.RemoteAddr().String())
}

// beginOne and endOne count what is open: answers and echoes.
func (s *server) beginOne() { s.open.Add(1) }

func (s *server) endOne() {
	if s.open.Add(-1) > 0 {
		return
	}
	select {
	case s.nobody <- struct{}{}:
	default:
	}
}
