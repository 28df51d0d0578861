package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// bench is one measurement from its first run to its last.
type bench struct {
	plan
	dir  string
	runs map[string]map[string][]figures // by load and front, a figure a round
}

// figures are what one run showed.
type figures struct {
	cpu     float64 // µs of the front's own CPU a unit
	all     float64 // µs of front, worker and clients together a unit; 0: not measured
	rate    float64 // units a second
	transit time.Duration
	late    time.Duration // the transit's 99th percentile
	cut     int64
	perOpen float64 // KiB of memory a stream; 0: not measured
	answers int64
}

const (
	settle   = 3 * time.Second // after the clients' start, before the window
	settleIn = time.Second     // after the front's start, before its idle memory is read
)

// measure gives every front its turn under a load, round after round, in another order each time.
func (b *bench) measure(ctx context.Context, l load) error {
	if b.runs == nil {
		b.runs = map[string]map[string][]figures{}
	}
	b.runs[l.name] = map[string][]figures{}
	for round := range b.rounds {
		for i := range b.fronts {
			f := b.fronts[(i+round)%len(b.fronts)]
			got, err := b.once(ctx, l, f)
			if err != nil {
				return fmt.Errorf("%s, round %d: %w", f.name, round+1, err)
			}
			b.runs[l.name][f.name] = append(b.runs[l.name][f.name], got)
		}
	}
	return nil
}

// once is one run: a fresh worker, a fresh front, fresh clients.
func (b *bench) once(ctx context.Context, l load, f front) (_ figures, err error) {
	worker, at, err := b.startWorker(ctx)
	if err != nil {
		return figures{}, err
	}
	defer func() { err = errors.Join(err, worker.stop()) }()
	var proxy *process
	if f.command != nil {
		if proxy, at, err = b.startFront(ctx, f, at); err != nil {
			return figures{}, err
		}
		defer func() { err = errors.Join(err, proxy.stop()) }()
	}
	idle := b.idleMemory(proxy)
	c := startClients(ctx, l, at)
	if err := wait(ctx, settle); err != nil {
		c.finish()
		return figures{}, err
	}
	profile := b.record(l, f, proxy)
	before, began := b.spent(proxy, worker), time.Now()
	c.count.Store(true)
	err = wait(ctx, b.window)
	c.count.Store(false)
	after, took := b.spent(proxy, worker), time.Since(began)
	full := b.idleMemory(proxy)
	if profile != nil {
		_ = profile.Wait() // it ends with its own time
	}
	units, answers, cut, transit := c.finish()
	switch {
	case err != nil:
		return figures{}, err
	case units == 0:
		return figures{}, errors.New("nothing came through")
	}
	got := figures{
		cpu: us(after.front-before.front) / float64(units), all: us(after.sum()-before.sum()) / float64(units),
		rate: float64(units) / took.Seconds(), cut: cut, answers: answers,
		transit: quantile(transit, 0.5), late: quantile(transit, 0.99),
	}
	if proxy != nil && l.tokens > 0 {
		got.perOpen = float64(full.sum()-idle.sum()) / float64(l.clients) / 1024
	}
	return got, nil
}

func (b *bench) startFront(ctx context.Context, f front, worker string) (*process, string, error) {
	listen, err := freeAddress()
	if err != nil {
		return nil, "", err
	}
	command, err := f.command(b, listen, worker)
	if err != nil {
		return nil, "", err
	}
	p, err := b.start(ctx, f.name, listen, command)
	return p, listen, err
}

func (b *bench) idleMemory(p *process) memory {
	if p == nil {
		return memory{}
	}
	if b.window > settleIn {
		time.Sleep(settleIn / 4)
	}
	return memoryOf(p.cmd.Process.Pid)
}

// shares are who had how much of the processors.
type shares struct{ front, worker, clients time.Duration }

func (s shares) sum() time.Duration { return s.front + s.worker + s.clients }

func (b *bench) spent(proxy, worker *process) (s shares) {
	if proxy != nil {
		s.front = cpuOf(proxy.cmd.Process.Pid)
	}
	s.worker = cpuOf(worker.cmd.Process.Pid)
	s.clients = cpuOfOne(os.Getpid())
	return s
}

// record starts `perf record` on the sidecar where a profile was asked for, once a load.
func (b *bench) record(l load, f front, p *process) *exec.Cmd {
	if b.profile == "" || f.name != sidecarName || len(b.runs[l.name][f.name]) > 0 {
		return nil
	}
	var pids []string
	for _, pid := range family(p.cmd.Process.Pid) {
		pids = append(pids, strconv.Itoa(pid))
	}
	to := filepath.Join(b.profile, strings.NewReplacer(" ", "-", "/", "-").Replace(l.name)+".perf")
	cmd := exec.Command("perf", "record", "-q", "-g", "-o", to, "-p", strings.Join(pids, ","), "--", "sleep", fmt.Sprint(b.window.Seconds()))
	if cmd.Start() != nil {
		return nil // perf isn't there; the figures don't need it
	}
	return cmd
}

// idle measures what a front costs while nobody asks.
func (b *bench) idle(ctx context.Context, f front) (cpu float64, m memory, err error) {
	worker, at, err := b.startWorker(ctx)
	if err != nil {
		return 0, m, err
	}
	defer func() { err = errors.Join(err, worker.stop()) }()
	proxy, _, err := b.startFront(ctx, f, at)
	if err != nil {
		return 0, m, err
	}
	defer func() { err = errors.Join(err, proxy.stop()) }()
	if err := wait(ctx, settle); err != nil {
		return 0, m, err
	}
	pid := proxy.cmd.Process.Pid
	before, began := cpuOf(pid), time.Now()
	if err := wait(ctx, b.window); err != nil {
		return 0, m, err
	}
	return float64(cpuOf(pid)-before) / float64(time.Since(began)) * 100, memoryOf(pid), nil
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func us(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// quantile is of sorted nanoseconds.
func quantile(sorted []int64, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return time.Duration(sorted[min(len(sorted)-1, int(q*float64(len(sorted))))])
}
