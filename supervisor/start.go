package supervisor

import (
	"fmt"
	"time"
)

// Starting a life: noted, launched, warmed up, served.

// launch starts the next life. Its number is in the record before the driver is called, so a runner that comes after knows
// what to look for. The gate is told to hold because it may have been refusing.
func (t *turn) launch() {
	if t.m.Barred != "" {
		t.m.ByBar = true
		t.halt(t.m.Barred)
		return
	}
	t.m.ByBar, t.m.Unfree = false, false
	t.enter(Launching)
	t.m.Life++
	t.m.PID = 0
	t.m.Launched = t.now
	t.m.Failed, t.m.Backoff = false, 0
	if t.m.Restart.ID != 0 {
		t.m.Restart.To = t.m.Life
		t.m.Restart.Starts++
	}
	t.hold()
	t.do(EffectLaunch)
}

// started notes the main process. Where nobody wants the life any more it is stopped before it served anyone.
func started(t *turn) {
	t.m.PID = t.e.PID
	t.do(EffectWatch)
	t.warm()
}

func (t *turn) warm() {
	if t.m.Want != WantRun {
		t.terminate()
		return
	}
	t.enter(Warming)
	t.wait(t.m.Limits.StartDeadline)
	t.do(EffectAwait)
}

// startFailed is the driver's word that nothing of the life is alive.
func startFailed(t *turn) {
	t.fail(fmt.Sprintf("start life %d: %s", t.m.Life, t.e.Why))
	t.release()
}

// progressed begins the start deadline anew: loading a model takes as long as it takes. Within a second it changes nothing,
// so that a worker's thousand lines are not a thousand records.
func progressed(t *turn) {
	if at := t.now + t.m.Limits.StartDeadline; at >= t.m.Deadline+time.Second {
		t.m.Deadline = at
	}
}

// serve opens the gate, if nobody keeps it held; a restart under way has reached its end.
func (t *turn) serve() {
	t.m.Served = t.now
	t.m.Warmup = t.now - t.m.Launched
	t.admit()
	t.finish(Done, t.m.Restart.Detail)
}

func notReady(t *turn) {
	t.fail(fmt.Sprintf("start life %d: %s", t.m.Life, t.e.Why))
	t.terminate()
}

func startOverdue(t *turn) {
	why := fmt.Sprintf("start life %d: not ready, and no progress for %v", t.m.Life, t.m.Limits.StartDeadline)
	if t.e.Why != "" {
		why += ": " + t.e.Why
	}
	t.fail(why)
	t.terminate()
}

// startCrashed is an exit before readiness. What the main process has started may outlive it, and is killed at once: it only
// keeps memory and ports from the next life.
func startCrashed(t *turn) {
	t.fail(t.ended("start life", t.m.Launched))
	t.do(EffectKill)
	t.reclaim()
}
