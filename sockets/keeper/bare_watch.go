package keeper

// watch finds a runner that hangs: by ticks that stand still, or by not getting ready. It counts its own looks and
// not time, because after a pause of the whole machine (a frozen VM or container, Ctrl-Z) the clock has moved and no
// tick has. Such a pause shows in a look that comes late, and counting begins anew.
type watch struct {
	due     int64     // when the next look is, CLOCK_MONOTONIC in ns
	unready int       // looks without ready
	last    [16]int64 // each loop's tick at the last look
	still   [16]int   // looks without a change of it
}

// begin starts the watch over a new runner.
//
//go:nosplit
//go:norace
func (w *watch) begin(now int64) {
	w.unready = 0
	w.due = now + int64(lookEvery)
	w.forget()
}

// forget makes the next look the first one. No tick is negative, so it will find a change.
//
//go:nosplit
//go:norace
func (w *watch) forget() {
	for i := range w.last {
		w.last[i] = -1
	}
}

// hangs takes a look if one is due. page is nil as long as there is no arena: then nothing is lost by waiting, for a
// name server perhaps, and whoever started us may end it.
//
//go:nosplit
//go:norace
func (w *watch) hangs(now int64, page *Page, gen int64) bool {
	if now < w.due {
		return false
	}
	if now-w.due > int64(lateLook) {
		w.begin(now)
	}
	w.due = now + int64(lookEvery)
	if page == nil {
		w.begin(now)
		return false
	}
	if page.Ready != gen {
		w.forget()
		w.unready++
		return w.unready > unreadyLooks || page.Trial != 0 && w.unready > trialLooks
	}
	return w.standsStill(page)
}

// standsStill says whether any one loop does: its streams are as dead as all would be.
//
//go:nosplit
//go:norace
func (w *watch) standsStill(page *Page) bool {
	hangs := false
	for i := range w.last {
		if int64(i) >= page.Loops {
			break
		}
		w.still[i]++
		if tick := page.Ticks[i]; tick != w.last[i] {
			w.last[i], w.still[i] = tick, 0
		}
		hangs = hangs || w.still[i] >= stillLooks
	}
	return hangs
}
