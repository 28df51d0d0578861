package daemon

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"autoglm-sidecar/health"
	"autoglm-sidecar/sockets"
	"autoglm-sidecar/sockets/gate"
	"autoglm-sidecar/sockets/relay"
	"autoglm-sidecar/supervisor"
	"autoglm-sidecar/supervisor/admin"
	"autoglm-sidecar/supervisor/config"
)

// openEyes begins to answer those who look and ask.
func (d *daemon) openEyes(ctx context.Context, watchers *sync.WaitGroup) error {
	control, err := d.control.NetListener()
	if err != nil {
		return err
	}
	b := backend{d}
	watchers.Go(func() { d.looked(d.control, admin.ServeControl(ctx, control, b, admin.Options{Log: d.Log})) })
	if d.http == nil {
		return nil
	}
	health, err := d.http.NetListener()
	if err != nil {
		return err
	}
	watchers.Go(func() { d.looked(d.http, admin.ServeHealth(ctx, health, b)) })
	return nil
}

// looked says that a door for those who look has closed by itself. Streams go on.
func (d *daemon) looked(l *sockets.Listener, err error) {
	if err != nil {
		d.Log.Error("nobody answers at this listener any more", "listener", l.Name, "error", err)
	}
}

// backend is the sidecar as admin sees it.
type backend struct{ *daemon }

// Status implements admin.Backend.
func (b backend) Status() admin.Status {
	s, _, _ := b.snapshot()
	return s
}

// snapshot is Status, and what it was made of.
func (b backend) snapshot() (admin.Status, supervisor.Status, relay.Stats) {
	life, traffic := b.life.Status(), b.relay.Stats()
	page := b.arena.Page()
	s := admin.Status{
		Name: b.Name, Version: b.Version, Listen: b.fronts[0].address(), Fronts: b.frontStatus(traffic), Keeper: b.keeper.Keeper, Runner: os.Getpid(),
		Since: b.started, TakeOvers: page.Takeovers, Upgrades: b.upgrades(),
		Phase: life.Phase.String(), State: life.State.String(), Halted: life.Halted, Life: int64(life.Life),
		Worker: admin.Worker{
			Driver: "child", PID: life.PID, Upstream: life.Upstream.String(), Since: life.ServingSince, LastExit: life.LastExit,
			Progress: life.Progress, NextStart: life.NextStart,
		},
		Gate: admin.Gate{
			State: traffic.Gate.State.String(), InFlight: traffic.Gate.InFlight, Held: traffic.Gate.Waiting - traffic.Gate.Queued,
			Queued:        traffic.Gate.Queued,
			LongestHoldMS: max(traffic.Counts.HoldEver, waitingFor(traffic)).Milliseconds(),
			HoldMS:        b.Hold.Milliseconds(),
		},
		Streams: admin.Streams{
			Open: traffic.Streams, OldestMS: traffic.Oldest.Milliseconds(), Outcomes: traffic.Counts.Outcomes, Cuts: traffic.Counts.Cuts,
		},
		Mode: string(b.Mode), WouldRestart: named(life.Would),
		Frozen: frozenOf(life.Frozen), Drained: standingOf(life.Drained), Stopped: standingOf(life.Stopped),
		Restarts: life.Counts.All(), RestartOutcomes: outcomesOf(life.Counts), LastError: life.LastError, LastErrorAt: life.ErrorAt, StateError: b.noState(),
		Ahead: admin.AheadOf(traffic.Streams, traffic.Oldest, b.Drain, life.Warmup),
	}
	if len(b.Command) == 0 {
		s.Worker.Driver = "none"
	}
	if life.Upstream == (supervisor.Upstream{}) {
		s.Worker.Upstream = "" // not chosen yet
	}
	s.Ready = traffic.Gate.State == gate.Open ||
		b.Run.Ready != config.ReadyServing && traffic.Gate.State == gate.Holding && life.EverServed && !life.Leaving && b.Hold > 0
	s.Health = b.health()
	b.showDevices(&s, life)
	return s, life, traffic
}

// health is the pulse's verdict in admin's words.
func (b backend) health() admin.Health {
	v, since := b.pulse.Health()
	if v.Life == 0 {
		return admin.Health{}
	}
	h := admin.Health{Verdict: v.Level.String()}
	for i, w := range v.Warnings {
		h.Warnings = append(h.Warnings, admin.Warning{
			Code: string(w.Code), Title: w.Title, Severity: w.Severity.String(), Since: since[i].Round(time.Millisecond), Text: w.Text,
		})
	}
	return h
}

// named are the reasons for which a restart was withheld, and how often.
func named(would supervisor.Would) map[string]int64 {
	counts := map[string]int64{}
	for reason, n := range would {
		if n != 0 {
			counts[health.Reason(reason).String()] = int64(n)
		}
	}
	return counts
}

// Restart implements admin.Backend.
func (b backend) Restart(ctx context.Context, r admin.RestartRequest) (admin.Restart, error) {
	ahead := b.Status().Ahead
	b.planner.accepted()
	asked, err := b.life.Restart(ctx, supervisor.RestartOptions{Reason: health.Operator, By: r.By, Now: r.Now})
	if err != nil {
		return admin.Restart{}, refusal(err)
	}
	a, err := b.Follow(ctx, asked.Restart, -1)
	if err != nil {
		return admin.Restart{}, err
	}
	a.Joined, a.Now, a.Ahead = asked.Joined, r.Now, ahead
	return a, nil
}

// refusal puts the supervisor's words into admin's.
func refusal(err error) error {
	if errors.Is(err, supervisor.ErrNoDriver) {
		return &admin.Refusal{Code: admin.NoDriver, Message: err.Error()}
	}
	if errors.Is(err, supervisor.ErrFrozen) {
		return &admin.Refusal{Code: admin.FrozenNow, Message: err.Error()}
	}
	if errors.Is(err, supervisor.ErrBarred) {
		return &admin.Refusal{Code: admin.BarredNow, Message: err.Error()}
	}
	if errors.Is(err, supervisor.ErrLeaving) {
		return &admin.Refusal{Code: admin.Leaving, Message: err.Error()}
	}
	if why, ok := errors.AsType[supervisor.Refusal](err); ok {
		return &admin.Refusal{Code: admin.BadRequest, Message: why.Error()}
	}
	return err
}

// outcomes of restarts, in admin's words.
var outcomes = map[supervisor.Result]admin.Outcome{
	supervisor.Done: admin.Done, supervisor.Postponed: admin.Postponed, supervisor.GivenUp: admin.GivenUp, supervisor.Overtaken: admin.Overtaken,
}

// Follow implements admin.Backend.
func (b backend) Follow(ctx context.Context, id, after int64) (admin.Restart, error) {
	r, err := b.life.Follow(ctx, id, after)
	if errors.Is(err, supervisor.ErrUnknownRestart) {
		return admin.Restart{}, unknownRestart(id)
	}
	if err != nil {
		return admin.Restart{}, err
	}
	life, traffic := b.life.Status(), b.relay.Stats()
	a := admin.Restart{
		ID: r.ID, Revision: r.Revision, Phase: life.Phase.String(), Outcome: outcomes[r.Result], Error: r.Detail,
		FromLife: int64(r.From), ToLife: int64(r.To), TookMS: r.Took.Milliseconds(),
		Open: traffic.Gate.InFlight, OldestMS: traffic.Oldest.Milliseconds(), Held: traffic.Gate.Waiting - traffic.Gate.Queued,
		LongestHoldMS: r.LongestHold.Milliseconds(), Cut: r.Cut,
	}
	switch {
	case r.Result == supervisor.Done:
		a.Error = ""
	case r.Result == supervisor.Underway && a.Error == "" && r.Starts > 1: // why the start before this one failed
		a.Error = life.LastError
	}
	if r.Result == supervisor.Postponed {
		a.InTheWay = b.inTheWay(r.InTheWay)
	}
	return a, nil
}

// inTheWay names the oldest open streams, at most most.
func (b backend) inTheWay(most int) []admin.Stream {
	var named []admin.Stream
	for _, s := range b.relay.Oldest(most) {
		named = append(named, admin.Stream{
			ID: int64(s.Slot), RequestID: s.RequestID, Client: s.Client, AgeMS: s.Age.Round(time.Millisecond).Milliseconds(),
		})
	}
	return named
}
