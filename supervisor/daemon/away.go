package daemon

import (
	"context"
	"log/slog"
	"time"

	"autoglm-sidecar/health/probe"
	"autoglm-sidecar/supervisor"
)

// The pause between two questions whether a worker that is away is back.
const (
	askSoon = 100 * time.Millisecond
	askSlow = time.Second
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
	log   *slog.Logger
}

func newAway(d *daemon) *away {
	to := d.workerAt()
	return &away{
		Fixed: supervisor.NewFixed(d.gateway, d.Drain), to: to, probe: d.probe(to.Network, to.Address),
		lost: make(chan struct{}, 1), log: d.Log,
	}
}

// failed is told by the relay's lanes.
func (a *away) failed() {
	select {
	case a.lost <- struct{}{}:
	default:
	}
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
		a.Move(a.to)
		select {
		case <-ctx.Done():
			return
		case <-a.lost:
		}
		a.log.Warn("the worker is away: new streams wait", "upstream", a.to.String())
		a.Move(supervisor.Upstream{})
	}
}

// awaitAnswer asks until the worker answers. It says false when ctx ends.
func (a *away) awaitAnswer(ctx context.Context) bool {
	for pause := askSoon; ; pause = min(2*pause, askSlow) {
		if a.ask(ctx) == nil {
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
