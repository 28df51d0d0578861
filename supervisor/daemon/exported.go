package daemon

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"autoglm-sidecar/gpu"
	"autoglm-sidecar/gpu/exporter"
)

// How often an exporter is asked, and how old what it tells may be.
const (
	exportedEvery = 5 * time.Second
	exportedAge   = 30 * time.Second
)

// exported is a dcgm-exporter as a source. It looks when it likes, and lists no processes.
type exported struct {
	*exporter.Exporter

	take func(gpu.Line)
	last string // the device whose sample is the last of a look; Run's

	mu   sync.Mutex    // guards what follows
	next chan struct{} // closed when the next look has been taken, all of it
}

func newExported(url string, take func(gpu.Line), log *slog.Logger) *exported {
	x := &exported{take: take, next: make(chan struct{})}
	x.Exporter = exporter.New(exporter.Options{URL: url, Every: exportedEvery, Log: log, Take: x.pass})
	return x
}

// pass passes a line on. A look tells of all devices, in the order of the System.
func (x *exported) pass(line gpu.Line) {
	x.take(line)
	if s := line.System; s != nil && len(s.Devices) > 0 {
		x.last = s.Devices[len(s.Devices)-1].UUID
	}
	if line.Sample == nil {
		return
	}
	x.take(gpu.Line{Processes: &gpu.Processes{Device: line.Sample.Device, Trouble: gpu.Unsupported}})
	if line.Sample.Device != x.last {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	close(x.next)
	x.next = make(chan struct{})
}

// Order changes nothing: all devices are told of.
func (x *exported) Order(gpu.Order) {}

// Now waits for the next look at all devices. What it tells may be as old as exportedAge.
func (x *exported) Now(ctx context.Context) error {
	x.mu.Lock()
	next := x.next
	x.mu.Unlock()
	select {
	case <-next:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
