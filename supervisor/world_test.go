package supervisor

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"autoglm-sidecar/health"
)

// world is everything around the machine, imagined: the worker's processes, the gate and its streams, operators, the record, and
// the death of runners. It performs what Step asks for, answers the truth, in any order, and notes the first thing that must
// never happen in broken.
type world struct {
	rng    *rand.Rand
	facts  *table
	now    time.Duration
	m      Machine
	record []byte
	mail   []Event // on its way to the machine
	procs  map[Life]*proc
	gate   gateModel
	broken string

	mortal    bool    // runners die now and then
	deadly    float64 // percent of the moments in which one may
	deaf      bool    // workers ignore TERM
	lateStore bool    // control: the record is stored after the effects, not before
	blind     bool    // control: an older life's events look like the current life's
	deaths    int     // of runners
	seen      *cells  // how often which event met which state

	// Controls: what the machine is made to forget before each step, or at each death.
	forget      func(*Machine)
	forgetAtEnd func(*Machine)

	unfree      bool          // memory of a life is not given back yet
	releases    Life          // asked for by the runner; 0: none
	barred      bool          // a standing word of the instruments
	observe     bool          // the mode
	stop, leave bool          // people's standing wishes
	drained     bool          // likewise
	freeze      Freeze        // likewise
	started     bool          // a person said so, and no life was launched since
	crashed     Life          // the last to end by itself under the machine's eyes
	asked       map[Life]bool // a person, for its end
	mayCutNow   map[Life]bool // said by a person
	grave       map[Life]bool // a reason to cut at the drain deadline
	hasty       map[Life]bool // and that is a short one
	drainSince  map[Life]time.Duration
	asks        int64
	answered    map[int64]bool
	journaled   map[int64]bool
	finished    bool
}

type cells [numStates][numEvents]int

// proc is one life as the operating system sees it.
type proc struct {
	main, kids      bool // alive
	stuck           bool // in the kernel: KILL does nothing yet
	ready, opened   bool
	watched, waited bool // the runner asked for its exit, for its end altogether
	told            bool // to end, while its main process lived
	cutting         bool // its streams were cut since the gate was last opened for it
}

func (p *proc) alive() bool { return p.main || p.kids }

type gateModel struct {
	open, refusing, leaving bool // none of them: it holds
	life                    Life
	held                    int
	inFlight                map[Life]int
	owed, paid              map[Life]bool // Drained, once until the gate is opened again
}

func newWorld(seed uint64, facts *table) *world {
	w := &world{
		rng: rand.New(rand.NewPCG(seed, 1)), facts: facts, now: time.Hour, mortal: true, deadly: 0.3, seen: &cells{},
		procs: map[Life]*proc{}, mayCutNow: map[Life]bool{}, grave: map[Life]bool{}, hasty: map[Life]bool{}, drainSince: map[Life]time.Duration{}, asked: map[Life]bool{},
		answered: map[int64]bool{}, journaled: map[int64]bool{},
		gate: gateModel{inFlight: map[Life]int{}, owed: map[Life]bool{}, paid: map[Life]bool{}},
	}
	w.m = Machine{Limits: DefaultLimits(), Seed: seed, Observe: w.chance(30), Reclaims: w.chance(70)}
	w.observe = w.m.Observe
	w.m.Limits.CrashesPerHour = 1 + w.rng.IntN(4)
	return w
}

// fork is a world of its own that begins as this one is.
func (w *world) fork() *world {
	f := *w
	f.rng = rand.New(rand.NewPCG(w.rng.Uint64(), 2))
	f.mail = slices.Clone(w.mail)
	f.procs = map[Life]*proc{}
	for life, p := range w.procs {
		f.procs[life] = new(*p)
	}
	f.gate.inFlight, f.gate.owed, f.gate.paid = maps.Clone(w.gate.inFlight), maps.Clone(w.gate.owed), maps.Clone(w.gate.paid)
	f.mayCutNow, f.grave, f.hasty, f.drainSince = maps.Clone(w.mayCutNow), maps.Clone(w.grave), maps.Clone(w.hasty), maps.Clone(w.drainSince)
	f.asked = maps.Clone(w.asked)
	f.answered, f.journaled = maps.Clone(w.answered), maps.Clone(w.journaled)
	return &f
}

func (w *world) fail(format string, args ...any) {
	if w.broken == "" {
		w.broken = fmt.Sprintf(format, args...) + fmt.Sprintf(" (in %v, life %d)", w.m.State, w.m.Life)
	}
}

func (w *world) chance(percent float64) bool { return w.rng.Float64()*100 < percent }

// feed is what the loop does with one event: step, store, perform; and the runner may die at any point of it.
func (w *world) feed(e Event) {
	w.seen[w.m.State][e.Kind]++
	before := w.m
	if w.blind && e.Life != 0 {
		e.Life = w.m.Life
	}
	if w.forget != nil {
		w.forget(&before)
	}
	m, effects := step(w.facts, before, e, w.now)
	if e.Life != 0 && e.Life != before.Life && (m != before || effects != nil) {
		w.fail("%v of life %d was obeyed", e.Kind, e.Life)
	}
	if w.dies() {
		return
	}
	w.m = m
	if !w.lateStore {
		w.store()
	}
	w.heard(e, effects)
	w.saw(e, before)
	for _, f := range effects {
		if w.dies() {
			return
		}
		w.perform(f)
	}
	if w.lateStore && !w.dies() {
		w.store()
	}
	w.forgetLives()
}

func (w *world) store() {
	w.record = w.m.AppendRecord(w.record[:0:0])
	if len(w.record) > MaxRecord {
		w.fail("the record has %d bytes", len(w.record))
	}
}

// dies kills the runner, sometimes. All that it had asked for is forgotten with it; processes, streams and the record are not.
func (w *world) dies() bool {
	if !w.mortal || w.record == nil || !w.chance(w.deadly) {
		return false
	}
	w.deaths++
	m, err := ReadRecord(w.record)
	if err != nil {
		w.fail("the record can't be read: %v", err)
		return true
	}
	m.Limits, m.Observe, m.Reclaims = w.m.Limits, w.m.Observe, w.m.Reclaims
	if w.forgetAtEnd != nil {
		w.forgetAtEnd(&m)
	}
	w.m, w.mail = m, nil
	for _, p := range w.procs {
		p.watched, p.waited = false, false
	}
	w.releases = 0
	w.gate.open, w.gate.refusing, w.gate.leaving = false, false, false
	w.gate.owed, w.gate.paid = map[Life]bool{}, map[Life]bool{}
	w.feed(Event{Kind: EventBoot})
	return true
}

// heard remembers what people said, once the machine has taken it.
func (w *world) heard(e Event, effects []Effect) {
	if e.Kind == EventBar {
		w.barred = e.Why != ""
	}
	taken := e.Kind == EventLeave || e.Kind == EventHurry
	for _, f := range effects {
		if f.Kind == EffectAnswer && f.Why == "" && f.Withheld == NotWithheld {
			taken = true
		}
	}
	if !taken {
		return
	}
	life := w.m.Life
	leaves := e.Kind == EventLeave || e.Kind == EventHurry
	w.leave = w.leave || leaves
	w.stop = e.Kind == EventStop || w.stop && e.Kind != EventStart && !e.Reason.ByHand()
	w.started = w.started || e.Kind == EventStart
	w.asked[life] = w.asked[life] || e.Kind == EventStop || leaves || e.Kind == EventRestart && e.Reason.ByHand()
	switch e.Kind {
	case EventDrain:
		w.drained = true
	case EventOpen:
		w.drained = false
	case EventFreeze:
		w.freeze = Freeze{Until: w.now + e.For, All: e.All}
	case EventUnfreeze:
		w.freeze = Freeze{}
	default:
	}
	w.grave[life] = w.grave[life] || leaves || e.Reason.MayCut()
	w.hasty[life] = w.hasty[life] || e.Hasty
	if p := w.procs[life]; p != nil && p.opened && (e.Now || e.Kind == EventHurry) {
		w.mayCutNow[life] = true
	}
}

// saw judges what the machine has decided about a life, and remembers what it has seen of it.
func (w *world) saw(e Event, before Machine) {
	in := before.State
	if in == Finding {
		in = before.Noted
	}
	switch w.m.State {
	case Cutting, Terminating, Killing:
		if in == Serving || in == Holding || in == Draining {
			w.judgeEnd()
		}
	default:
	}
	in = before.State
	watching := in == Warming || in == Serving || in == Holding || in == Draining || in == Cutting
	if e.Kind == EventExited && e.Life == w.m.Life && watching && e.Exit.Unasked {
		w.crashed = e.Life
	}
}

func (w *world) frozen() bool { return w.now < w.freeze.Until }

// judgeEnd is for the moment in which a life that served is given up. A freeze forbids it, and so does mode observe, if no person
// asked.
func (w *world) judgeEnd() {
	life := w.m.Life
	switch p := w.procs[life]; {
	case !p.main || w.leave:
	case w.frozen() && !w.stop:
		w.fail("life %d was given up while it is frozen", life)
	case w.observe && !w.asked[life]:
		w.fail("life %d was given up in mode observe, and nobody asked", life)
	}
}

// mayCut says whether people or a grave reason allow to cut the streams of a life by now.
func (w *world) mayCut(life Life) bool {
	return w.mayCutNow[life] || w.grave[life] && (w.now-w.drainSince[life] >= w.m.Limits.Drain || w.hasty[life] && w.now-w.drainSince[life] >= w.m.Limits.HastyDrain)
}

func (w *world) perform(f Effect) {
	p := w.procs[f.Life]
	switch f.Kind {
	case EffectAnswer:
		if w.answered[f.Ask] {
			w.fail("ask %d was answered twice", f.Ask)
		}
		w.answered[f.Ask] = true
	case EffectLaunch:
		w.launch(f.Life)
	case EffectFind:
		w.find(f)
	case EffectWatch:
		p.watched = true
		w.tellEnds(f.Life)
	case EffectAwait:
		// The worker gets ready, or not, in worker.
	case EffectTerminate, EffectKill:
		w.end(f, p)
	case EffectReclaim:
		if w.chance(5) {
			w.post(Event{Kind: EventReclaimFailed, Life: f.Life, Why: "can't tell"})
			return
		}
		p.waited = true
		w.tellEnds(f.Life)
	case EffectOpen:
		w.openGate(f.Life, p)
	case EffectHold:
		w.hold(f)
	case EffectCut:
		w.cut(f, p)
	case EffectRefuse:
		w.gate.open, w.gate.refusing, w.gate.held = false, true, 0
	case EffectLeave:
		w.gate.open, w.gate.leaving, w.gate.held = false, true, 0
	case EffectMark:
	case EffectJournal:
		if f.Ended.Result == Underway {
			w.fail("restart %d was kept before its end", f.Ended.ID)
		}
		w.journaled[f.Ended.ID] = true
		if w.chance(90) {
			w.post(Event{Kind: EventJournaled, Restart: f.Ended.ID})
		}
	case EffectRelease:
		w.releases = f.Life
		w.tellReleased()
	case EffectFinish:
		w.finished = true
	}
}

func (w *world) post(e Event) { w.mail = append(w.mail, e) }

func (w *world) launch(life Life) {
	for other, p := range w.procs {
		if p.alive() {
			w.fail("life %d was launched beside life %d", life, other)
		}
	}
	if w.stop || w.leave {
		w.fail("life %d was launched against people's wish", life)
	}
	if w.barred {
		w.fail("life %d was launched though that is barred", life)
	}
	if w.unfree && w.m.Reclaims {
		w.fail("life %d was launched onto memory that is not free", life)
	}
	if w.frozen() && w.freeze.All && w.crashed != 0 && w.crashed == life-1 && !w.started {
		w.fail("life %d was launched after a crash while it is frozen with --all", life)
	}
	w.started = false
	if w.chance(15) {
		w.post(Event{Kind: EventStartFailed, Life: life, Why: "no such file"})
		return
	}
	w.unfree = true
	w.procs[life] = &proc{main: true, kids: w.chance(50)}
	w.post(Event{Kind: EventStarted, Life: life, PID: 100 + int(life)})
}

func (w *world) find(f Effect) {
	p := w.procs[f.Life]
	switch {
	case w.chance(20):
		w.post(Event{Kind: EventFindFailed, Life: f.Life, Why: "can't tell"})
	case p != nil && p.alive():
		w.post(Event{Kind: EventFound, Life: f.Life, PID: 100 + int(f.Life)})
	default:
		w.post(Event{Kind: EventMissing, Life: f.Life})
	}
}

// end is a signal. It must not meet a life that works for somebody.
func (w *world) end(f Effect, p *proc) {
	if n := w.gate.inFlight[f.Life]; p.main && n > 0 && !p.cutting {
		w.fail("%v of life %d with %d streams in flight", f.Kind, f.Life, n)
	}
	p.told = p.told || p.main
	if f.Kind == EffectKill && !p.stuck && w.chance(80) {
		p.main, p.kids = false, false
		w.tellEnds(f.Life)
	}
}

// tellEnds posts what the runner asked to be told.
func (w *world) tellEnds(life Life) {
	p := w.procs[life]
	if p.watched && !p.main {
		p.watched = false
		w.post(Event{Kind: EventExited, Life: life, Exit: Exit{Known: true, Code: w.rng.IntN(2), Unasked: !p.told, LastLines: []string{"bye"}}})
	}
	if p.waited && !p.alive() {
		p.waited = false
		w.post(Event{Kind: EventReclaimed, Life: life})
	}
}

// giveBack is the driver's end of tearing down what the lives had that are gone.
func (w *world) giveBack() {
	for _, p := range w.procs {
		if p.alive() {
			return
		}
	}
	w.unfree = false
	w.tellReleased()
}

func (w *world) tellReleased() {
	if w.releases != 0 && !w.unfree {
		w.post(Event{Kind: EventReleased, Life: w.releases})
		w.releases = 0
	}
}

func (w *world) openGate(life Life, p *proc) {
	g := &w.gate
	if p == nil || !p.ready {
		w.fail("the gate was opened for life %d, which isn't ready", life)
		return
	}
	if w.stop || w.leave {
		w.fail("the gate was opened for life %d against people's wish", life)
	}
	if w.drained {
		w.fail("the gate was opened for life %d against a person's drain", life)
	}
	if g.leaving {
		return
	}
	g.open, g.refusing, g.life = true, false, life
	g.inFlight[life] += g.held
	g.held = 0
	delete(g.owed, life)
	delete(g.paid, life)
	p.opened, p.cutting = true, false
	delete(w.mayCutNow, life)
	delete(w.grave, life)
	delete(w.hasty, life)
	delete(w.asked, life)
}

func (w *world) hold(f Effect) {
	g := &w.gate
	if g.open {
		w.drainSince[f.Life] = w.now
	}
	g.open, g.refusing = false, false
	w.post(Event{Kind: EventHeld, Life: f.Life, Barrier: f.Barrier, InFlight: g.inFlight[f.Life]})
	g.owed[f.Life] = !g.paid[f.Life]
	w.settle(f.Life)
}

func (w *world) cut(f Effect, p *proc) {
	n := w.gate.inFlight[f.Life]
	if n == 0 {
		return
	}
	if f.Cause == CutCrash && p.main || f.Cause != CutCrash && !w.mayCut(f.Life) {
		w.fail("%d streams of life %d were cut{%v} without need", n, f.Life, f.Cause)
	}
	p.cutting = true
}

// settle pays the Drained that is owed for a life without streams.
func (w *world) settle(life Life) {
	if w.gate.owed[life] && w.gate.inFlight[life] == 0 {
		delete(w.gate.owed, life)
		w.gate.paid[life] = true
		w.post(Event{Kind: EventDrained, Life: life})
	}
}

// arrive is a new stream, leaveStream the end of one, of its own or because it was cut.
func (w *world) arrive() {
	switch g := &w.gate; {
	case g.open:
		g.inFlight[g.life]++
	case !g.refusing && !g.leaving:
		g.held++
	}
}

func (w *world) streamsEnd(life Life, n int) {
	w.gate.inFlight[life] -= min(n, w.gate.inFlight[life])
	w.settle(life)
}

// forgetLives drops lives of which nothing is left.
func (w *world) forgetLives() {
	for life, p := range w.procs {
		if life < w.m.Life-2 && !p.alive() && w.gate.inFlight[life] == 0 {
			delete(w.procs, life)
			delete(w.gate.inFlight, life)
			delete(w.gate.paid, life)
			delete(w.mayCutNow, life)
			delete(w.grave, life)
			delete(w.hasty, life)
			delete(w.drainSince, life)
			delete(w.asked, life)
		}
	}
}

// worker lets the current life do something by itself.
func (w *world) worker() {
	life := w.m.Life
	if w.chance(30) {
		w.giveBack()
	}
	p := w.procs[life]
	if p == nil {
		return
	}
	switch w.rng.IntN(6) {
	case 0:
		p.stuck = !p.stuck && w.chance(20)
	case 1:
		p.kids = p.kids && p.main
	case 2:
		p.main = p.main && w.m.State != Terminating && w.m.State != Killing && !w.chance(20)
	case 3, 4:
		w.warmup(life, p)
	default:
		w.streamsEnd(life, 1)
	}
	w.tellEnds(life)
}

// warmup is how a life that the runner waits for gets ready, or not.
func (w *world) warmup(life Life, p *proc) {
	if w.m.State != Warming || !p.main {
		return
	}
	switch {
	case w.chance(70):
		p.ready = true
		w.post(Event{Kind: EventReady, Life: life})
	case w.chance(70):
		w.post(Event{Kind: EventProgress, Life: life})
	default:
		w.post(Event{Kind: EventNotReady, Life: life, Why: "somebody else listens there"})
	}
}

// person says something.
func (w *world) person(kind EventKind) Event {
	w.asks++
	e := Event{Kind: kind, Ask: w.asks, Now: w.chance(50), By: "uid 0"}
	if kind == EventFreeze {
		e.For, e.All, e.Why = time.Duration(1+w.rng.IntN(120))*time.Second, w.chance(50), "a benchmark"
	}
	if kind == EventRestart {
		reasons := []health.Reason{health.Operator, health.Operator, health.Config, health.MemoryLimit, health.Unhealthy, health.Age}
		e.Reason = reasons[w.rng.IntN(len(reasons))]
		e.Now = e.Now && e.Reason.ByHand()
		e.Hasty = e.Reason == health.MemoryLimit
	}
	return e
}
