package daemon

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"autoglm-sidecar/health/probe"
	"autoglm-sidecar/sockets/keeper"
	"autoglm-sidecar/supervisor"
	"autoglm-sidecar/supervisor/config"
	"autoglm-sidecar/supervisor/driver/child"
	"autoglm-sidecar/supervisor/ledger"
)

// buildLife makes what manages the worker.
func (d *daemon) buildLife() error {
	if len(d.Command) == 0 {
		away, err := newAway(d)
		if err != nil {
			return err
		}
		d.life = away
		return nil
	}
	driver, err := d.buildDriver()
	if err != nil {
		return err
	}
	kept, err := ledger.Open(d.State, d.Log)
	if err != nil {
		return err
	}
	kept.Memory = func(from supervisor.Life) []ledger.Curve { return d.planner.curves(from) }
	d.journal = newJournal(kept, d)
	last, err := kept.LastID()
	if err != nil { // no reason to leave clients without a worker
		d.Log.Error("restarts are numbered from 1 again", "error", err)
	}
	limits := supervisor.DefaultLimits()
	limits.Drain, limits.StartDeadline, limits.StopGrace, limits.MemoryTime = d.Drain, d.StartDeadline, d.StopGrace, d.GPU.ReclaimTime
	limits.HastyDrain = min(limits.HastyDrain, limits.Drain)
	s, err := supervisor.New(supervisor.Options{
		Gate: d.gateway, Driver: deviceDriver{driver, d.devices}, Reclaimer: reclaimer{d.devices}, Record: d.arena.Machine(), Clock: monotonic, Traffic: d.traffic, Journal: d.journal,
		Limits: limits, Seed: rand.Uint64(), Observe: d.Mode == config.Observe, Log: d.Log, Restarts: last, Orphan: driver.Orphan, Barred: d.devices.bar,
		Watch: []func(supervisor.Change){func(c supervisor.Change) { d.planner.changed(c) }, d.restartEnded, supervisor.LogChanges(d.Log)},
	})
	if err != nil {
		return err
	}
	d.life = s
	return nil
}

func (d *daemon) buildDriver() (*child.Driver, error) {
	if err := d.ownSocketDir(); err != nil {
		return nil, err
	}
	environment := d.WorkerEnvironment(os.Environ())
	ring, end := d.arena.Output()
	o := child.Options{
		Name: d.Name,
		Command: func(at supervisor.Upstream) []string {
			return config.Fill(d.Command, config.Address{Network: at.Network, Addr: at.Address})
		},
		Upstream:  d.workerAt(),
		Probe:     d.probe,
		ProbeEcho: d.probeEcho(),

		ProbePatience: d.Probe.Timeout,
		Environment:   environment,
		Settled:       d.WorkerEnvironment(nil),
		User:          d.credential(),
		OOMScore:      d.workerScore,
		Redact:        config.NewRedactor(d.Command, environment).Text,

		Note:   filepath.Join(d.RuntimeDir(), d.Name+".life"),
		Tail:   child.NewTail(ring, end),
		Output: d.Output,
		Log:    d.Log,
	}
	if d.keeper.Gen > 0 {
		o.Keeper = d.keeper.Keeper
		o.Exits = func(ctx context.Context, each func(pid int, status syscall.WaitStatus)) error {
			return keeper.ReadExits(ctx, func(e keeper.Exit) { each(e.PID, e.Status) })
		}
		o.OutputRead, o.OutputWrite = keeper.OutputReadFD, keeper.OutputWriteFD
	}
	return child.New(o)
}

// forgetLife removes the socket that the last life leaves in the runtime directory, if it is one, and nobody's.
func (d *daemon) forgetLife() {
	path := d.WorkerSocket()
	if len(d.Command) == 0 || d.workerAt() != (supervisor.Upstream{Network: "unix", Address: path}) {
		return
	}
	if info, err := os.Lstat(path); err != nil || info.Mode().Type() != fs.ModeSocket {
		return
	}
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return
	}
	err := os.Remove(path)
	if dir := filepath.Dir(path); err == nil && dir != d.RuntimeDir() {
		err = os.Remove(dir) // of the worker's user
	}
	if err != nil {
		d.Log.Warn("leave a clean runtime directory", "error", err)
	}
}

// workerAt is where the worker is to listen: where the settings say, or at an address of its own.
func (d *daemon) workerAt() supervisor.Upstream {
	if d.Upstream != (config.Address{}) {
		return supervisor.Upstream{Network: d.Upstream.Network, Address: d.Upstream.Addr}
	}
	if _, socket := config.Placeholders(d.Command); socket {
		return supervisor.Upstream{Network: "unix", Address: d.WorkerSocket()}
	}
	return supervisor.Upstream{Network: "tcp"}
}

func (d *daemon) probe(network, address string) probe.Probe {
	if d.Probe.Path != "" {
		return probe.HTTP(network, address, d.Probe.Path)
	}
	return probe.TCP(network, address)
}

func (d *daemon) probeEcho() string {
	if d.Probe.Path != "" {
		return "GET " + d.Probe.Path
	}
	return ""
}

// giveUp ends the sidecar after too many deaths. The worker goes too: nobody can reach it any more.
func (d *daemon) giveUp(ctx context.Context, reason string) error {
	d.Log.Error("giving up", "reason", reason)
	record, err := d.arena.Machine().Load()
	if err == nil && len(record) > 0 && len(d.Command) > 0 {
		err = d.killLife(ctx, record)
	}
	if err != nil {
		d.Log.Error("the worker may still be running", "error", err)
	}
	return fmt.Errorf("given up: %s", reason)
}

func (d *daemon) killLife(ctx context.Context, record []byte) error {
	m, err := supervisor.ReadRecord(record)
	if err != nil {
		return err
	}
	driver, err := d.buildDriver()
	if err != nil {
		return err
	}
	defer driver.Close()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	p, found, err := driver.Find(ctx, m.Life, m.PID)
	if err != nil || !found {
		return err
	}
	if err := p.Kill(); err != nil {
		return err
	}
	return p.Reclaim(ctx)
}
