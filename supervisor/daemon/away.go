package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"autoglm-sidecar/health/probe"
	"autoglm-sidecar/supervisor"
)

// The pause between two questions whether a worker that is away is back.
const (
	askSoon = 100 * time.Millisecond
	askSlow = time.Second
	askIdle = 5 * time.Second // while it is there
	// askTime is how long an answer may take.
	askTime = 5 * time.Second
)

// away looks after a worker that somebody else starts and stops: streams wait at the gate from the first connection
// that fails until the worker answers its probe again.
type away struct {
	*supervisor.Fixed
	to    supervisor.Upstream
	probe probe.Probe
	lost  chan struct{} // has room for one: a connection failed
	doubt chan struct{} // has room for one: a connection broke before it was answered
	died  func()        // tells the streams that broke before that the worker has died
	log   *slog.Logger
	why   atomic.Pointer[string] // it is away; nil: it isn't
}

func newAway(d *daemon) (*away, error) {
	to := d.workerAt()
	fixed, err := supervisor.NewFixed(d.gateway, d.Drain, d.arena.Machine(), monotonic)
	if err != nil {
		return nil, err
	}
	return &away{
		Fixed: fixed, to: to, probe: d.probe(to.Network, to.Address),
		lost: make(chan struct{}, 1), doubt: make(chan struct{}, 1), log: d.Log,
		died: func() { d.relay.Crashed(int64(fixed.Status().Life)) },
	}, nil
}

// failed is told by the relay's lanes.
func (a *away) failed() {
	select {
	case a.lost <- struct{}{}:
	default:
	}
}

// doubted is told by them too.
func (a *away) doubted() {
	select {
	case a.doubt <- struct{}{}:
	default:
	}
}

// Status adds why nobody serves.
func (a *away) Status() supervisor.Status {
	s := a.Fixed.Status()
	s.Upstream = a.to
	if why := a.why.Load(); why != nil {
		s.LastError = *why
	}
	return s
}

// Run watches the worker beside what Fixed does.
func (a *away) Run(ctx context.Context) error {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	go a.watch(watching)
	return a.Fixed.Run(ctx)
}

func (a *away) watch(ctx context.Context) {
	for {
		if !a.awaitAnswer(ctx) {
			return
		}
		a.log.Info("the worker answers", "upstream", a.to.String())
		a.why.Store(nil)
		a.Move(a.to)
		if !a.awaitLoss(ctx) {
			return
		}
		a.Move(supervisor.Upstream{})
		if a.isNowhere(ctx) { // a worker that can't be reached for once has not died
			a.died()
		}
	}
}

// isNowhere: nobody listens where the worker should.
func (a *away) isNowhere(ctx context.Context) bool {
	err := a.ask(ctx)
	return err != nil && ctx.Err() == nil && probe.ReachOf(err) == probe.Nowhere
}

// awaitLoss returns when nobody listens any more: a stream has met it, or we have, asking now and then. A worker that
// is only slow to answer isn't lost. It says false when ctx ends.
func (a *away) awaitLoss(ctx context.Context) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-a.lost:
			return true
		case <-a.doubt:
			if a.isNowhere(ctx) {
				return true
			}
		case <-time.After(askIdle):
			if a.isNowhere(ctx) {
				return true
			}
		}
	}
}

// awaitAnswer asks until the worker answers. It says false when ctx ends.
func (a *away) awaitAnswer(ctx context.Context) bool {
	said := ""
	for pause := askSoon; ; pause = min(2*pause, askSlow) {
		err := a.ask(ctx)
		if err != nil && ctx.Err() == nil && err.Error() != said {
			said = err.Error()
			why := fmt.Sprintf("%s: %s", a.to, said)
			a.why.Store(&why)
			a.log.Warn("the worker is away: new streams wait", "upstream", a.to.String(), "reason", said)
		}
		if err == nil {
			select {
			case <-a.lost: // from before
			default:
			}
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pause):
		}
	}
}

func (a *away) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	return a.probe(ctx)
}
