package supervisor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Fixed is what there is instead of a Supervisor where the worker is somebody else's to start and stop (driver none): there is no
// life to manage, only an address. While it is known the gate is open, unless a person drained; while it isn't the gate holds. What a
// person wants of the worker itself is refused.
type Fixed struct {
	gate   Gate
	drain  time.Duration
	record Record // of a machine that has nothing but a person's drain
	clock  Clock

	empty chan struct{} // has room for one: the last stream has left
	hurry chan struct{} // closed by Hurry
	leave chan struct{} // closed by Leave

	mu       sync.Mutex // guards everything that follows, and is held while the gate is told
	upstream Upstream   // zero: not known
	since    time.Time  // of upstream
	known    bool       // it was, once
	drained  Word       // the gate holds until a person opens it
	leaving  bool
	hurrying bool
}

// ErrNoDriver is why a Fixed refuses what concerns the worker itself.
var ErrNoDriver = errors.New("the worker was not started by this sidecar: start, stop or restart it where it was started, streams are held meanwhile")

// fixedLife is the only one, for it is never replaced.
const fixedLife Life = 1

// NewFixed returns a Fixed whose address is not known yet. At the end drain is how long streams in flight are waited for. A person's
// drain is kept in the record.
func NewFixed(gate Gate, drain time.Duration, record Record, clock Clock) (*Fixed, error) {
	f := &Fixed{
		gate: gate, drain: drain, record: record, clock: clock, since: time.Now(),
		empty: make(chan struct{}, 1), hurry: make(chan struct{}), leave: make(chan struct{}),
	}
	b, err := record.Load()
	if err != nil {
		return nil, fmt.Errorf("load the record: %w", err)
	}
	if len(b) > 0 {
		m, err := ReadRecord(b)
		if err != nil {
			return nil, err
		}
		f.drained = m.Drain
	}
	return f, nil
}

// Move says where the worker is now; the zero Upstream, that nobody knows. Streams in flight stay where they are.
func (f *Fixed) Move(to Upstream) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.leaving || to == f.upstream {
		return
	}
	f.upstream, f.since = to, time.Now()
	f.known = f.known || to != (Upstream{})
	f.settle()
}

// settle has the gate as it is to be.
func (f *Fixed) settle() {
	if f.upstream == (Upstream{}) || f.drained.At != 0 {
		f.gate.Hold(fixedLife)
	} else {
		f.gate.Open(fixedLife, f.upstream)
	}
}

// Drain holds the gate until Open, over deaths of ours.
func (f *Fixed) Drain(_ context.Context, by string) (Asked, error) {
	return f.word(Word{At: f.clock(), By: clip(by, maxBy)})
}

// Open takes a drain back.
func (f *Fixed) Open(context.Context, string) (Asked, error) { return f.word(Word{}) }

// word notes what a person wants of the gate, and then does it.
func (f *Fixed) word(drained Word) (Asked, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.leaving {
		return Asked{}, ErrLeaving
	}
	if (drained.At != 0) == (f.drained.At != 0) {
		return Asked{Life: fixedLife, Joined: true}, nil
	}
	m := Machine{Drain: drained}
	if err := f.record.Store(m.AppendRecord(nil)); err != nil {
		return Asked{}, fmt.Errorf("store the record: %w", err)
	}
	f.drained = drained
	f.settle()
	return Asked{Life: fixedLife}, nil
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
		case <-f.empty: // perhaps one from before: the gate is asked again
		case <-f.hurry:
			f.gate.Cut(fixedLife, CutOperator)
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
	case f.empty <- struct{}{}:
	default:
	}
}

// Restart refuses.
func (f *Fixed) Restart(context.Context, RestartOptions) (Asked, error) { return f.refuse() }

// Stop refuses.
func (f *Fixed) Stop(context.Context, string, bool) (Asked, error) { return f.refuse() }

// Start refuses.
func (f *Fixed) Start(context.Context, string) (Asked, error) { return f.refuse() }

// Freeze refuses: there is nothing that we would do.
func (f *Fixed) Freeze(context.Context, FreezeOptions) (Asked, error) { return f.refuse() }

// Unfreeze refuses.
func (f *Fixed) Unfreeze(context.Context, string) (Asked, error) { return f.refuse() }

func (f *Fixed) refuse() (Asked, error) {
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

// Status shows a life that serves, is held by a person's drain, or is down while its address isn't known.
func (f *Fixed) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := Status{Phase: PhaseDown, State: Down, Since: f.since, Life: fixedLife, Upstream: f.upstream, EverServed: f.known, Leaving: f.leaving}
	if f.upstream != (Upstream{}) {
		s.Phase, s.State, s.ServingSince = PhaseServing, Serving, f.since
	}
	if f.drained.At != 0 {
		s.Drained = Standing{Since: time.Now().Add(f.drained.At - f.clock()), By: f.drained.By}
		if s.State == Serving {
			s.Phase, s.State = PhaseDraining, Holding
		}
	}
	return s
}
