package supervisor

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Fixed is what there is instead of a Supervisor where the worker is somebody else's to start and stop (driver none): there is no
// life to manage, only an address. While it is known the gate is open, while it isn't the gate holds, and a restart is refused.
type Fixed struct {
	gate  Gate
	drain time.Duration

	drained chan struct{} // has room for one: the last stream has left
	hurry   chan struct{} // closed by Hurry
	leave   chan struct{} // closed by Leave

	mu       sync.Mutex // guards everything that follows, and is held while the gate is told
	upstream Upstream   // zero: not known
	since    time.Time  // of upstream
	known    bool       // it was, once
	leaving  bool
	hurrying bool
}

// ErrNoDriver is why a Fixed refuses a restart.
var ErrNoDriver = errors.New("the worker was not started by this sidecar: restart it where it was started, streams are held meanwhile")

// fixedLife is the only one, for it is never replaced.
const fixedLife Life = 1

// NewFixed returns a Fixed whose address is not known yet. At the end drain is how long streams in flight are waited for.
func NewFixed(gate Gate, drain time.Duration) *Fixed {
	return &Fixed{
		gate: gate, drain: drain, since: time.Now(),
		drained: make(chan struct{}, 1), hurry: make(chan struct{}), leave: make(chan struct{}),
	}
}

// Move says where the worker is now; the zero Upstream, that nobody knows. Streams in flight stay where they are.
func (f *Fixed) Move(to Upstream) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.leaving || to == f.upstream {
		return
	}
	f.upstream, f.since = to, time.Now()
	if to == (Upstream{}) {
		f.gate.Hold(fixedLife)
	} else {
		f.known = true
		f.gate.Open(fixedLife, to)
	}
}

// Run waits for Leave and then for the streams in flight: until they have ended, the drain deadline has passed or Hurry is called. It
// returns nil then, or at once with ctx's cause when ctx ends.
func (f *Fixed) Run(ctx context.Context) error {
	select {
	case <-f.leave:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	deadline := time.NewTimer(f.drain)
	defer deadline.Stop()
	for f.gate.Hold(fixedLife) > 0 {
		select {
		case <-f.drained: // perhaps one from before: the gate is asked again
		case <-f.hurry:
			f.gate.Cut(fixedLife, CutDeadline)
			return nil
		case <-deadline.C:
			f.gate.Cut(fixedLife, CutDeadline)
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// Leave begins the end of the sidecar: new streams are refused, those in flight have the drain deadline.
func (f *Fixed) Leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.leaving {
		f.leaving = true
		f.gate.Leave()
		close(f.leave)
	}
}

// Hurry is Leave without patience. It may follow it.
func (f *Fixed) Hurry() {
	f.Leave()
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.hurrying {
		f.hurrying = true
		close(f.hurry)
	}
}

// Drained is for the gate, as Supervisor.Drained is.
func (f *Fixed) Drained(Life) {
	select {
	case f.drained <- struct{}{}:
	default:
	}
}

// Restart refuses.
func (f *Fixed) Restart(context.Context, RestartOptions) (Asked, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.leaving {
		return Asked{}, ErrLeaving
	}
	return Asked{}, ErrNoDriver
}

// Follow knows of no restart.
func (f *Fixed) Follow(context.Context, int64, int64) (Restart, error) {
	return Restart{}, ErrUnknownRestart
}

// Status shows a life that serves, or is down while its address isn't known.
func (f *Fixed) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := Status{Phase: PhaseDown, State: Down, Since: f.since, Life: fixedLife, Upstream: f.upstream, EverServed: f.known, Leaving: f.leaving}
	if f.upstream != (Upstream{}) {
		s.Phase, s.State, s.ServingSince = PhaseServing, Serving, f.since
	}
	return s
}
