package daemon

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"autoglm-sidecar/health"
	"autoglm-sidecar/health/probe"
	"autoglm-sidecar/health/rules"
	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/relay"
	"autoglm-sidecar/supervisor"
	"autoglm-sidecar/supervisor/config"
)

// pulseEvery is how often the streams are looked at and a verdict is made.
const pulseEvery = time.Second

// What signals are about, beside the probes, which go by their own names.
const (
	aboutStreams = "streams"
	aboutAnswers = "answers"
	witnessMark  = " (as a witness)"
)

// pulse judges the worker while it serves, and asks for a restart where it must. It asks its questions at the worker's own
// address, past the gate, so they are no streams. What it knows begins anew with each life and each runner: then for as
// long as the veto nothing is concluded against the life.
type pulse struct {
	config.Pulse
	probes  []questions // in the order of the settings; the witness may be one of them
	witness questions
	life    judged
	streams func(life int64, prompt time.Duration) relay.Progress
	ends    func() rules.Ends
	gpus    func() (rules.GPUs, time.Duration) // and the time on their clock; nil: there is nothing to know of any
	ask     func(config.PulseProbe, supervisor.Status) probe.Probe
	ready   config.Probe // that a life has answered before it served
	clock   supervisor.Clock
	count   *arena.Pulse
	log     *slog.Logger

	attending attending // run's own

	mu      sync.Mutex // guards everything that follows; never held while somebody is asked
	judge   *health.Judge
	window  rules.Window
	verdict health.Verdict
	asked   wish
	devices []string // that the judge hears of
}

// judged is what the pulse needs of the life.
type judged interface {
	Status() supervisor.Status
	Restart(context.Context, supervisor.RestartOptions) (supervisor.Asked, error)
}

// questions are one probe of the settings.
type questions struct {
	config.PulseProbe
	about string
	kind  arena.ProbeKind
}

// attending are the questions to one life.
type attending struct {
	life    supervisor.Life
	cancel  context.CancelFunc
	out     *sync.WaitGroup
	ctx     context.Context // of the life's questions
	status  supervisor.Status
	recuse  context.CancelFunc // ends the witness's; nil: it isn't asked
	witness *sync.WaitGroup
}

// wish is the restart that was asked for on account of the current verdict, so that one trouble is one wish.
type wish struct {
	level  health.Level // Well: none
	frozen bool         // it was withheld by a freeze: it is asked for again after that
	vetoed bool         // it was counted that streams got bytes
}

func newPulse(d *daemon) *pulse {
	p := &pulse{
		Pulse: d.Pulse, life: d.life, streams: d.relay.Progress, ends: d.ends, ask: d.question, ready: d.Probe,
		clock: monotonic, count: d.arena.Pulse(), log: d.Log, gpus: d.planner.signs,
	}
	p.prepare(d.PulseProbes(), d.Witness())
	return p
}

// prepare names the questions and makes the judge of their answers.
func (p *pulse) prepare(probes []config.PulseProbe, witness config.PulseProbe) {
	p.witness = name(witness, nil)
	p.witness.about += witnessMark
	asked := []health.Asked{{About: p.witness.about, Kind: health.Witness, Rise: witness.Rise, Fall: witness.Fall}}
	for _, one := range probes {
		q := name(one, p.probes)
		p.probes = append(p.probes, q)
		kind := health.Probe
		if q.kind == arena.ProbeGenerate {
			kind = health.Token
		}
		asked = append(asked, health.Asked{About: q.about, Kind: kind, Rise: q.Rise, Fall: q.Fall})
	}
	asked = append(asked,
		health.Asked{About: aboutStreams, Kind: health.Stall, Rise: 1, Fall: 1},
		health.Asked{About: aboutAnswers, Kind: health.Passive, Rise: 1, Fall: 1},
	)
	p.judge = health.NewJudge(p.Veto, asked...)
	p.window = rules.Window{About: aboutAnswers, Length: p.Window, Share: p.Passive}
}

// name gives a probe a name that none before it has.
func name(p config.PulseProbe, before []questions) questions {
	q := questions{PulseProbe: p, about: p.String()}
	q.kind, _ = arena.ProbeKindOf(p.Kind) // the settings know no other
	for slices.ContainsFunc(before, func(b questions) bool { return b.about == q.about }) {
		q.about += "'"
	}
	return q
}

// run judges until ctx ends.
func (p *pulse) run(ctx context.Context) {
	every := time.NewTicker(pulseEvery)
	defer every.Stop()
	defer p.forsake()
	for {
		p.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
	}
}

// look makes a verdict and does what it calls for. A life is judged while it serves, and at no other time: while it
// starts its driver asks, and while it drains or a person holds the gate its fate is decided.
func (p *pulse) look(ctx context.Context) {
	s := p.life.Status()
	serves := s.State == supervisor.Serving && s.Upstream != supervisor.Upstream{}
	if p.attending.life != 0 && (!serves || s.Life != p.attending.life) {
		p.forsake()
	}
	if !serves {
		return
	}
	if p.attending.life == 0 {
		p.attend(ctx, s)
	}
	v := p.judgeNow()
	p.hearWitness(v.Suspect)
	p.heed(ctx, v, s)
}

// attend begins to ask a life.
func (p *pulse) attend(ctx context.Context, s supervisor.Status) {
	p.mu.Lock()
	p.judge.Begin(int64(s.Life), p.clock(), p.passedBefore(int64(s.Life))...)
	p.verdict, p.asked = health.Verdict{Life: int64(s.Life)}, wish{}
	p.mu.Unlock()
	a := attending{life: s.Life, status: s, out: new(sync.WaitGroup), witness: new(sync.WaitGroup)}
	a.ctx, a.cancel = context.WithCancel(ctx)
	p.attending = a
	for _, q := range p.probes {
		abouts := []string{q.about}
		if q.about+witnessMark == p.witness.about {
			abouts = append(abouts, p.witness.about)
		}
		// Not all at once, and not at the moment at which the life begins to serve.
		p.put(a.ctx, a.out, q, time.Duration((0.5+rand.Float64()/2)*float64(q.Interval)), abouts...)
	}
}

// put asks one question of the life that is attended to, again and again.
func (p *pulse) put(ctx context.Context, out *sync.WaitGroup, q questions, first time.Duration, abouts ...string) {
	life := int64(p.attending.life)
	one := probe.Prober{
		Ask: p.ask(q.PulseProbe, p.attending.status), First: first, Interval: q.Interval, Timeout: q.Timeout, Jitter: q.Jitter,
		Random: rand.Float64,
		Report: func(r probe.Result) {
			p.count.Took[q.kind].Observe(int64(r.Took))
			if r.Err == nil {
				p.count.Passed[q.kind].Add(1)
			} else {
				p.count.Failed[q.kind].Add(1)
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			for _, about := range abouts {
				p.judge.Hear(rules.Asked(life, about, q.Kind, r), p.clock())
			}
			p.notePassed(life)
		},
		Skipped: func() { p.count.Skipped[q.kind].Add(1) },
	}
	out.Go(func() { one.Run(ctx) })
}

// forsake ends all questions and forgets the verdict.
func (p *pulse) forsake() {
	if p.attending.life == 0 {
		return
	}
	p.hearWitness(false)
	p.attending.cancel()
	p.attending.out.Wait()
	p.attending = attending{}
	p.mu.Lock()
	p.judge.Begin(0, 0)
	p.verdict, p.asked = health.Verdict{}, wish{}
	p.mu.Unlock()
}

// hearWitness has the witness asked, or not any more. One that is among the settings' probes is asked anyway.
func (p *pulse) hearWitness(on bool) {
	a := &p.attending
	if slices.ContainsFunc(p.probes, func(q questions) bool { return q.about+witnessMark == p.witness.about }) || on == (a.recuse != nil) {
		return
	}
	if !on {
		a.recuse()
		a.witness.Wait()
		a.recuse = nil
		return
	}
	var ctx context.Context
	ctx, a.recuse = context.WithCancel(a.ctx)
	p.put(ctx, a.witness, p.witness, 0, p.witness.about)
}

// judgeNow looks at the streams and makes a verdict.
func (p *pulse) judgeNow() health.Verdict {
	life := int64(p.attending.life)
	s := p.streams(life, p.Prefill)
	ends := p.ends()
	var gpus rules.GPUs
	var since time.Duration
	if p.gpus != nil {
		gpus, since = p.gpus()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock()
	if p.gpus != nil {
		p.askOf(gpus.Names())
		for _, s := range gpus.Signals(life, since) {
			p.judge.Hear(s, now)
		}
	}
	p.judge.Heard(life, time.Duration(s.Heard), s.Answering+s.Waiting > 0)
	p.judge.Hear(rules.Stall(aboutStreams, rules.Progress{
		Life: life, Answering: s.Answering, Waiting: s.Waiting, Overdue: s.Overdue, Silence: s.Silence,
	}, p.Hung), now)
	p.judge.Hear(p.window.Look(life, ends, now), now)
	return p.judge.Verdict(now)
}

// askOf has the judge hear of these devices and of no other. mu is held.
func (p *pulse) askOf(devices []string) {
	if slices.Equal(devices, p.devices) && p.devices != nil {
		return
	}
	for _, a := range rules.AskedOfGPUs(p.devices...) {
		p.judge.Dismiss(a.About)
	}
	p.judge.Ask(rules.AskedOfGPUs(devices...)...)
	p.devices = append([]string{}, devices...)
}

// heed says what is new about the verdict, and asks for the restart that it calls for.
func (p *pulse) heed(ctx context.Context, v health.Verdict, s supervisor.Status) {
	p.mu.Lock()
	before, asked := p.verdict, p.asked
	if v.Vetoed && !asked.vetoed {
		p.count.Vetoed.Add(1)
	}
	p.asked.vetoed = v.Vetoed
	p.verdict = v
	if v.Level <= health.Degraded {
		p.asked.level, p.asked.frozen = health.Well, false
	}
	p.mu.Unlock()
	if before.Level != v.Level || before.Vetoed != v.Vetoed {
		p.tell(v)
	}
	if v.Level <= health.Degraded || asked.level == v.Level && !(asked.frozen && s.Frozen.Until.IsZero()) {
		return
	}
	// A stream may have got a byte since: the last look comes right before the word.
	if v = p.judgeNow(); v.Level <= health.Degraded {
		return
	}
	p.wishFor(ctx, v)
}

// wishFor asks for a restart. A life that hangs is ended at once: its streams have waited long enough.
func (p *pulse) wishFor(ctx context.Context, v health.Verdict) {
	if v.Level == health.Stuck {
		p.count.Hung.Add(1)
	} else {
		p.count.Sick.Add(1)
	}
	restart, err := p.life.Restart(ctx, supervisor.RestartOptions{
		Reason: v.Reason(), By: "pulse", Why: v.Why, Now: v.Level == health.Stuck, Life: supervisor.Life(v.Life),
	})
	p.mu.Lock()
	p.asked.level, p.asked.frozen = v.Level, errors.Is(err, supervisor.ErrFrozen)
	p.mu.Unlock()
	log := p.log.With("life", v.Life, "reason", v.Reason().String(), "why", v.Why)
	switch {
	case err == nil:
		log.Warn("the pulse asked for a restart", "restart", restart.Restart, "joined", restart.Joined)
	case ctx.Err() != nil:
	default:
		log.Warn("the pulse asked for a restart, and there is none", "error", err)
	}
}

// tell logs a verdict that is another than the one before.
func (p *pulse) tell(v health.Verdict) {
	attrs := []any{"life", v.Life, "verdict", v.Level.String()}
	for _, w := range v.Warnings {
		attrs = append(attrs, string(w.Code), w.Text)
	}
	level := slog.LevelWarn
	if v.Level == health.Well {
		level = slog.LevelInfo
	}
	p.log.Log(context.Background(), level, "the worker's health", attrs...)
}

// passedBefore are the probes of which an earlier runner knew that they passed in this life, and the one that told that
// it is ready.
func (p *pulse) passedBefore(life int64) []string {
	var abouts []string
	known := uint64(0)
	if p.count.FitLife.Load() == life {
		known = p.count.Fit.Load()
	}
	for i, q := range p.probes {
		if known&(1<<i) != 0 || q.Kind == p.ready.Kind && q.Path == p.ready.Path {
			abouts = append(abouts, q.about)
		}
	}
	return abouts
}

// notePassed writes down which probes have passed, for the runner after this one.
func (p *pulse) notePassed(life int64) {
	if life != p.judge.Life() {
		return
	}
	fit := uint64(0)
	for i, q := range p.probes {
		if p.judge.Passed(q.about) {
			fit |= 1 << i
		}
	}
	if p.count.FitLife.Load() == life && p.count.Fit.Load() == fit {
		return
	}
	p.count.FitLife.Store(0)
	p.count.Fit.Store(fit)
	p.count.FitLife.Store(life)
}

// Health returns the last verdict, with the times of its warnings on the wall clock.
func (p *pulse) Health() (v health.Verdict, since []time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	v = p.verdict
	now := p.clock()
	for _, w := range v.Warnings {
		since = append(since, time.Now().Add(w.Since-now))
	}
	return v, since
}
