package supervisor

import "fmt"

// A runner takes over from one that died. The record says in which state, and every effect of that state may have been performed,
// half performed or not at all: all of them are asked for again, and each may be. The worker has noticed nothing, and is never
// restarted for our sake.

// boot is the first event of a runner.
func boot(t *turn) {
	if t.m.Booted {
		return
	}
	t.m.Booted = true
	if t.m.Want == WantLeave {
		t.do(EffectLeave)
	}
	if t.m.Restart.ID != 0 {
		t.effect(Effect{Kind: EffectMark, Restart: t.m.Restart.ID})
	}
	if t.m.Unrecorded.ID != 0 {
		t.effect(Effect{Kind: EffectJournal, Ended: t.m.Unrecorded})
	}
	switch t.m.State {
	case Down:
		t.next()
	case Launching, Warming, Serving, Holding, Draining, Cutting, Terminating, Killing, Reclaiming, Purging:
		t.lookFor(t.m.State)
	case BackingOff, Frozen:
		t.hold()
		t.cutFor(CutCrash)
	case Releasing:
		t.hold()
		t.cutFor(CutCrash)
		t.do(EffectRelease)
	case Halted:
		t.refuseStreams(byGivingUp)
	case Stopped:
		t.refuseStreams(byStop)
	case Left:
		t.do(EffectFinish)
	case Finding:
		// The record notes the state that was to be found again, never this one.
	}
}

// lookFor looks for the life before anything else is done about it, and then goes on as noted.
func (t *turn) lookFor(noted State) {
	t.m.Noted, t.m.NotedDeadline = noted, t.m.Deadline
	t.enter(Finding)
	t.find()
}

func (t *turn) find() {
	t.m.Deadline = 0
	t.effect(Effect{Kind: EffectFind, Life: t.m.Life, PID: t.m.PID})
}

// findFailed asks again for a while. Not to know whether a worker is alive is no leave to start another.
func findFailed(t *turn) {
	why := fmt.Sprintf("look for life %d: %s", t.m.Life, t.e.Why)
	if t.now-t.m.Since >= t.m.Limits.FindPatience {
		t.abandon(t.m.Noted, why)
		return
	}
	t.explain(why)
	t.wait(t.m.Limits.FindRetry)
}

// found goes on with a life that is alive, in whole or in part. The new gate holds without being told, but only by asking does the
// machine get the count and the promise of EventDrained.
func found(t *turn) {
	t.m.PID, t.m.Occupied = t.e.PID, false
	t.do(EffectWatch)
	if (t.m.Noted == Serving || t.m.Noted == Holding) && !t.unwanted() {
		t.admit()
		return
	}
	deadline := t.m.NotedDeadline
	switch t.m.Noted {
	case Launching, Warming:
		t.warm()
		return
	case Serving, Holding:
		t.drain()
		return
	case Draining:
		t.enter(Draining)
		t.m.Deadline = deadline
		t.pursue()
		return
	case Cutting:
		t.hold()
		t.cut()
	case Terminating:
		t.cutAgain()
		t.terminate()
	case Killing:
		t.cutAgain()
		t.kill()
	case Reclaiming, Purging:
		t.cutAgain()
		t.purge()
		return
	case Down, Finding, BackingOff, Frozen, Halted, Stopped, Left, Releasing:
		// No life is looked for from there.
	}
	t.m.Deadline = deadline
}

// cutAgain is for streams of a life past its streams: there are none, or they were being cut, because it crashed or by permission.
func (t *turn) cutAgain() {
	t.hold()
	if t.m.Failed {
		t.cutFor(CutCrash)
	} else {
		t.cutFor(t.permission())
	}
}

// missing goes on without a life of which nothing is alive: it has ended while nobody watched.
func missing(t *turn) {
	gone := fmt.Sprintf("life %d ended while the sidecar was replaced", t.m.Life)
	t.hold()
	switch t.m.Noted {
	case Launching, Warming:
		t.fail(gone)
	case Serving, Holding, Draining, Cutting:
		t.settleFailures()
		t.fail(gone)
		t.cutFor(CutCrash)
	case Terminating, Killing, Reclaiming, Purging:
		t.cutFor(CutCrash)
	case Down, Finding, BackingOff, Frozen, Halted, Stopped, Left, Releasing:
		// No life is looked for from there.
	}
	t.release()
}
