// Package daemon is the one place where all rooms meet. It maps settings to each room's options, builds the rooms in
// order, and stops them in reverse:
//
//	memory (the arena) -> doors (listeners) -> relay -> worker -> admin
//
// It takes channels and contexts, never signals of the operating system, so a test can run a whole sidecar in its own
// process. What is special here is that a runner may not be the first: then the memory and the doors are found, not
// made, and the relay takes over before anything else opens a descriptor.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"autoglm-sidecar/sockets"
	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/keeper"
	"autoglm-sidecar/sockets/kernel"
	"autoglm-sidecar/sockets/relay"
	"autoglm-sidecar/supervisor"
	"autoglm-sidecar/supervisor/admin"
	"autoglm-sidecar/supervisor/config"
)

// Options are what a daemon needs beside its settings.
type Options struct {
	Log     *slog.Logger
	Version string
	Output  io.Writer // where the worker's lines go
	// OOMScore is the oom_score_adj that the sidecar was started with, before it lowered its own.
	OOMScore int
	// Leave asks the sidecar to go: open streams have the drain deadline. Hurry asks it not to wait for them.
	Leave, Hurry <-chan struct{}
}

// lastFlush is how long clients have, at the end, to take what is left of their answers.
const lastFlush = 10 * time.Second

// lookEvery is how often a runner looks whether its keeper has noted that the sidecar is to go.
const lookEvery = 500 * time.Millisecond

// daemon is one running sidecar.
type daemon struct {
	config.Run
	Options
	keeper keeper.Info
	// workerScore is the oom_score_adj that the worker is to have; nil: it has ours.
	workerScore *int

	arena   *arena.Arena
	fronts  []front // in the order of the settings
	control *sockets.Listener
	http    *sockets.Listener // nil: off
	relay   *relay.Relay
	gateway *gateway
	traffic traffic
	life    life
	journal *journal // nil: the worker is somebody else's
	devices *devices
	planner *planner
	pulse   *pulse
	started time.Time // of the first runner

	upgrading  sync.Mutex             // held while a program is looked at that is to go on in our place
	stateError atomic.Pointer[string] // why nothing can be kept on disk, "" if it can; nil: nobody has looked yet
}

// life is what manages the worker: a Supervisor, or a Fixed where it is somebody else's.
type life interface {
	Run(context.Context) error
	Leave()
	Hurry()
	Drained(supervisor.Life)
	Restart(context.Context, supervisor.RestartOptions) (supervisor.Asked, error)
	Stop(ctx context.Context, by string, now bool) (supervisor.Asked, error)
	Start(ctx context.Context, by string) (supervisor.Asked, error)
	Drain(ctx context.Context, by string) (supervisor.Asked, error)
	Open(ctx context.Context, by string) (supervisor.Asked, error)
	Freeze(context.Context, supervisor.FreezeOptions) (supervisor.Asked, error)
	Unfreeze(ctx context.Context, by string) (supervisor.Asked, error)
	Follow(ctx context.Context, id, after int64) (supervisor.Restart, error)
	Status() supervisor.Status
}

// Run runs a sidecar until it was asked to leave and has left, or until ctx ends, which leaves the worker alone.
func Run(ctx context.Context, c config.Run, o Options) error {
	d := &daemon{Run: c, Options: o}
	var err error
	if d.keeper, err = keeper.Start(); err != nil {
		return err
	}
	o.Log.Info("starting", "version", o.Version, "name", c.Name, "listen", listens(c.Fronts), "keeper", d.keeper.String())
	d.tellNotes()
	d.workerScore = d.protect()
	if err := d.build(ctx); err != nil {
		return err
	}
	defer d.closeDoors()
	return d.serve(ctx)
}

// build makes or finds everything that outlives a runner, and then the rooms on it.
func (d *daemon) build(ctx context.Context) error {
	a, found, err := openMemory(arena.Size{Slots: d.slots(), Blocks: int(replayBudget(d.Replay.Budget) / arena.BlockSize)})
	if err != nil {
		return err
	}
	d.arena = a
	d.started = time.Now().Add(time.Duration(a.Founded()) - monotonic())
	d.tellUpgrade()
	if reason, halted := keeper.CrashLoop(a.Page(), monotonic()); halted {
		return d.giveUp(ctx, reason)
	}
	if err := d.openFronts(ctx); err != nil {
		return err
	}
	if err := d.buildRelay(found); err != nil {
		return err
	}
	if err := d.openControl(ctx); err != nil {
		return err
	}
	d.devices = newDevices(d)
	if err := d.buildLife(); err != nil {
		return err
	}
	d.planner = newPlanner(d)
	d.pulse = newPulse(d)
	return nil
}

func (d *daemon) buildRelay(found bool) (err error) {
	d.gateway = newGateway(d.Log)
	page := d.arena.Page()
	d.relay, err = relay.New(relay.Options{
		Arena: d.arena, Kernel: kernel.Linux{}, Log: d.Log, Fronts: d.relayFronts(),
		Hold: d.Hold, Heartbeat: d.Heartbeat, Concurrency: d.Queue.Concurrency,
		Replay: relay.Replay{Paths: d.Replay.Paths, PerRequest: d.Replay.PerRequest},
		Limits: limits(d.Limits), Siblings: d.Ready == config.ReadyServing,
		WorkerIdle:  d.Limits.WorkerIdle,
		Drained:     func(life int64) { d.life.Drained(supervisor.Life(life)) },
		Unreachable: d.unreachable,
		Ended:       d.keepStreams,
		Broken:      d.broken,
		Tick:        page.Tick,
	})
	if err != nil {
		return err
	}
	d.gateway.relay = d.relay
	d.traffic = traffic{d.relay, d.arena.Mark()}
	if !found {
		return nil
	}
	countDeaths(d.arena.Account(), page)
	began, before := monotonic(), d.relay.Stats().Counts.TakeOver
	if err := d.relay.TakeOver(); err != nil {
		return err
	}
	d.Log.Warn("took over", "last_death", lastDeath(page), "took", (monotonic() - began).String(),
		slog.Attr{Key: "found", Value: mended(before, d.relay.Stats().Counts.TakeOver)})
	return nil
}

// mended is what one take-over found, in the log's words.
func mended(before, after relay.TakeOverCounts) slog.Value {
	var attrs []slog.Attr
	for _, f := range []struct {
		name          string
		before, after int64
	}{
		{"streams_mended", before.Mended, after.Mended},
		{"bytes_taken_not_noted", before.Untaken, after.Untaken},
		{"bytes_given_not_noted", before.Ungiven, after.Ungiven},
		{"bytes_read_not_judged", before.Unjudged, after.Unjudged},
		{"bytes_judged_not_sent", before.Unsent, after.Unsent},
		{"accepted_without_slot", before.Adopted, after.Adopted},
		{"descriptors_of_nobody", before.Orphans, after.Orphans},
		{"slots_impossible", before.Impossible, after.Impossible},
		{"slots_poisonous", before.Poisoned, after.Poisoned},
	} {
		if n := f.after - f.before; n != 0 {
			attrs = append(attrs, slog.Int64(f.name, n))
		}
	}
	return slog.GroupValue(attrs...)
}

// unreachable is told by the relay's lanes that a connection to the worker has failed.
func (d *daemon) unreachable(life int64) {
	d.gateway.lookAgain()
	d.arena.Pulse().Refused.Add(1)
	if a, ok := d.life.(*away); ok {
		a.failed()
	}
}

// broken is told by them that one has broken before it was answered. A worker of ours has its end told by the kernel.
func (d *daemon) broken(int64) {
	if a, ok := d.life.(*away); ok {
		a.doubted()
	}
}

func lastDeath(p *keeper.Page) string {
	if deaths := p.LastDeaths(); len(deaths) > 0 {
		return deaths[len(deaths)-1].String()
	}
	return "unknown"
}

func (d *daemon) openControl(ctx context.Context) (err error) {
	if d.control, err = sockets.ListenUnix(ctx, "control", keeper.ControlFD, d.Run.Control, func() error { return admin.WhoListens(ctx, d.Run.Control) }); err != nil {
		return err
	}
	if d.HTTP != "" {
		d.http, err = sockets.Listen(ctx, "http", keeper.HTTPFD, d.HTTP)
	}
	return err
}

// serve runs everything until the life has left.
func (d *daemon) serve(ctx context.Context) error {
	lives, endLife := context.WithCancel(ctx) // the worker's affairs
	defer endLife()
	eyes, closeEyes := context.WithCancel(context.WithoutCancel(ctx)) // those who look: the last to end
	defer closeEyes()

	var watchers sync.WaitGroup
	defer watchers.Wait()
	defer closeEyes()
	if err := d.openEyes(eyes, &watchers); err != nil {
		return err
	}

	carried := make(chan error, 1)
	go func() { carried <- d.relay.Serve() }()
	page := d.arena.Page()
	page.SetReady(d.relay.Lanes())
	watchers.Go(func() { d.gateway.resolve(eyes) })
	watchers.Go(func() { d.heedWishes(eyes, page) })
	watchers.Go(func() { d.heedKeeper(eyes) })
	watchers.Go(func() { d.watchClock(eyes, readClocks) })
	if d.journal != nil {
		watchers.Go(func() { d.journal.watch(eyes) })
	}
	watchers.Go(func() { d.devices.run(eyes) })
	if len(d.Command) > 0 && d.life.Status().Life == 0 {
		d.devices.await(lives) // the first life starts onto what is known. Streams of one that is there already don't wait for that
	}
	watchers.Go(func() { atSecond(eyes, d.planner.run) })
	watchers.Go(func() { atSecond(eyes, d.pulse.run) })

	lived := make(chan error, 1)
	go func() { lived <- d.life.Run(lives) }()
	select {
	case err := <-carried:
		return fmt.Errorf("relay: %w", errors.Join(err, errors.New("it stopped by itself")))
	case err := <-lived:
		if err != nil {
			return err
		}
	}
	d.awaitFlush(ctx)
	d.relay.Close()
	d.forgetLife()
	return <-carried
}

// heedWishes passes on what was asked of the sidecar, of this runner or of one before it.
func (d *daemon) heedWishes(ctx context.Context, page *keeper.Page) {
	if page.IsLeaving() { // the runner before this one was asked, so the next word is the second one
		d.life.Leave()
		d.heedHurry(ctx, d.Leave)
		return
	}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for asked := false; !asked; {
		select {
		case <-ctx.Done():
			return
		case <-look.C: // the keeper notes a signal that came while no runner could hear it
			asked = page.IsLeaving()
		case <-d.Leave:
			asked = true
		case <-d.Hurry:
			d.life.Hurry()
			return
		}
	}
	page.Leave()
	d.life.Leave()
	d.heedHurry(ctx, nil)
}

// heedHurry passes on that a sidecar which leaves already is to hurry. again is nil where that is still the first word.
func (d *daemon) heedHurry(ctx context.Context, again <-chan struct{}) {
	select {
	case <-ctx.Done():
	case <-again:
		d.Log.Warn("hurrying: the runner before this one was asked to leave already")
		d.life.Hurry()
	case <-d.Hurry:
		d.life.Hurry()
	}
}

// heedKeeper makes this runner its own keeper when its keeper has died.
func (d *daemon) heedKeeper(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-keeper.Bereaved(ctx):
		d.Log.Warn("the keeper died: becoming the keeper")
		d.relay.Freeze() // a connection accepted from here on would be lost
		if err := keeper.BecomeKeeper(); err != nil {
			d.relay.Thaw()
			d.Log.Error("there is no keeper any more: streams end when this process dies", "error", err)
		}
	}
}

// awaitFlush waits until clients have what is left of their answers.
func (d *daemon) awaitFlush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lastFlush)
	defer cancel()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for d.relay.Stats().Streams > 0 {
		select {
		case <-ctx.Done():
			return
		case <-d.Hurry:
			return
		case <-look.C:
		}
	}
}

// closeDoors removes what others would trip over.
func (d *daemon) closeDoors() {
	doors := []*sockets.Listener{d.control, d.http}
	for _, f := range d.fronts {
		doors = append(doors, f.Listener)
	}
	for _, l := range doors {
		if l == nil {
			continue
		}
		if err := l.Close(); err != nil && !errors.Is(err, os.ErrNotExist) {
			d.Log.Warn(err.Error())
		}
	}
}
