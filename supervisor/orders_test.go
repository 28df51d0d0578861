package supervisor

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// The hardest part of the program is that everything can happen at any time. Here it does.

// orders is one run of random orders: worlds one after the other until so many events were fed.
type orders struct {
	events  int
	facts   *table
	control func(*world) // takes something away from each world
	seen    cells
	deaths  int
	reached [numStates]int
}

// run returns the first thing that must never happen, and did.
func (o *orders) run() string {
	for seed := uint64(1); o.events > 0; seed++ {
		w := newWorld(seed, o.facts)
		w.seen = &o.seen
		if o.control != nil {
			o.control(w)
		}
		o.live(w, 400)
		o.deaths += w.deaths
		if w.broken != "" {
			return fmt.Sprintf("world %d: %s", seed, w.broken)
		}
	}
	return ""
}

// live feeds a world with up to n events. Now and then a fork of it must come to rest.
func (o *orders) live(w *world, n int) {
	for i := range n {
		if w.broken != "" || o.events <= 0 {
			return
		}
		if i == 20 {
			o.feed(w, Event{Kind: EventBoot})
		}
		o.reached[w.m.State]++
		o.happen(w)
		if i%20 == 19 {
			o.comeToRest(w)
		}
		if w.finished && w.chance(4) {
			return
		}
	}
}

func (o *orders) feed(w *world, e Event) {
	o.events--
	w.feed(e)
}

// happen is one thing that happens, with the streams that come and go meanwhile.
func (o *orders) happen(w *world) {
	for range w.rng.IntN(4) {
		w.arrive()
	}
	if w.chance(30) {
		w.streamsEnd(w.m.Life, 1+w.rng.IntN(2))
	}
	if p := w.procs[w.m.Life]; p != nil && p.cutting && w.chance(10) {
		w.streamsEnd(w.m.Life, w.gate.inFlight[w.m.Life])
	}
	if known := o.reached[w.m.State]*numStates > manyEvents/2; known && w.chance(50) {
		o.deliver(w) // on to a state that is seldom reached
		return
	} else if !known && w.chance(70) {
		o.rarest(w) // in such a state: make more of it
		return
	}
	if (w.m.State == Stopped || w.m.State == Halted) && w.chance(25) { // else most worlds would stay there
		if w.barred {
			o.feed(w, Event{Kind: EventBar})
		} else {
			o.feed(w, w.person(EventStart))
		}
		return
	}
	if w.m.State == Releasing && w.chance(30) {
		w.giveBack()
	}
	if o.wander(w) {
		return
	}
	switch w.rng.IntN(10) {
	case 0, 1, 2, 3:
		o.deliver(w)
	case 4, 5:
		w.worker()
		w.now += time.Duration(w.rng.IntN(3000)) * time.Millisecond
	case 6:
		if w.m.Deadline == 0 && w.m.Freeze.Until != 0 || w.chance(10) {
			w.now = max(w.now, w.m.Freeze.Until)
			o.feed(w, Event{Kind: EventThaw})
			return
		}
		if w.m.Deadline != 0 {
			w.now = max(w.now, w.m.Deadline)
		}
		o.feed(w, Event{Kind: EventTimer, Life: w.m.Life})
	default:
		o.rarest(w)
	}
}

// wander leads to the two states that only a person's word at the right moment leads to, while they are seldom reached.
func (o *orders) wander(w *world) bool {
	seldom := func(s State) bool { return o.reached[s]*numStates < manyEvents*9/10 }
	switch {
	case w.m.State == Serving && seldom(Holding) && w.chance(30):
		o.feed(w, w.person(EventDrain))
	case w.m.State == BackingOff && seldom(Frozen) && w.chance(80):
		freeze := w.person(EventFreeze)
		freeze.All = true
		o.feed(w, freeze)
	default:
		return false
	}
	return true
}

// deliver hands over something that was asked for, not always the oldest, and sometimes twice.
func (o *orders) deliver(w *world) {
	if len(w.mail) == 0 {
		return
	}
	i := w.rng.IntN(len(w.mail))
	e := w.mail[i]
	if !w.chance(3) {
		w.mail = append(w.mail[:i:i], w.mail[i+1:]...)
	}
	o.feed(w, e)
}

// rarest feeds the kind of event that the machine's state has met least. A wish to leave ends a world, so unless it is the first
// in this world's life a fork of the world gets it and lives on for a bit.
func (o *orders) rarest(w *world) {
	rare := EventKind(0)
	for k := range EventKind(numEvents) {
		if o.seen[w.m.State][k] < o.seen[w.m.State][rare] {
			rare = k
		}
	}
	if (rare == EventLeave || rare == EventHurry) && !w.leave && w.chance(90) {
		f := w.fork()
		o.feed(f, f.person(rare))
		for range 12 {
			o.happen(f)
		}
		if w.broken == "" {
			w.broken = f.broken
		}
		return
	}
	o.feed(w, o.plausible(w, rare))
}

// plausible is an event of a kind that the world could send in this moment: true, or too late to mean anything.
func (o *orders) plausible(w *world, kind EventKind) Event {
	life := w.m.Life
	late := Event{Kind: kind, Life: life - Life(1+w.rng.IntN(2)), PID: 7, Barrier: w.m.Barrier, Why: "late", Exit: Exit{Known: true}}
	current := late
	current.Life = life
	switch kind {
	case EventBoot, EventLeave, EventHurry, EventTrouble, EventThaw:
		return Event{Kind: kind, Why: "a full disk"}
	case EventBar:
		e := Event{Kind: kind}
		if !w.barred && w.chance(20) {
			e.Why = "the GPU needs a reset"
		}
		return e
	case EventRestart, EventStop, EventStart, EventDrain, EventOpen, EventFreeze, EventUnfreeze:
		return w.person(kind)
	case EventJournaled:
		return Event{Kind: kind, Restart: int64(w.rng.IntN(3))}
	case EventTimer, EventDrained, EventFindFailed, EventReclaimFailed, EventProgress:
		return current // at any time: a rumour, or no answer
	case EventHeld:
		current.Barrier -= uint32(1 + w.rng.IntN(2))
		return current // the answer to an older question
	case EventNotReady:
		return current
	case EventExited:
		if p := w.procs[life]; p != nil && p.alive() && w.chance(30) {
			p.main = false
			w.tellEnds(life)
		}
	case EventReady:
		if p := w.procs[life]; w.m.State == Warming && p.main {
			p.ready = true
			return current
		}
	case EventStarted, EventStartFailed, EventFound, EventMissing, EventReclaimed, EventReleased:
	}
	for i, e := range w.mail {
		if e.Kind == kind && e.Life == life {
			w.mail = append(w.mail[:i:i], w.mail[i+1:]...)
			return e
		}
	}
	if facts[w.m.State][kind] == nil {
		return current // nothing that this state had asked for
	}
	return late
}

// comeToRest lets a fork of the world be kind: nobody asks for anything any more, no runner dies, workers do as they are told (some
// only when they are killed). Then
// it must soon be where people want it, with nobody waiting at the gate. So in each state that the fork came through something
// was pending that led out of it.
func (o *orders) comeToRest(w *world) {
	f := w.fork()
	f.mortal, f.deaf, f.seen = false, f.chance(30), &cells{} // what happens there is not by chance
	f.feed(Event{Kind: EventBoot})
	calm := false
	for range 300 {
		f.now += time.Second
		f.arriveAndEnd()
		if len(f.mail) > 0 {
			e := f.mail[0]
			f.mail = f.mail[1:]
			f.feed(e)
			continue
		}
		if f.kindWorker() {
			continue
		}
		switch {
		case f.m.Deadline != 0:
			f.now = max(f.now, f.m.Deadline)
			f.feed(Event{Kind: EventTimer, Life: f.m.Life})
		case f.m.Freeze.Until != 0:
			f.now = max(f.now, f.m.Freeze.Until)
			f.feed(Event{Kind: EventThaw})
		default:
			calm = true
		}
		if calm {
			break
		}
	}
	if f.broken == "" {
		f.broken = f.unrest()
	}
	if f.broken != "" && w.broken == "" {
		w.broken = "kindly: " + f.broken
	}
}

// arriveAndEnd is a stream that comes, and the end of all that run.
func (w *world) arriveAndEnd() {
	w.arrive()
	for life := range w.gate.inFlight {
		w.streamsEnd(life, w.gate.inFlight[life])
	}
}

// kindWorker is a worker that does what it was asked for; false if that is nothing.
func (w *world) kindWorker() bool {
	life := w.m.Life
	if w.m.State == Releasing {
		w.giveBack()
		return len(w.mail) > 0
	}
	p := w.procs[life]
	if p == nil {
		return false
	}
	p.stuck = false
	switch {
	case w.m.State == Warming && p.main:
		p.ready = true
		w.post(Event{Kind: EventReady, Life: life})
		return true
	case w.m.State == Terminating && p.main && !w.deaf, w.m.State == Reclaiming && p.kids:
		p.main, p.kids = false, false
		w.tellEnds(life)
		return len(w.mail) > 0
	}
	return false
}

// unrest says what is wrong with a world that has come to rest.
func (w *world) unrest() string {
	want := Serving
	switch {
	case w.leave:
		want = Left
	case w.stop:
		want = Stopped
	case w.m.State == Halted:
		want = Halted
	case w.drained:
		want = Holding
	}
	alive := 0
	for _, p := range w.procs {
		if p.alive() {
			alive++
		}
	}
	var wrong []string
	must := func(be bool, format string, args ...any) {
		if !be {
			wrong = append(wrong, fmt.Sprintf(format, args...))
		}
	}
	must(w.m.State == want, "it should be %v", want)
	must(w.m.Restart.ID == 0, "restart %d has no end", w.m.Restart.ID)
	must(w.gate.held == 0 || want == Holding, "%d streams are held", w.gate.held)
	switch want {
	case Serving:
		must(w.gate.open && w.gate.life == w.m.Life, "the gate isn't open for life %d", w.m.Life)
		must(alive == 1 && w.procs[w.m.Life].main, "%d lives are alive", alive)
	case Holding:
		must(!w.gate.open && !w.gate.refusing, "the gate does not hold")
		must(alive == 1 && w.procs[w.m.Life].main, "%d lives are alive", alive)
	default:
		must(!w.gate.open, "the gate is open")
		must(alive == 0 || w.m.Occupied, "%d lives are alive", alive)
	}
	must(w.finished == (want == Left), "it has finished: %v", w.finished)
	for id := int64(1); id <= w.m.Restarts; id++ {
		must(w.journaled[id], "restart %d was never kept", id)
	}
	if wrong == nil {
		return ""
	}
	return fmt.Sprintf("at rest in %v: %s", w.m.State, strings.Join(wrong, ", "))
}

const (
	manyEvents   = 1_200_000
	timesEach    = 1_000
	manyDeaths   = 1_000
	controlRound = 400_000 // events in which a control must be found out
)

func TestAMillionOrdersBreakNothing(t *testing.T) {
	t.Parallel()
	o := &orders{events: manyEvents, facts: &facts}
	if broken := o.run(); broken != "" {
		t.Fatal(broken)
	}
	for s := range State(numStates) {
		for k := range EventKind(numEvents) {
			if n := o.seen[s][k]; n < timesEach {
				t.Errorf("%v met %v %d times, want %d", s, k, n, timesEach)
			}
		}
	}
	if o.deaths < manyDeaths {
		t.Errorf("%d runners died, want %d", o.deaths, manyDeaths)
	}
	t.Logf("%d runners died; steps from each state: %v", o.deaths, o.reached)
}

// forgetFreeze takes a freeze away; not from a machine that waits for its end, which would be found out for never going on.
func forgetFreeze(m *Machine) {
	if m.State != Frozen {
		m.Freeze = Freeze{}
	}
}

// Controls: the same run with one thing taken away must be found out, or it would prove nothing.
func TestOrdersFindOutWhatIsMissing(t *testing.T) {
	t.Parallel()
	without := func(s State, k EventKind, act action) *table {
		f := facts
		f[s][k] = act
		return &f
	}
	for _, c := range []struct {
		missing string
		facts   *table
		control func(*world)
		broken  string // what is found; empty: which of several things comes first is chance
	}{
		{
			missing: "the barrier: a life is stopped whatever the gate counts",
			facts:   without(Draining, EventHeld, (*turn).terminate),
			broken:  "streams in flight",
		},
		{
			missing: "the barrier's number: an answer from before the gate was opened is heard",
			facts:   without(Draining, EventHeld, func(t *turn) { t.e.Barrier = t.m.Barrier; judge(t) }),
			broken:  "streams in flight",
		},
		{
			missing: "the life's number: events of older lives are obeyed",
			facts:   &facts,
			control: func(w *world) { w.blind = true },
		},
		{
			missing: "the note before the deed: a runner that died between them starts a second worker",
			facts:   &facts,
			control: func(w *world) { w.lateStore = true },
		},
		{
			missing: "a timer",
			facts:   without(Terminating, EventTimer, nil),
			broken:  "at rest in terminating",
		},
		{
			missing: "an exit",
			facts:   without(Serving, EventExited, nil),
			broken:  "lives are alive",
		},
		{
			missing: "a look at what people want",
			facts:   without(Reclaiming, EventReclaimed, (*turn).launch),
			broken:  "against people's wish",
		},
		{
			missing: "reclaim: the next life starts when the main process is gone",
			facts:   without(Terminating, EventExited, (*turn).next),
		},
		{
			missing: "a person's drain, when the next life is ready",
			facts:   without(Warming, EventReady, func(t *turn) { t.m.Drain = Word{}; t.serve() }),
			broken:  "against a person's drain",
		},
		{
			missing: "a person's drain, at our death",
			facts:   &facts,
			control: func(w *world) { w.forgetAtEnd = func(m *Machine) { m.Drain = Word{} } },
			broken:  "against a person's drain",
		},
		{
			missing: "a person's stop, at our death",
			facts:   &facts,
			control: func(w *world) {
				w.forgetAtEnd = func(m *Machine) {
					if m.Want == WantStop {
						m.Want = WantRun
					}
				}
			},
		},
		{
			missing: "a freeze",
			facts:   &facts,
			control: func(w *world) { w.forget = forgetFreeze },
			broken:  "while it is frozen",
		},
		{
			missing: "a freeze, at our death",
			facts:   &facts,
			control: func(w *world) { w.deadly, w.forgetAtEnd = 3, forgetFreeze },
			broken:  "while it is frozen",
		},
		{
			missing: "a freeze of everything",
			facts:   &facts,
			control: func(w *world) { w.forget = func(m *Machine) { m.Freeze.All = false } },
			broken:  "while it is frozen with --all",
		},
		{
			missing: "the end of a freeze",
			facts:   &facts,
			control: func(w *world) {
				w.forget = func(m *Machine) { m.Freeze.Until += time.Duration(min(m.Freeze.Until, 1)) * time.Second }
			},
			broken: "at rest in frozen",
		},
		{
			missing: "memory: the next life starts when the last one is gone",
			facts:   without(Reclaiming, EventReclaimed, (*turn).next),
			broken:  "onto memory that is not free",
		},
		{
			missing: "memory, at our death",
			facts:   &facts,
			control: func(w *world) {
				w.forgetAtEnd = func(m *Machine) {
					if m.State == Releasing {
						m.State = BackingOff
					}
				}
			},
			broken: "onto memory that is not free",
		},
		{
			missing: "a bar",
			facts:   &facts,
			control: func(w *world) { w.forget = func(m *Machine) { m.Barred = "" } },
			broken:  "though that is barred",
		},
		{
			missing: "mode observe",
			facts:   &facts,
			control: func(w *world) { w.forget = func(m *Machine) { m.Observe = false } },
			broken:  "in mode observe",
		},
	} {
		t.Run(c.missing, func(t *testing.T) {
			t.Parallel()
			o := &orders{events: controlRound, facts: c.facts, control: c.control}
			broken := o.run()
			if broken == "" || !strings.Contains(broken, c.broken) {
				t.Fatalf("the run found %q wrong, want %q", broken, c.broken)
			}
			t.Log(broken)
		})
	}
}
