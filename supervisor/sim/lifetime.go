package sim

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"syscall"
	"time"
)

// lifetime is a worker from its start to its end: what it prints, when it listens, what a signal does to it.
type lifetime struct {
	server  *server
	socket  *socket
	signals <-chan os.Signal
	failed  chan error // capacity 1: accepting ended
	log     *slog.Logger
	listens bool
}

// run loads, serves, and returns when the worker is to end. What is open then is for the caller to cut.
func (l *lifetime) run(ctx context.Context) error {
	s, o := l.server, l.server.options
	s.print("simulated worker (a double, no model): life %s, pid %d, model %s", s.life, os.Getpid(), o.Model)
	if o.ListenEarly {
		if err := l.listen(); err != nil {
			return err
		}
	}
	loaded := time.NewTimer(o.StartDelay)
	defer loaded.Stop()
	var lines <-chan time.Time
	if o.StartOutput > 0 && o.StartDelay > 0 {
		ticker := time.NewTicker(o.StartOutput)
		defer ticker.Stop()
		lines = ticker.C
	}
	for {
		select {
		case <-lines:
			s.print("loading simulated weights: %3d%% completed", min(100*time.Since(s.born)/o.StartDelay, 100))
		case <-loaded.C:
			lines = nil
			if err := l.server.gpu.loadedWhole(); err != nil {
				return err
			}
			if err := l.listen(); err != nil {
				return err
			}
			l.ready()
		case sig := <-l.signals:
			if ends := l.heed(sig); ends {
				return nil
			}
		case <-s.nobody:
			if s.leaving.Load() && s.open.Load() == 0 {
				return nil
			}
		case err := <-l.failed:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// listen lets clients connect, once.
func (l *lifetime) listen() error {
	if l.listens {
		return nil
	}
	listener, err := l.socket.listen()
	if err != nil {
		return err
	}
	l.listens = true
	l.server.serve(listener, l.failed)
	return nil
}

// ready begins to serve.
func (l *lifetime) ready() {
	s := l.server
	s.ready.Store(true)
	address := s.address()
	s.print("application startup complete: serving on %s", address)
	if s.options.Ready != nil {
		s.options.Ready(address)
	}
}

// heed does what a signal does. It says whether the worker ends now.
func (l *lifetime) heed(sig os.Signal) (ends bool) {
	s := l.server
	manner := s.faults.Load().OnTerm
	l.log.Info("simulated worker got a signal", "signal", sig.String(), "on_term", string(manner), "open", s.open.Load())
	switch {
	case sig == syscall.SIGINT || manner == TermCut:
		return true
	case manner == TermIgnore:
		return false
	case !s.ready.Load():
		return true
	}
	s.leaving.Store(true)
	if manner != TermDrain {
		s.closeListeners()
	}
	if manner == TermAbort {
		s.aborting.Store(true)
		s.pacer.abortAll()
	}
	return s.open.Load() == 0
}

// print writes a line for people.
func (s *server) print(format string, operands ...any) {
	fmt.Fprintf(s.options.Output, format+"\n", operands...)
}
