package supervisor

import (
	"errors"
	"strings"
	"testing"
	"time"

	"autoglm-sidecar/health"
)

// observing is a machine in mode observe whose first life serves.
func observing(t *testing.T) *story {
	s := newStory(t)
	s.m.Observe = true
	return s.serves()
}

func TestObserveDecidesCountsAndDoesNothing(t *testing.T) {
	s := observing(t)
	for _, reason := range []health.Reason{
		health.Config, health.MemoryForecast, health.MemoryLimit, health.Unhealthy, health.Hung, health.GPUFault, health.Age,
	} {
		before := s.m
		s.when(because(reason)).then(Serving, "answer{withheld}")
		before.Would[reason]++
		if s.m != before {
			t.Errorf("%v: the machine is\n%+v, want\n%+v", reason, s.m, before)
		}
	}
	s.when(because(health.Hung)).nextRunner()
	if got, want := s.m.Would, (Would{
		health.Config: 1, health.MemoryForecast: 1, health.MemoryLimit: 1, health.Unhealthy: 1, health.Hung: 2, health.GPUFault: 1, health.Age: 1,
	}); got != want {
		t.Errorf("the next runner counts %v, want %v", got, want)
	}
}

func TestObserveKeepsPeopleAndCrashesGoing(t *testing.T) {
	s := observing(t)
	s.when(byHand).then(Draining, "mark answer{taken} hold")
	s.when(because(health.Unhealthy)).then(Draining, "answer{withheld}")
	if s.m.MayCut || s.m.Would != (Would{}) {
		t.Errorf("a restart that is withheld may cut: %v; counted: %v; want neither, for it would have joined", s.m.MayCut, s.m.Would)
	}

	s = observing(t)
	s.exited(1, "CUDA out of memory").then(Reclaiming, "mark hold cut{crash} kill reclaim")
	s.when(Event{Kind: EventReclaimed}).serves().then(Serving, "open journal{done}")
	if s.m.Life != 2 {
		t.Errorf("life %d serves after a crash, want 2", s.m.Life)
	}
}

func TestWhyIsKeptInTheAccount(t *testing.T) {
	s := newStory(t).serves()
	e := because(health.Unhealthy)
	e.Why = "3 probes in a row timed out after 5s"
	s.when(e).held(0).exited(0).when(Event{Kind: EventReclaimed}).nextRunner()
	s.when(Event{Kind: EventMissing}).serves()
	if r := s.m.Unrecorded; r.Why != e.Why || r.By != "judge" || r.Reason != health.Unhealthy {
		t.Errorf("its account: %v by %q, because %q", r.Reason, r.By, r.Why)
	}

	s.exited(137, "CUDA out of memory").when(Event{Kind: EventReclaimed}).due()
	s.when(Event{Kind: EventStartFailed, Why: "no such file"}).serves()
	if r := s.m.Unrecorded; !strings.HasPrefix(r.Why, "life 3: exited 137") || r.Detail != "start life 4: no such file" {
		t.Errorf("a crash and a failed start: why %q, detail %q", r.Why, r.Detail)
	}
}

func TestWhoAsksInModeObserveIsTold(t *testing.T) {
	within(t, func(t *testing.T, h *host) {
		s := h.run(func(o *Options) { o.Observe = true })
		h.pass(time.Minute)
		_, err := s.Restart(t.Context(), RestartOptions{Reason: health.Hung, By: "pulse", Why: "no byte\nfor 2m"})
		if !errors.Is(err, ErrObserving) {
			t.Errorf("it is answered %v, want %v", err, ErrObserving)
		}
		h.pass(time.Second)
		if status := s.Status(); status.Life != 1 || !status.Observe || status.Would[health.Hung] != 1 {
			t.Errorf("life %d serves, observe %v, would have restarted %v", status.Life, status.Observe, status.Would)
		}
		last := h.changes[len(h.changes)-1]
		if last.Withheld != ByMode || last.Restart.Reason != health.Hung || last.Restart.By != "pulse" || last.Restart.Why != "no byte for 2m" {
			t.Errorf("people are told %+v", last)
		}
		if r := h.restarted(s, RestartOptions{Reason: health.Operator, By: "uid 0", Why: strings.Repeat("x", 1000)}); r.Result != Done || len(r.Why) != maxWhy {
			t.Errorf("a person's restart is %v, and why has %d bytes, want %d", r.Result, len(r.Why), maxWhy)
		}
		h.end(s)
	})
}

// frozen freezes for an hour.
var frost = Event{Kind: EventFreeze, For: time.Hour, By: "uid 1000", Why: "a benchmark", Ask: 1}

func frostOfAll() Event {
	e := frost
	e.All = true
	return e
}

func TestAFreezeLetsNobodyEndALife(t *testing.T) {
	s := newStory(t).serves()
	s.when(frost).then(Serving, "answer{taken}")
	s.after(10 * time.Minute)
	for _, e := range []Event{byHand, byHandNow(), because(health.Hung), because(health.Config), {Kind: EventStop, By: "uid 0", Ask: 1}} {
		s.when(e).then(Serving, "answer{withheld}")
		if got, want := s.effects[0].Why, "by uid 1000 for another 50m0s: a benchmark"; got != want {
			t.Errorf("who asks is told %q, want %q", got, want)
		}
	}
	if want := (Would{health.Hung: 1, health.Config: 1}); s.m.Would != want {
		t.Errorf("counted %v, want %v: a person's wish is no decision", s.m.Would, want)
	}
	s.when(Event{Kind: EventDrain, By: "uid 0"}).then(Holding, "answer{taken} hold") // that ends nothing
	s.when(Event{Kind: EventOpen}).then(Serving, "answer{taken} open")
	s.when(Event{Kind: EventLeave}).then(Draining, "leave hold")
}

func TestAFreezeEndsByItselfAndByAWord(t *testing.T) {
	for name, end := range map[string]func(*story){
		"by itself":                func(s *story) { s.after(time.Hour).when(Event{Kind: EventThaw}) },
		"by itself, no timer came": func(s *story) { s.after(time.Hour) },
		"by a word":                func(s *story) { s.when(Event{Kind: EventUnfreeze, Ask: 1}).then(Serving, "answer{taken}") },
		"after our death": func(s *story) {
			s.nextRunner().when(Event{Kind: EventFound, PID: 101}).after(time.Hour).when(Event{Kind: EventThaw})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory(t).serves().when(frost)
			s.after(time.Second).when(Event{Kind: EventThaw}) // too early to mean anything
			s.when(because(health.Hung)).then(Serving, "answer{withheld}")
			end(s)
			s.when(because(health.Hung)).then(Draining, "mark answer{taken} hold")
		})
	}
	s := newStory(t).serves().when(frost).nextRunner()
	s.when(Event{Kind: EventFound, PID: 101}).when(byHand).then(Serving, "answer{withheld}")
	s.when(Event{Kind: EventUnfreeze, Ask: 1}).when(Event{Kind: EventUnfreeze, Ask: 1}).then(Serving, "answer{joined}") // it was none any more
}

func TestAFreezePutsOffWhatHasNotEndedItsLife(t *testing.T) {
	s := newStory(t).serves()
	s.when(byHand).held(7)
	s.when(frost).then(Serving, "journal{overtaken} answer{taken} open")
	if got, want := s.m.Unrecorded.Detail, "frozen by uid 1000: a benchmark"; got != want {
		t.Errorf("its account says %q, want %q", got, want)
	}

	s = newStory(t).serves()
	s.when(byHand).held(0).when(frost).then(Terminating, "answer{taken}")
	s.exited(0).when(Event{Kind: EventReclaimed}).then(Launching, "hold launch") // else nobody would serve
	s.serves().then(Serving, "open journal{done}")

	s = newStory(t).serves()
	s.when(Event{Kind: EventStop, Ask: 1}).held(7)
	s.when(frost).then(Draining, "answer{taken} hold") // a stop was there first
	s.held(0).then(Terminating, "terminate")
}

func TestCrashesGoOnInAFreezeUnlessItSaysAll(t *testing.T) {
	s := newStory(t).serves().when(frost)
	s.exited(1).when(Event{Kind: EventReclaimed}).then(BackingOff, "")
	s.serves().then(Serving, "open journal{done}")

	for name, end := range map[string]func(*story){
		"until its end":        func(s *story) { s.after(time.Hour).when(Event{Kind: EventThaw}).then(Launching, "hold launch") },
		"until a word":         func(s *story) { s.when(Event{Kind: EventUnfreeze}).then(Launching, "answer{taken} hold launch") },
		"until a person's own": func(s *story) { s.when(Event{Kind: EventStart}).then(Launching, "answer{taken} hold launch") },
		"over our death": func(s *story) {
			s.nextRunner().then(Frozen, "mark hold cut{crash}")
			s.after(time.Hour).when(Event{Kind: EventThaw}).then(Launching, "hold launch")
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory(t).serves().when(frostOfAll())
			s.exited(1).when(Event{Kind: EventReclaimed}).then(Frozen, "")
			s.after(10*time.Minute).when(because(health.Unhealthy)).then(Frozen, "answer{withheld}")
			end(s)
		})
	}

	s = newStory(t).serves()
	s.exited(1).when(Event{Kind: EventReclaimed}).then(BackingOff, "")
	s.when(frostOfAll()).then(Frozen, "answer{taken}")
	s.when(Event{Kind: EventFreeze, For: time.Hour, Ask: 2}).then(Launching, "answer{taken} hold launch") // one that does not say all
}

func TestAFreezeIsToldAndEndsOnTime(t *testing.T) {
	within(t, func(t *testing.T, h *host) {
		s := h.run()
		h.pass(time.Minute)
		for _, bad := range []FreezeOptions{{For: 0, Why: "x"}, {For: MaxFreeze + 1, Why: "x"}, {For: time.Hour, Why: " \n"}} {
			if _, err := s.Freeze(t.Context(), bad); err == nil {
				t.Errorf("%+v was taken", bad)
			}
		}
		if _, err := s.Freeze(t.Context(), FreezeOptions{For: time.Hour, Why: "a\nbenchmark", By: "uid 0", All: true}); err != nil {
			t.Fatal(err)
		}
		h.pass(10 * time.Minute)
		until := time.Now().Add(50 * time.Minute)
		_, err := s.Restart(t.Context(), operator)
		if want := "frozen by uid 0 for another 50m0s: a benchmark"; !errors.Is(err, ErrFrozen) || err.Error() != want {
			t.Errorf("a restart is answered %v, want %s", err, want)
		}
		if f := s.Status().Frozen; f.By != "uid 0" || f.Why != "a benchmark" || !f.All || f.Until.Sub(until).Abs() > time.Second {
			t.Errorf("people see %+v, want it until %v", f, until)
		}
		h.kill()
		s = h.run()
		h.pass(49 * time.Minute)
		if f := s.Status().Frozen; f.Why != "a benchmark" {
			t.Errorf("after our death people see %+v", f)
		}
		h.pass(2 * time.Minute)
		if f := s.Status().Frozen; f != (Frost{}) {
			t.Errorf("after its end people see %+v", f)
		}
		if last := h.changes[len(h.changes)-1]; !last.Thawed {
			t.Errorf("the last that was told: %+v, want the end of the freeze", last)
		}
		h.end(s)
	})
}

// A verdict is about one life: the wish that comes of it doesn't end the next.
func TestARestartOfALifeThatIsOverIsRefused(t *testing.T) {
	s := newStory(t).serves()
	s.exited(1).when(Event{Kind: EventReclaimed}).serves()
	e := because(health.Hung)
	e.Of, e.Now = 1, true
	before := s.m
	s.when(e).then(Serving, "answer{refused}")
	if s.m != before {
		t.Errorf("the machine is\n%+v, want\n%+v", s.m, before)
	}
	e.Of = 2
	s.when(e).then(Draining, "mark answer{taken} hold")
}
