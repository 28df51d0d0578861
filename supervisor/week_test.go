package supervisor

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"autoglm-sidecar/health"
)

// A week in a worker's life, in fake time: clients come and go, the worker crashes, doesn't start, ignores TERM and leaves children
// behind, people and reasons ask for restarts, and the sidecar itself is killed, often in the middle of something.
func TestAWeek(t *testing.T) {
	within(t, func(t *testing.T, h *host) {
		w := &week{host: h, luck: newLuck(0), mayCut: map[int64]bool{}}
		h.behave = w.behaviour
		h.run()
		ends := time.Now().Add(7 * 24 * time.Hour)
		next := [...]struct {
			every time.Duration
			do    func()
			at    time.Time
		}{
			{every: 15 * time.Second, do: w.client},
			{every: time.Hour, do: w.restart},
			{every: 2 * time.Hour, do: w.die},
			{every: 2 * time.Hour, do: w.dieInARestart},
		}
		for time.Now().Before(ends) {
			soonest := 0
			for i := range next {
				if next[i].at.IsZero() {
					next[i].at = time.Now().Add(w.about(next[i].every))
				}
				if next[i].at.Before(next[soonest].at) {
					soonest = i
				}
			}
			h.pass(time.Until(next[soonest].at))
			next[soonest].at = time.Time{}
			next[soonest].do()
		}
		h.end(w.supervisor)
		w.judge()
	})
}

type week struct {
	*host
	luck
	clients int
	deaths  int
	mayCut  map[int64]bool // restarts that a person or a grave reason allowed to cut
}

// luck is the same in every run. It is for one goroutine.
type luck struct{ *rand.Rand }

func newLuck(seed Life) luck { return luck{rand.New(rand.NewPCG(7, uint64(seed)))} }

func (l luck) chance(percent int) bool { return l.IntN(100) < percent }

// about is a time with that mean, as between events that don't know of each other.
func (l luck) about(mean time.Duration) time.Duration {
	return time.Duration(l.ExpFloat64() * float64(mean))
}

// behaviour is what fate has for a life.
func (w *week) behaviour(life Life) behaviour {
	l := newLuck(life)
	b := behaviour{warmup: l.about(time.Minute), grace: l.about(2 * time.Second), crash: l.about(3 * time.Hour)}
	switch {
	case time.Now().Hour() == 3:
		b.noStart = errors.New("the file system is away for maintenance") // each night, until people look
	case l.chance(10):
		b.noStart = errors.New("out of memory")
	case l.chance(10):
		b.notReady = errors.New("port 8001 belongs to nginx")
	case l.chance(10):
		b.crash = l.about(10 * time.Second)
	}
	b.deaf = l.chance(10)
	if l.chance(20) {
		b.orphan = l.about(20 * time.Second)
	}
	return b
}

// client has a request; now and then one whose answer takes longer than any drain.
func (w *week) client() {
	w.clients++
	lasts := w.about(20 * time.Second)
	if w.chance(1) {
		lasts = 10 * time.Minute
	}
	w.arrive(lasts)
}

func (w *week) restart() {
	o := RestartOptions{Reason: health.Operator, By: "uid 0", Now: w.chance(5)}
	if w.chance(30) {
		o = RestartOptions{Reason: []health.Reason{health.MemoryForecast, health.MemoryLimit, health.Age}[w.IntN(3)]}
	}
	for range 1 + w.IntN(2) {
		asked, err := w.supervisor.Restart(context.Background(), o)
		if err != nil && o.Reason.ByHand() {
			w.t.Errorf("a person's restart: %v", err)
		}
		if o.Now || o.Reason.MayCut() {
			w.mayCut[asked.Restart] = true
		}
	}
}

// die is a kill -9 of the runner; every fifth also hits the next one.
func (w *week) die() {
	for range 1 + max(0, w.IntN(5)-3) {
		w.deaths++
		w.kill()
		w.pass(w.about(10 * time.Millisecond))
		w.run()
		w.pass(w.about(5 * time.Millisecond))
	}
}

func (w *week) dieInARestart() {
	w.restart()
	w.pass(w.about(20 * time.Second))
	w.die()
}

// judge looks back.
func (w *week) judge() {
	kept := map[int64]Restart{}
	for _, r := range w.kept {
		kept[r.ID] = r // a runner that died too soon leaves it to the next to keep it again
	}
	results := map[Result]int{}
	var cut int64
	for id := int64(1); id <= int64(len(kept)); id++ {
		r, ok := kept[id]
		if !ok {
			w.t.Errorf("the journal doesn't have restart %d", id)
		}
		results[r.Result]++
		cut += r.Cut
		crash := r.Reason == health.Crashed || strings.Contains(r.Detail, "exited") || strings.Contains(r.Detail, "ended while")
		if r.Cut > 0 && !crash && !w.mayCut[id] {
			w.t.Errorf("restart %d cut %d streams: %+v", id, r.Cut, r)
		}
	}
	g := &w.gate
	w.t.Logf("%d clients: %d done, %d cut, %d refused; the longest waited %v", w.clients, g.done, g.cut, g.denied, g.worstHold)
	w.t.Logf("%d lives, restarts: %v; %d runners died", len(w.lives), results, w.deaths)
	if g.done+g.cut+g.denied != w.clients {
		w.t.Errorf("%d clients never heard", w.clients-g.done-g.cut-g.denied)
	}
	if cut != int64(g.cut) {
		w.t.Errorf("the journal explains %d cut streams of %d", cut, g.cut)
	}
	if g.worstHold > 20*time.Minute {
		w.t.Errorf("a client waited %v: by then it should have been halted", g.worstHold)
	}
	for _, must := range []Result{Done, Postponed, GivenUp} {
		if results[must] == 0 {
			w.t.Errorf("no restart was %v in the whole week", must)
		}
	}
}
