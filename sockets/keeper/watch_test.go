package keeper

import (
	"testing"
	"time"
)

// eye is a keeper's watch over a runner, with a clock that the test owns.
type eye struct {
	watch watch
	page  *Page
	now   time.Duration
}

func newEye(loops int64) *eye {
	e := &eye{page: &Page{Loops: loops, Ready: 7}, now: time.Hour}
	e.watch.begin(int64(e.now))
	return e
}

// look passes the time, moves the ticks of those loops, and looks.
func (e *eye) look(after time.Duration, loops ...int) (hangs bool) {
	e.now += after
	for _, i := range loops {
		e.page.Ticks[i]++
	}
	return e.watch.hangs(int64(e.now), e.page, 7)
}

// looks looks n times and says at which one it found a hang, from 1; 0: at none.
func (e *eye) looks(n int, loops ...int) int {
	for i := range n {
		if e.look(lookEvery, loops...) {
			return i + 1
		}
	}
	return 0
}

func want[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, expected %v", what, got, want)
	}
}

func TestWatchKillsAfterSixStillLooks(t *testing.T) {
	e := newEye(2)
	want(t, "with both loops moving", e.looks(100, 0, 1), 0)
	want(t, "with both still", e.looks(100), 6)
}

func TestWatchKillsForAnyOneLoop(t *testing.T) {
	for still := range 3 {
		e := newEye(3)
		e.looks(10, 0, 1, 2)
		want(t, "with one still", e.looks(100, (still+1)%3, (still+2)%3), 6)
	}
}

func TestWatchIgnoresLoopsThatAreNone(t *testing.T) {
	e := newEye(1)
	want(t, "with the one loop moving", e.looks(100, 0), 0)
	e = newEye(0)
	want(t, "with no loop at all", e.looks(100), 0)
	e = newEye(1 << 40)
	want(t, "with more loops than ticks", e.looks(100, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), 0)
}

func TestWatchForgivesATickInTime(t *testing.T) {
	e := newEye(1)
	for range 20 {
		want(t, "five still looks", e.looks(5), 0)
		want(t, "a move", e.look(lookEvery, 0), false)
	}
}

func TestWatchLooksNoSoonerThanDue(t *testing.T) {
	e := newEye(1)
	for range 1000 { // signals wake the keeper, too
		if e.look(time.Millisecond) {
			want(t, "time until the hang was found", e.now-time.Hour >= 3*time.Second, true)
			return
		}
	}
}

func TestWatchCountsAnewAfterALateLook(t *testing.T) {
	e := newEye(1)
	e.looks(3, 0)
	want(t, "five still looks", e.looks(5), 0)
	want(t, "a look after a pause", e.look(lookEvery+lateLook+1), false)
	want(t, "still looks after the pause", e.looks(100), 6)

	e = newEye(1)
	e.looks(3, 0)
	want(t, "five still looks", e.looks(5), 0)
	want(t, "a look that is hardly late", e.look(lookEvery+lateLook), true)
}

func TestWatchGivesTwentySecondsToGetReady(t *testing.T) {
	e := newEye(1)
	e.page.Ready = 6 // the one before
	want(t, "looks without ready", e.looks(100), 41)

	e = newEye(1)
	e.page.Ready = 6
	want(t, "looks without ready", e.looks(39), 0)
	e.look(time.Minute)
	want(t, "looks without ready after a pause", e.looks(100), 40)
}

func TestWatchWithoutAnArena(t *testing.T) {
	e := newEye(1)
	e.page = nil
	want(t, "looks without an arena", e.looks(1000), 0)
	e.page = &Page{Loops: 1, Ready: 7}
	e.watch.begin(int64(e.now))
	want(t, "with the loop moving", e.looks(100, 0), 0)
}

func TestWatchCountsFromReady(t *testing.T) {
	e := newEye(1)
	e.page.Ready = 6
	e.looks(30)
	e.page.Ready = 7
	want(t, "looks after ready: the first one, and six still ones", e.looks(100), 7)
}

func TestWatchCountsAnewForANewRunner(t *testing.T) {
	e := newEye(1)
	e.looks(3, 0)
	want(t, "still looks", e.looks(100), 6)
	e.watch.begin(int64(e.now))
	want(t, "looks at a new runner that never ticks", e.looks(100), 7)
}
