package supervisor

import "fmt"

// Emptying a life before it is stopped: the barrier between machine and gate.
//
// The gate is asked to hold and answers with the count of streams in flight. Only the answer 0 stops the life. While the gate
// holds the count can but fall, so each answer since it was last opened is as good as the next, and none from before is any good:
// that is what Machine.Barrier tells apart. EventDrained says no such thing, it may be left over from before the gate was opened
// again; so it only makes the machine ask again.

// drain holds the gate against a life that is to be stopped.
func (t *turn) drain() {
	t.settleFailures()
	t.enter(Draining)
	t.boundDrain()
	t.hold()
}

// boundDrain sets the drain deadline, but none for a person's stop: that one waits, nobody said that it may cut. One that has begun
// becomes a short one if there is haste by now.
func (t *turn) boundDrain() {
	limit := t.m.Limits.Drain
	if t.m.Hasty {
		limit = min(limit, t.m.Limits.HastyDrain)
	}
	switch {
	case t.m.Want == WantStop:
		t.m.Deadline, t.m.Overdue = 0, false
	case t.m.Deadline == 0 && !t.m.Overdue:
		t.wait(limit)
	case t.m.Deadline > t.now+limit:
		t.wait(limit)
	}
}

// hold asks the gate to hold, or if it does, for the count again.
func (t *turn) hold() {
	t.effect(Effect{Kind: EffectHold, Life: t.m.Life, Barrier: t.m.Barrier})
}

// judge weighs the gate's answer: may the life be stopped?
func judge(t *turn) {
	if t.e.Barrier != t.m.Barrier {
		return
	}
	countOpen(t)
	switch {
	case t.e.InFlight == 0:
		t.terminate()
	case t.m.State == Cutting:
		// They are on their way out.
	case t.m.Now, t.m.Overdue && (t.m.MayCut || t.m.Want == WantLeave):
		t.cut()
	case t.m.Overdue:
		t.postpone()
	}
}

// countOpen keeps the largest count for the account: that of the moment when the gate began to hold.
func countOpen(t *turn) {
	if t.e.Barrier == t.m.Barrier && t.m.Restart.ID != 0 {
		t.m.Restart.Open = max(t.m.Restart.Open, t.e.InFlight)
	}
}

// drainOverdue asks for the count once more, and judge decides by it: the last stream may just have ended.
func drainOverdue(t *turn) {
	t.m.Overdue, t.m.Deadline = true, 0
	t.hold()
}

// cut ends the streams in the way. They get a moment to be gone, so that they are counted as cut by us and not by the worker.
func (t *turn) cut() {
	t.enter(Cutting)
	t.wait(t.m.Limits.CutPatience)
	t.cutFor(t.permission())
}

// permission is what streams are cut by: a person who did not want to wait, or the deadline.
func (t *turn) permission() CutCause {
	if t.m.Now {
		return CutOperator
	}
	return CutDeadline
}

func (t *turn) cutFor(cause CutCause) {
	t.effect(Effect{Kind: EffectCut, Life: t.m.Life, Cause: cause})
}

// postpone gives the restart up for now: the old life goes on.
func (t *turn) postpone() {
	t.m.Restart.InTheWay = t.e.InFlight
	t.admit()
	t.finish(Postponed, fmt.Sprintf("%s still open after %v", streamsWere(t.e.InFlight), t.m.Limits.Drain))
}

func streamsWere(n int) string {
	if n == 1 {
		return "1 stream was"
	}
	return fmt.Sprintf("%d streams were", n)
}

// admit goes on with a life that could serve: the gate opens for it, unless a person's drain keeps it held.
func (t *turn) admit() {
	if t.m.Drain.At != 0 {
		t.enter(Holding)
		t.permitNothing()
		t.hold()
		return
	}
	t.enter(Serving)
	t.open()
}

// open lets streams pass to the life. What the gate has said before, and what was permitted before, means nothing from here on.
func (t *turn) open() {
	t.m.Barrier++
	t.permitNothing()
	t.do(EffectOpen)
}

func (t *turn) permitNothing() {
	t.m.Now, t.m.MayCut, t.m.Hasty, t.m.Overdue = false, false, false, false
}
