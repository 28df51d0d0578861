package supervisor

import (
	"fmt"
	"time"

	"autoglm-sidecar/health"
)

// Crashes: what they cost, and how often they are borne.

// crashed is an exit that nobody asked for, whatever its code. The gate holds first; then the streams of the life learn that
// nothing more will come, and the rest of the life is killed, for it keeps memory and ports from the next.
func crashed(t *turn) {
	t.settleFailures()
	why := t.ended("life", t.m.Served)
	if t.m.State != Serving && t.m.State != Holding {
		why = "the worker died while draining: " + why
	}
	t.fail(why)
	t.hold()
	t.cutFor(CutCrash)
	t.do(EffectKill)
	t.reclaim()
}

// ended tells of the exit at hand: "life 3 exited 1 after 2h0m0s: CUDA out of memory".
func (t *turn) ended(what string, since time.Duration) string {
	s := fmt.Sprintf("%s %d: %v after %v", what, t.m.Life, t.e.Exit, (t.now - since).Round(time.Second))
	return withLines(s, t.e.Exit.LastLines)
}

// fail books a crash: it opens the account of the restart that follows, unless one is under way, and sets what to wait before it.
func (t *turn) fail(why string) {
	if t.m.Restart.ID == 0 {
		t.account(health.Crashed, "", oneLine(why))
	}
	t.explain(why)
	t.m.Failed = true
	t.m.Crashes.add(t.now)
	t.m.Backoff = t.backoff()
	t.m.Failures++
}

// backoff doubles with each failure in a row. A quarter of it is left to chance, so that the workers of many hosts that fell
// together do not come back together.
func (t *turn) backoff() time.Duration {
	d := t.m.Limits.BackoffMax
	if n := t.m.Failures; n < 32 {
		d = min(d, t.m.Limits.BackoffMin<<n)
	}
	return d - time.Duration(t.random()%uint64(d/4+1))
}

// random is splitmix64: the machine carries its own chance, so that the same events always lead to the same.
func (t *turn) random() uint64 {
	t.m.Seed += 0x9e3779b97f4a7c15
	z := t.m.Seed
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// settleFailures ends a row of crashes when a life has served for a while.
func (t *turn) settleFailures() {
	if t.now-t.m.Served >= t.m.Limits.Stable {
		t.m.Failures = 0
	}
}

// again starts the next life: at once, after the back-off, or not any more.
func (t *turn) again() {
	if n := t.m.Crashes.since(t.now - time.Hour); n > t.m.Limits.CrashesPerHour {
		t.halt(fmt.Sprintf("halted after %d crashes within an hour; the last: %s", n, t.m.LastError))
		return
	}
	if t.staysDown() {
		t.enter(Frozen)
		return
	}
	if t.m.Backoff == 0 {
		t.launch()
		return
	}
	t.enter(BackingOff)
	t.wait(t.m.Backoff)
}

// halt gives up: waiting on for ever helps nobody, so the gate refuses.
func (t *turn) halt(why string) {
	t.explain(why)
	t.enter(Halted)
	t.refuseStreams(byGivingUp)
	t.finish(GivenUp, why)
}

// remark tells of something odd in the account of the restart, unless that has a graver cause already.
func (t *turn) remark(what string) {
	if t.m.Restart.ID != 0 && t.m.Restart.Detail == "" {
		t.m.Restart.Detail = what
	}
}

// explain keeps an error for status and for the account of the restart.
func (t *turn) explain(why string) {
	t.m.LastError, t.m.ErrorAt = why, t.now
	if t.m.Restart.ID != 0 {
		t.m.Restart.Detail = why
	}
}
