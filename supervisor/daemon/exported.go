package daemon

import (
	"context"
	"log/slog"
	"sync"

	"autoglm-sidecar/gpu"
	"autoglm-sidecar/gpu/exporter"
)

// exported is a dcgm-exporter as a source. It looks when it likes, and lists no processes.
type exported struct {
	*exporter.Exporter

	mu   sync.Mutex    // guards what follows
	next chan struct{} // closed when the next sample has been taken
}

func newExported(url string, take func(gpu.Line), log *slog.Logger) *exported {
	x := &exported{next: make(chan struct{})}
	x.Exporter = exporter.New(exporter.Options{URL: url, Log: log, Take: func(line gpu.Line) {
		take(line)
		if line.Sample == nil {
			return
		}
		take(gpu.Line{Processes: &gpu.Processes{Device: line.Sample.Device, Trouble: gpu.Unsupported}})
		x.mu.Lock()
		defer x.mu.Unlock()
		close(x.next)
		x.next = make(chan struct{})
	}})
	return x
}

// Order changes nothing: all devices are told of.
func (x *exported) Order(gpu.Order) {}

// Now waits for the next sample. It may be half a minute old, as the exporter goes; memory that has been given back is seen so much
// later, and none is thought to be that isn't.
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
