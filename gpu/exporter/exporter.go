// Package exporter is for where no device is given to us: it reads what a dcgm-exporter says of them, and gives it on as the lines that
// the program that reads NVML would say.
package exporter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"autoglm-sidecar/gpu"
)

const (
	// within is how long one fetch may take, all of it.
	within = 3 * time.Second
	// most is how much is read: that of a machine with 8 divided GPUs is some 200 KiB.
	most = 8 << 20
	// failures in a row are silence.
	failures = 3
)

// Options say where, and what becomes of the lines.
type Options struct {
	URL   string        // as "http://10.0.0.7:9400/metrics"
	Every time.Duration // 5 s where it is 0; the exporter itself looks each 30 s, unless told otherwise
	Log   *slog.Logger  // nil: none

	// Take gets System at the start and when it changes, a Sample of each device, and an Event for each new Xid; in order, and on the
	// goroutine that is in Run. There are no Processes and no Conditions: an exporter doesn't tell them.
	Take func(gpu.Line)
}

// Exporter reads one exporter.
type Exporter struct {
	o       Options
	client  *http.Client
	devices devices // Run's
	failed  int     // in a row; Run's

	mu    sync.Mutex // guards state
	state gpu.SourceState
}

// New makes an Exporter. Nothing happens before Run.
func New(o Options) *Exporter {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Every <= 0 {
		o.Every = 5 * time.Second
	}
	return &Exporter{
		o: o,
		client: &http.Client{
			// Of its own, so that no proxy of the environment is asked for what is near.
			Transport:     &http.Transport{MaxConnsPerHost: 1},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		state: gpu.SourceState{Kind: gpu.SourceStarts, Since: time.Now()},
	}
}

// State says how the exporter stands: it starts, reads, or is silent, after 3 failures in a row.
func (e *Exporter) State() gpu.SourceState {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.state
}

// Run reads until ctx ends.
func (e *Exporter) Run(ctx context.Context) {
	defer e.client.CloseIdleConnections()
	tick := time.NewTicker(e.o.Every)
	defer tick.Stop()
	for ctx.Err() == nil {
		e.once(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

func (e *Exporter) once(ctx context.Context) {
	now, err := e.fetch(ctx)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		e.failed++
		if e.failed >= failures {
			e.become(gpu.SourceSilent, err.Error())
		}
	default:
		e.failed = 0
		for _, line := range e.devices.follow(now) {
			e.o.Take(line)
		}
		e.become(gpu.SourceReads, "")
	}
}

// fetch reads once.
func (e *Exporter) fetch(ctx context.Context) (look, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("no answer within %v", within))
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, e.o.URL, nil)
	if err != nil {
		return look{}, fmt.Errorf("read the exporter: %w", err)
	}
	request.Header.Set("Accept", "text/plain;version=0.0.4")
	response, err := e.client.Do(request)
	if err != nil {
		return look{}, fmt.Errorf("read the exporter: %w", why(ctx, err))
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return look{}, fmt.Errorf("read the exporter: it answers with status %d", response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, most+1))
	if err != nil {
		return look{}, fmt.Errorf("read the exporter: %w", why(ctx, err))
	}
	if len(body) > most {
		return look{}, fmt.Errorf("read the exporter: it says more than %d MiB", most>>20)
	}
	now, err := parse(body)
	if err != nil {
		return look{}, fmt.Errorf("read the exporter: %w", err)
	}
	return now, nil
}

// why is the time-out, where that is the reason.
func why(ctx context.Context, err error) error {
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// become changes the state, and says so in the log when it is another.
func (e *Exporter) become(kind gpu.SourceKind, text string) {
	e.mu.Lock()
	before := e.state.Kind
	if before != kind {
		e.state.Since = time.Now()
	}
	e.state.Kind, e.state.Text = kind, text
	e.mu.Unlock()
	switch {
	case before == kind:
	case kind == gpu.SourceReads:
		e.o.Log.Info("the GPU exporter is read", "url", e.o.URL)
	default:
		e.o.Log.Warn("the GPU exporter is silent", "because", text)
	}
}
