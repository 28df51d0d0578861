package daemon

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"autoglm-sidecar/gpu"
	"autoglm-sidecar/gpu/watch"
	"autoglm-sidecar/health"
	"autoglm-sidecar/health/rules"
	"autoglm-sidecar/health/timetable"
	"autoglm-sidecar/supervisor"
	"autoglm-sidecar/supervisor/config"
)

// What follows from the worker's GPUs: warnings, restarts that are planned, and that no life is started.

// planner asks for the restarts that are planned: before memory is full, and at an age.
type planner struct {
	devices *devices
	life    judged
	bar     func(string) // nil: the worker is somebody else's to start
	streams func() int
	drain   time.Duration
	windows []timetable.Window
	log     *slog.Logger

	barring   sync.Mutex // guards what follows, and that what is said last is what was found out last
	looked    bool
	barred    string // what was said last
	inherited bool   // by the runner before

	plan *rules.Plan // guarded by devices.mu, since people unlatch it
	last lastLife    // likewise
}

// lastLife is how things were when a life was given up, for the account of its restart and for the plan.
type lastLife struct {
	Life    int64
	Devices []rules.Made
	Curves  []curve
}

// curve is what a life used of a device in its last hour.
type curve struct {
	Device  string
	Index   int
	Now     int64 // the minute in which it was given up
	Minutes []gpu.Minute
}

// kept is what outlives us.
type kept struct {
	Watch []byte
	Plan  rules.State
	Last  lastLife

	On   []string   // devices on which processes of the worker were seen
	Read gpu.System // the last one whose driver could be read, without its devices
}

func newPlanner(d *daemon) *planner {
	times, err := timetable.Parse(d.Windows)
	if err != nil { // the settings were judged by the same
		d.Log.Error("windows", "error", err)
	}
	seed := fnv.New64a()
	seed.Write([]byte(d.Name))
	p := &planner{
		devices: d.devices, life: d.life, streams: func() int { return d.relay.Stats().Gate.InFlight }, drain: d.Drain, windows: d.Windows, log: d.Log,
	}
	if s, is := d.life.(*supervisor.Supervisor); is {
		p.bar = s.Bar
	}
	p.last = d.devices.restored.Last
	p.plan = rules.NewPlan(rules.PlanRules{
		Times: times, MaxAge: d.MaxAge, Jitter: d.MaxAgeJitter, Seed: seed.Sum64(), Horizon: d.GPU.Horizon, Forecast: forecasts[d.GPU.Forecast],
		Pace: d.devices.pace,
	}, d.devices.restored.Plan)
	return p
}

var forecasts = map[config.Forecast]rules.Forecast{
	config.ForecastAct: rules.ForecastAct, config.ForecastWarn: rules.ForecastWarn, config.ForecastOff: rules.ForecastOff,
}

// run looks each second, until ctx ends.
func (p *planner) run(ctx context.Context) {
	every := time.NewTicker(pulseEvery)
	defer every.Stop()
	for {
		p.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
	}
}

func (p *planner) look(ctx context.Context) {
	s := p.life.Status()
	p.follow(s)
	p.setBar(s)
	if w := p.wish(s); w.Reason != health.NoReason && s.Barred == "" { // under a bar nobody is replaced who is well
		p.ask(ctx, w, s)
	}
	p.devices.remember(p, false)
}

// follow tells the watch how the life is.
func (p *planner) follow(s supervisor.Status) {
	v := p.devices
	v.mu.Lock()
	defer v.mu.Unlock()
	switch s.State {
	case supervisor.Serving, supervisor.Holding, supervisor.Draining, supervisor.Cutting:
		v.watch.Serves(int64(s.Life))
	case supervisor.Finding: // it isn't known yet
	default:
		if ending(s.State) {
			v.watch.Kills(v.time())
		}
		v.watch.Ends(int64(s.Life))
	}
}

// ending are the states in which processes of the worker are killed.
func ending(s supervisor.State) bool {
	return s == supervisor.Terminating || s == supervisor.Killing || s == supervisor.Reclaiming || s == supervisor.Purging
}

func (v *devices) kills() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.watch.Kills(v.time())
}

// setBar says why no life may be started, where that is another reason than was said before. One that the runner before has said, and
// of which we don't know, stays until all devices have been seen: that nobody looks is no reason to start a worker.
func (p *planner) setBar(s supervisor.Status) {
	if p.bar == nil {
		return
	}
	p.barring.Lock()
	defer p.barring.Unlock()
	if !p.looked {
		p.looked, p.barred, p.inherited = true, s.Barred, s.Barred != ""
	}
	why := p.devices.bar()
	switch {
	case why == p.barred:
		return
	case p.inherited && why == "" && !p.devices.seen():
		return
	case p.inherited && why != "" && strings.HasPrefix(why, p.barred): // the record has its beginning
		p.barred, p.inherited = why, false
		return
	}
	p.sayBar(why)
	if why != "" {
		p.log.Error("no life is started from now on", "why", why)
	} else {
		p.log.Info("a life may be started again")
	}
}

func (p *planner) sayBar(why string) {
	p.devices.remember(p, true) // so that the next runner knows why, before the record has that it is so
	p.barred, p.inherited = why, false
	p.bar(why)
}

// wish is the restart that the plan wants now.
func (p *planner) wish(s supervisor.Status) rules.Wish {
	view := p.devices.view()
	g := p.devices.signs(view)
	streams := p.streams()
	v := p.devices
	v.mu.Lock()
	defer v.mu.Unlock()
	m := rules.Moment{
		Now: v.time(), Wall: time.Now(), Life: int64(s.Life), Streams: streams, Busy: s.Restart.ID != 0, Frozen: !s.Frozen.Until.IsZero(),
		Takes: time.Duration(float64(p.usual(s)) * v.pace),
	}
	if s.State == supervisor.Serving || s.State == supervisor.Draining { // memory that is full shortens a drain
		m.Age = time.Duration(float64(v.clock()-s.Served) * v.pace)
		for _, d := range g.Devices {
			if d.Unread == "" && d.Trouble == gpu.NoTrouble && view.blind() == nil {
				m.Devices = append(m.Devices, d)
			}
		}
	}
	return p.plan.Look(m)
}

// usual is how long a restart takes: the longest drain of late, or if there was none, the longest that may be, and the worker's start.
func (p *planner) usual(s supervisor.Status) time.Duration {
	drain := time.Duration(0)
	for _, r := range s.Ended {
		drain = max(drain, r.Spent[supervisor.PhaseDraining])
	}
	if drain == 0 {
		drain = p.drain
	}
	return drain + s.Warmup
}

// ask asks for a restart.
func (p *planner) ask(ctx context.Context, w rules.Wish, s supervisor.Status) {
	asked, err := p.life.Restart(ctx, supervisor.RestartOptions{
		Reason: w.Reason, By: "plan", Why: w.Why, Hasty: w.Hasty, Life: s.Life,
	})
	log := p.log.With("life", int64(s.Life), "reason", w.Reason.String(), "why", w.Why)
	p.devices.mu.Lock()
	defer p.devices.mu.Unlock()
	p.devices.stale = true
	switch {
	case err == nil:
		log.Warn("the plan asked for a restart", "restart", asked.Restart, "joined", asked.Joined)
	case errors.Is(err, supervisor.ErrObserving):
		p.plan.Withheld(w, rules.Observed, p.devices.time())
		log.Warn("the plan would have asked for a restart", "error", err)
	case errors.Is(err, supervisor.ErrFrozen):
		p.plan.Withheld(w, rules.Frozen, p.devices.time())
		log.Warn("the plan would have asked for a restart", "error", err)
	case ctx.Err() != nil:
	default:
		log.Warn("the plan asked for a restart, and there is none", "error", err)
	}
}

// changed follows the life's changes: how its devices were when it was given up is what its restart is explained with.
func (p *planner) changed(c supervisor.Change) {
	leaves := c.From == supervisor.Serving || c.From == supervisor.Holding
	stays := c.To == supervisor.Serving || c.To == supervisor.Holding || c.To == supervisor.Finding
	if leaves && !stays {
		p.noteLast(int64(c.Life))
	}
	if ending(c.To) { // it may be over before the next look
		p.devices.kills()
	}
	if !c.Ended {
		return
	}
	v := p.devices
	defer v.remember(p, true)
	v.mu.Lock()
	defer v.mu.Unlock()
	switch r := c.Restart; r.Result {
	case supervisor.Done:
		var before []rules.Made
		if p.last.Life == int64(r.From) {
			before = p.last.Devices
		}
		p.plan.Restarted(r.Reason, v.time(), before)
	case supervisor.Postponed:
		p.plan.Withheld(rules.Wish{Reason: r.Reason}, rules.Postponed, v.time())
	default:
	}
}

func (p *planner) noteLast(life int64) {
	defer p.devices.remember(p, true)
	v := p.devices
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.watch.Life() != life { // we were told late: what is known is of another by now
		return
	}
	looks := v.watch.Looks(v.time())
	last := lastLife{Life: life}
	for _, l := range looks {
		last.Curves = append(last.Curves, curve{l.UUID, l.Index, int64(v.time() / time.Minute), l.Curve})
	}
	last.Devices = rules.MadeOf(life, v.signsOf(looks, v.time()))
	p.last, v.stale = last, true
}

// cleared is a person's word that the worker is to be started: what kept it from its devices is over, they say.
func (p *planner) cleared() (lifted bool) {
	v := p.devices
	s := p.accepted()
	v.mu.Lock()
	v.watch.Clears(v.time())
	p.plan.Unlatch()
	v.mu.Unlock()
	v.remember(p, true)
	if p.bar == nil {
		return false
	}
	p.barring.Lock()
	defer p.barring.Unlock()
	p.looked = true
	why := v.bar()
	p.sayBar(why)
	return s.Barred != "" && why == ""
}

// accepted is a person's word that a worker is to be started: if it was halted for memory that isn't free, they were told who has it, and
// what the devices use now is what they use without a worker.
func (p *planner) accepted() supervisor.Status {
	s := p.life.Status()
	if s.Unfree {
		p.devices.mu.Lock()
		defer p.devices.mu.Unlock()
		p.devices.watch.Rebase()
		p.devices.stale = true
	}
	return s
}

// signs is what is known of the devices, with what the plan has learnt of them, and the time by which.
func (p *planner) signs() (rules.GPUs, time.Duration) {
	view := p.devices.view()
	g := p.devices.signs(view)
	p.devices.mu.Lock()
	defer p.devices.mu.Unlock()
	g.Latched = p.plan.Latched()
	return g, view.Now
}

// signs is what is known of the devices, for the rules.
func (v *devices) signs(view deviceView) rules.GPUs {
	g := rules.GPUs{Mode: forecasts[v.Forecast], Devices: v.signsOf(view.Looks, view.Now)}
	if view.TooOld != nil {
		g.TooOld = view.TooOld.Error()
	}
	switch err := view.blind(); {
	case err != nil && v.expected(view):
		g.Unread = err.Error()
	case view.Refused != nil:
		g.Unread = view.Refused.Error()
	}
	return g
}

// expected says that people want to hear if nothing is read: not where no reader was installed and nothing was said of any GPU.
func (v *devices) expected(view deviceView) bool {
	if !view.Read || view.Source.Kind == gpu.SourceStarts {
		return false
	}
	said := len(view.Looks) > 0 || len(v.Devices) > 0 || v.Reader != "" || v.Exporter != ""
	return said || view.Source.Kind != gpu.SourceAbsent && !(view.Known && (view.System.Library == gpu.NoLibrary || view.System.Library == gpu.NoDriver))
}

// oldLook is how old a look may be for anything to follow from it: an exporter is read each 5 s, and is silent after 20.
const oldLook = 30 * time.Second

func (v *devices) signsOf(looks []watch.Look, now time.Duration) (all []rules.GPU) {
	for _, l := range looks {
		g := rules.GPU{
			Device: l.UUID, Name: fmt.Sprintf("GPU %d", l.Index), Trouble: l.Sample.Trouble, Detail: l.Sample.Detail,
			Use: l.Use, Outlook: l.Outlook, Hard: l.Hard, Contexts: l.Contexts, Halt: l.Halt, Explains: l.Explains, Notes: l.Notes,
		}
		g.Use.Unused = g.Use.Unused || v.away // nobody knows the processes of a worker that somebody else started
		switch age := time.Duration(float64(now-l.Sampled) / v.pace); {
		case l.Sampled == 0:
			g.Unread = "it hasn't been looked at yet"
		case age > oldLook:
			g.Unread = fmt.Sprintf("it hasn't been looked at for %s", age.Truncate(time.Second))
		}
		all = append(all, g)
	}
	return all
}

// remember keeps what is known for the next runner, if it is time or has to be now.
func (v *devices) remember(p *planner, now bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !now && !v.stale && v.time()-v.kept < keepEvery {
		return
	}
	err := v.keepAll(p)
	if err != nil && v.unkept == nil { // said once, until it is well again
		v.log.Error("what is known of the worker's GPUs is not kept", "error", err)
	}
	v.unkept = err
	v.kept, v.stale = v.time(), false
}

func (v *devices) keepAll(p *planner) error {
	k := kept{Plan: p.plan.State(), Last: p.last, On: slices.Sorted(maps.Keys(v.on)), Read: v.read}
	k.Read.Devices = nil
	var err error
	if k.Watch, err = v.watch.Append(nil); err != nil {
		return err
	}
	var b bytes.Buffer
	small, err := flate.NewWriter(&b, flate.BestSpeed) // 16 devices with windows of 4 h are 100 KiB, and as many that are gone may be kept, too
	if err != nil {
		return fmt.Errorf("compress it: %w", err)
	}
	if err := errors.Join(gob.NewEncoder(small).Encode(k), small.Close()); err != nil {
		return fmt.Errorf("encode it: %w", err)
	}
	return v.keep(b.Bytes())
}

// mostKept bounds what is made of what was kept, in bytes.
const mostKept = 4 << 20

// recall takes what an earlier runner kept.
func (v *devices) recall(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	var k kept
	if err := gob.NewDecoder(io.LimitReader(flate.NewReader(bytes.NewReader(b)), mostKept)).Decode(&k); err != nil {
		return fmt.Errorf("decode it: %w", err)
	}
	if err := v.watch.Restore(k.Watch); err != nil {
		return err
	}
	v.restored, v.read = k, k.Read
	for _, uuid := range k.On {
		v.on[uuid] = true
	}
	return nil
}
