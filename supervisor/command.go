package supervisor

import (
	"fmt"

	"autoglm-sidecar/health"
)

// What people ask for. An action here notes what is wanted, answers, and leaves it to pursue to do what the state allows: a wish
// that comes at a bad moment is not lost, every state that ends looks at it.

// restart asks for a new life. While a restart is under way it is joined: if it still drains or stops, that is the one asked
// for; if its life is already starting, that life is newer than the wish.
func restart(t *turn) {
	if no := t.refusal(); no != "" {
		t.refuse(no)
		return
	}
	if by := t.m.withholds(t.e.Reason, t.now); by != NotWithheld {
		t.withhold(by)
		return
	}
	if t.e.Reason.ByHand() {
		t.m.Want, t.m.Stop = WantRun, Word{}
	}
	joined := t.m.Restart.ID != 0 || t.m.Phase() == PhaseStarting
	if t.m.Restart.ID == 0 {
		t.account(t.e.Reason, t.e.By, t.e.Why)
	}
	if joined {
		t.m.Restart.Joined++
		t.m.Restart.Revision++
	}
	t.m.Now = t.m.Now || t.e.Now
	t.m.MayCut = t.m.MayCut || t.e.Reason.MayCut()
	t.m.Hasty = t.m.Hasty || t.e.Hasty
	t.effect(Effect{Kind: EffectAnswer, Ask: t.e.Ask, Life: t.m.Life, Restart: t.m.Restart.ID, Joined: joined})
	t.pursue()
}

// refusal says why a restart can't be; empty: it can.
func (t *turn) refusal() string {
	switch {
	case t.m.Want == WantLeave:
		return byLeaving
	case t.e.Of != 0 && t.e.Of != t.m.Life:
		return fmt.Sprintf("life %d is not the current one any more", t.e.Of)
	case t.m.Barred != "" && !fails(t.e.Reason):
		return t.m.Barred
	case t.e.Reason.ByHand():
		return ""
	case t.m.Want == WantStop:
		return "a person stopped the worker: only a person starts it again"
	case t.m.State == Halted:
		return t.m.LastError
	default:
		return ""
	}
}

// fails says that a life is to be replaced because it is of no use to anybody any more. Under a bar any other is better than none.
func fails(r health.Reason) bool {
	switch r {
	case health.Unhealthy, health.Hung, health.GPUFault:
		return true
	case health.NoReason, health.Operator, health.Config, health.MemoryForecast, health.MemoryLimit, health.Crashed, health.Age:
	}
	return false
}

func (t *turn) refuse(why string) { t.effect(Effect{Kind: EffectAnswer, Ask: t.e.Ask, Why: why}) }

// account opens the account of a restart.
func (t *turn) account(reason health.Reason, by, why string) {
	t.m.Restarts++
	t.m.Restart = Restart{ID: t.m.Restarts, Revision: 1, Reason: reason, By: by, Why: why, From: t.m.Life, Asked: t.now}
	if t.m.Phase() == PhaseStarting {
		t.m.Restart.From, t.m.Restart.To, t.m.Restart.Starts = t.m.Life-1, t.m.Life, 1
	}
	t.effect(Effect{Kind: EffectMark, Restart: t.m.Restart.ID})
}

// finish closes the account of the restart under way, if there is one.
func (t *turn) finish(result Result, detail string) {
	if t.m.Restart.ID == 0 {
		return
	}
	r := t.m.Restart
	r.Result, r.Detail = result, detail
	r.Took = t.now - r.Asked
	r.Revision++
	t.m.Restart = Restart{}
	t.m.Counts[r.Reason][result]++
	t.m.Unrecorded = r
	t.effect(Effect{Kind: EffectJournal, Ended: r})
}

// journaled forgets the ended restart: it is kept elsewhere now.
func journaled(t *turn) {
	if t.e.Restart == t.m.Unrecorded.ID {
		t.m.Unrecorded = Restart{}
	}
}

// trouble is worth a word in status, but not in place of why it is halted.
func trouble(t *turn) {
	if t.m.State != Halted {
		t.m.LastError, t.m.ErrorAt = t.e.Why, t.now
	}
}

// stop asks for a worker that stays stopped.
func stop(t *turn) {
	if t.m.Want == WantLeave {
		t.refuse(byLeaving)
		return
	}
	if t.m.frozen(t.now) {
		t.effect(Effect{Kind: EffectAnswer, Ask: t.e.Ask, Withheld: ByFreeze, Why: t.frozenWords()})
		return
	}
	joined := t.m.Want == WantStop
	if !joined {
		t.m.Stop = Word{t.now, t.e.By}
	}
	t.m.Want = WantStop
	t.m.Now = t.m.Now || t.e.Now
	t.finish(Overtaken, byStop)
	t.effect(Effect{Kind: EffectAnswer, Ask: t.e.Ask, Life: t.m.Life, Joined: joined})
	t.pursue()
}

// start takes a stop back, or ends a halt.
func start(t *turn) {
	if t.m.Want == WantLeave {
		t.refuse(byLeaving)
		return
	}
	waits := t.m.State == BackingOff || t.m.State == Frozen || t.m.State == Halted
	if t.m.Barred != "" && (waits || t.m.State == Stopped) {
		t.refuse(t.m.Barred)
		return
	}
	joined := t.m.Want == WantRun && !waits
	t.m.Want, t.m.Stop = WantRun, Word{}
	t.effect(Effect{Kind: EffectAnswer, Ask: t.e.Ask, Life: t.m.Life, Joined: joined})
	t.pursue()
}

// drainByHand holds the gate and leaves the worker alone, whatever becomes of it, until openByHand: a worker that crashes is
// started again, a restart goes on to its end, and the gate stays held.
func drainByHand(t *turn) {
	if t.m.Want == WantLeave {
		t.refuse(byLeaving)
		return
	}
	joined := t.m.Drain.At != 0
	if !joined {
		t.m.Drain = Word{t.now, t.e.By}
	}
	t.effect(Effect{Kind: EffectAnswer, Ask: t.e.Ask, Life: t.m.Life, Joined: joined})
	t.pursue()
}

// openByHand takes a person's drain back. The gate opens as soon as some life serves.
func openByHand(t *turn) {
	if t.m.Want == WantLeave {
		t.refuse(byLeaving)
		return
	}
	joined := t.m.Drain.At == 0
	t.m.Drain = Word{}
	t.effect(Effect{Kind: EffectAnswer, Ask: t.e.Ask, Life: t.m.Life, Joined: joined})
	t.pursue()
}

// leave ends it all: new streams are refused from here on, those in flight have the drain deadline, then the worker is stopped.
func leave(t *turn) {
	if t.m.Want == WantLeave {
		return
	}
	t.m.Want = WantLeave
	t.finish(Overtaken, byLeaving)
	t.do(EffectLeave)
	if t.m.State == Draining {
		t.m.Deadline, t.m.Overdue = 0, false
	}
	t.pursue()
}

// hurry is leaving without patience: for streams, and for the worker's own way of ending.
func hurry(t *turn) {
	was, again := t.m.State, t.m.Want == WantLeave
	t.m.Now, t.m.Hurry = true, true
	leave(t)
	switch was {
	case Draining:
		if again {
			t.hold() // judge cuts
		}
	case Terminating:
		t.kill()
	case Reclaiming:
		t.purge()
	case Down, Finding, Launching, Warming, Serving, Holding, Cutting, Killing, Purging, BackingOff, Frozen, Halted, Stopped, Left, Releasing:
	}
}

// pursue brings the state nearer to what is wanted. States that wait for an answer or an exit are left to it: next, started,
// found and judge look at what is wanted by then.
func (t *turn) pursue() {
	switch t.m.State {
	case Warming:
		if t.m.Want != WantRun {
			t.terminate()
		}
	case Serving, Holding:
		switch held := t.m.State == Holding; {
		case t.unwanted():
			t.drain()
		case held != (t.m.Drain.At != 0):
			t.admit()
		}
	case Draining:
		if !t.unwanted() {
			t.admit()
			return
		}
		t.boundDrain()
		t.hold()
	case BackingOff, Frozen, Halted, Stopped:
		t.rouse()
	case Releasing:
		if t.m.Want != WantRun {
			t.next()
		}
	case Down, Finding, Launching, Cutting, Terminating, Killing, Reclaiming, Purging, Left:
	}
}

// unwanted says that the current life is not to go on.
func (t *turn) unwanted() bool { return t.m.Want != WantRun || t.m.Restart.ID != 0 }

// rouse does what is wanted where no life is alive. Only a person's word ends a halt, a stop or a back-off, and a person who
// ends a halt has seen its crashes: they are forgotten. A freeze may keep a worker down that has crashed.
func (t *turn) rouse() {
	switch t.m.Want {
	case WantLeave:
		t.left()
	case WantStop:
		if t.m.State != Stopped {
			t.stopped()
		}
	case WantRun:
		byHand := t.e.Kind == EventStart || t.e.Reason.ByHand()
		switch {
		case byHand:
			t.startByHand()
		case t.m.State == BackingOff && t.staysDown():
			t.enter(Frozen)
		case t.m.State == Frozen && !t.staysDown():
			t.m.Backoff = 0
			t.again()
		}
	}
}

// startByHand starts a life at once, where none is alive.
func (t *turn) startByHand() {
	if t.m.State == Halted || t.m.State == Stopped {
		t.m.Crashes, t.m.Failures = Crashes{}, 0
	}
	t.m.Backoff = 0
	switch {
	case t.m.Occupied:
		t.lookFor(t.m.GivenUp)
	case t.m.Reclaims && t.m.Life != 0 && (t.m.State == Halted || t.m.State == Stopped): // nobody has waited for its memory, or in vain
		t.m.Failed = false
		t.release()
	default:
		t.launch()
	}
}
