package supervisor

// A bar: what keeps the worker from being started, whatever people and judges want, as a GPU that needs a reset. A life that
// serves is left alone as long as it is well: it may be the last for a while. One that is sick or hangs is ended, and then nobody serves.

// bar sets one up, replaces it or takes it down.
func bar(t *turn) {
	if t.m.Barred = oneLine(t.e.Why); t.m.Barred != "" {
		switch {
		case t.m.State == Halted && t.m.ByBar:
			t.explain(t.m.Barred)
		case t.m.State == Releasing: // there is nothing to wait for
			t.m.ByBar = true
			t.halt(t.m.Barred)
		}
		return
	}
	if t.m.State == Halted && t.m.ByBar && t.m.Want == WantRun {
		t.m.Backoff = 0
		t.release()
	}
}
