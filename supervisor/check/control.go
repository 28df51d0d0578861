package check

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"syscall"
	"time"
)

// Death is a way in which a runner is made to go.
type Death uint8

// The deaths.
const (
	// Kill is SIGKILL: the runner is gone between two instructions.
	Kill Death = iota
	// Panic is SIGSEGV sent from outside. Go's runtime takes it as a fault of the program: it prints every goroutine and
	// exits with status 2, as for a panic that nobody recovers, and no program can ask to be given the signal instead.
	Panic
	// Freeze is SIGSTOP: the runner lives and does nothing, until the keeper misses its ticks and kills it.
	Freeze
)

var (
	deathNames   = [...]string{Kill: "kill -9", Panic: "panic", Freeze: "freeze"}
	deathSignals = [...]syscall.Signal{Kill: syscall.SIGKILL, Panic: syscall.SIGSEGV, Freeze: syscall.SIGSTOP}
)

func (d Death) String() string { return deathNames[d] }

// Strike sends the signal of d.
func (d Death) Strike(pid int) error {
	if err := syscall.Kill(pid, deathSignals[d]); err != nil {
		return fmt.Errorf("%s of process %d: %w", d, pid, err)
	}
	return nil
}

// ask puts the question that `status` puts, without starting a process for it: fast enough to time a take-over by.
func (s *Sidecar) ask(ctx context.Context) (Status, error) {
	var st Status
	return st, exchangeJSON(ctx, "unix:"+s.control, http.MethodGet, "/v1/status", nil, &st)
}

// Successor waits until a runner answers that is none of dead, and returns what it says. A question that is put while nobody is
// there waits in the socket's backlog for the next runner, so this comes back as soon as it works.
func (s *Sidecar) Successor(ctx context.Context, dead ...int) (Status, error) {
	var st Status
	err := poll(ctx, time.Millisecond, func() (bool, error) {
		once, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		var err error
		if st, err = s.ask(once); err != nil {
			return false, s.gone() // a question that reached the dying one
		}
		return !slices.Contains(dead, st.Runner), nil
	})
	if err != nil {
		return st, fmt.Errorf("wait for the runner after %d: %w", dead, err)
	}
	return st, nil
}

// WaitPhase waits until the sidecar says that it is in a phase that will do.
func (s *Sidecar) WaitPhase(ctx context.Context, will func(phase string) bool) error {
	return poll(ctx, 5*time.Millisecond, func() (bool, error) {
		st, err := s.ask(ctx)
		return err == nil && will(st.Phase), s.gone()
	})
}
