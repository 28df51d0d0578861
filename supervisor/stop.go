package supervisor

import "fmt"

// Ending a life: TERM, KILL, and nothing of it alive before anything else begins.

// Why a restart came to nothing, and why the gate refuses. Clients read the latter, so it has no word of the worker's own output:
// that may hold secrets, and is in status, log and ledger for those who run it.
const (
	byStop     = "the worker was stopped"
	byLeaving  = "the sidecar is leaving"
	byGivingUp = "the worker was given up after too many crashes; its operator has to restart it"
	byNoEnd    = "the worker was given up because it can't be ended; its operator has to restart it"
	byNoMemory = "the worker was given up because its memory was not given back; its operator has to restart it"
	byBar      = "the worker was given up because its GPU can't be used; its operator has to look at it"
)

// refuseStreams turns clients away, for one of the reasons above.
func (t *turn) refuseStreams(why string) {
	if why == byGivingUp {
		switch {
		case t.m.Occupied:
			why = byNoEnd
		case t.m.Unfree:
			why = byNoMemory
		case t.m.ByBar:
			why = byBar
		}
	}
	t.effect(Effect{Kind: EffectRefuse, Life: t.m.Life, Why: why})
}

// terminate asks the main process to end. In a hurry it has a moment for it, otherwise the grace.
func (t *turn) terminate() {
	t.enter(Terminating)
	if t.m.Hurry {
		t.wait(min(t.m.Limits.StopGrace, t.m.Limits.CutPatience))
	} else {
		t.wait(t.m.Limits.StopGrace)
	}
	t.do(EffectTerminate)
}

// kill is for a main process that won't end by itself.
func (t *turn) kill() {
	t.enter(Killing)
	t.wait(t.m.Limits.KillPatience)
	t.do(EffectKill)
}

// exitedAsAsked is the exit that was asked for: neither its code nor what it said meanwhile tells anything. Of one that came before
// it was asked for, the gate may have heard first: the streams ended with the worker, so there was none in the way of stopping it.
func exitedAsAsked(t *turn) {
	switch {
	case !t.e.Exit.Unasked:
		t.reclaim()
	case t.m.Failed || t.m.Served < t.m.Launched: // it served nobody, and why it failed is booked
		t.do(EffectKill)
		t.reclaim()
	default:
		crashed(t)
	}
}

// reclaim waits for what the main process left behind. It gets no longer than the main process would have.
func (t *turn) reclaim() {
	t.enter(Reclaiming)
	t.wait(min(t.m.Limits.ReclaimTime, t.m.Limits.StopGrace))
	t.do(EffectReclaim)
}

// outstayed is what comes after the grace.
func outstayed(t *turn) {
	t.remark(fmt.Sprintf("the worker ignored SIGTERM for %v", t.now-t.m.Since))
	t.kill()
}

// outlived is for those who are there long after their main process.
func outlived(t *turn) {
	why := "what it had started outlived the worker"
	if t.e.Why != "" {
		why += ": " + t.e.Why
	}
	t.remark(why)
	t.purge()
}

// purge kills (again) what is still alive.
func (t *turn) purge() {
	t.enter(Purging)
	t.wait(t.m.Limits.ReclaimTime)
	t.do(EffectKill)
	t.do(EffectReclaim)
}

// reclaimFailed leaves it to the timer: a driver that can't tell has not said that nothing is alive.
func reclaimFailed(t *turn) { t.explain(fmt.Sprintf("reclaim life %d: %s", t.m.Life, t.e.Why)) }

// reclaimOverdue gives the life up, but not its place.
func reclaimOverdue(t *turn) {
	why := fmt.Sprintf("life %d can't be ended: processes of it are alive %v after KILL", t.m.Life, t.m.Limits.ReclaimTime)
	if t.e.Why != "" {
		why += ": " + t.e.Why
	}
	t.abandon(Purging, why)
}

// abandon ends without knowing that nothing of the life is alive: the machine will look again before it starts another. A life
// that served may still have its streams, and goes on when it is found; one that was on its way out is purged.
func (t *turn) abandon(in State, why string) {
	t.m.Occupied, t.m.GivenUp = true, Purging
	switch in {
	case Launching, Warming, Serving, Holding, Draining:
		t.m.GivenUp = in
	default:
	}
	t.explain(why)
	switch t.m.Want {
	case WantRun:
		t.halt(why)
	case WantStop:
		t.stopped()
	case WantLeave:
		t.left()
	}
}

// release waits until the memory of a life of which nothing is alive is free for the next: the driver tears down what a process
// had only after its end, and a worker that is started into that fails. Where there won't be a next it needn't be.
func (t *turn) release() {
	t.m.PID = 0
	t.m.Occupied = false
	if !t.m.Reclaims || t.m.Life == 0 || t.m.Want != WantRun {
		t.next()
		return
	}
	t.enter(Releasing)
	t.wait(t.m.Limits.MemoryTime)
	t.hold() // it may have been refusing
	t.do(EffectRelease)
}

// releaseOverdue gives up: a life that is started onto memory that somebody holds would only fail.
func releaseOverdue(t *turn) {
	if t.m.Barred != "" { // as where the GPU is lost: when it is back it is looked at anew
		t.m.ByBar = true
		t.halt(t.m.Barred)
		return
	}
	why := fmt.Sprintf("the GPU memory of life %d is not free %v after its end", t.m.Life, t.m.Limits.MemoryTime)
	if t.e.Why != "" {
		why += ": " + t.e.Why
	}
	t.m.Unfree = true
	t.halt(why)
}

// next goes on from where nothing of any life is alive.
func (t *turn) next() {
	t.m.PID = 0
	t.m.Occupied, t.m.Unfree = false, false
	switch t.m.Want {
	case WantLeave:
		t.left()
	case WantStop:
		t.stopped()
	case WantRun:
		t.again()
	}
}

// stopped is a person's stop, reached.
func (t *turn) stopped() {
	t.enter(Stopped)
	t.refuseStreams(byStop)
	t.finish(Overtaken, byStop)
}

// left is the end.
func (t *turn) left() {
	t.enter(Left)
	t.finish(Overtaken, byLeaving)
	t.do(EffectFinish)
}
