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
		if last.Withheld != Observing || last.Restart.Reason != health.Hung || last.Restart.By != "pulse" || last.Restart.Why != "no byte for 2m" {
			t.Errorf("people are told %+v", last)
		}
		if r := h.restarted(s, RestartOptions{Reason: health.Operator, By: "uid 0", Why: strings.Repeat("x", 1000)}); r.Result != Done || len(r.Why) != maxWhy {
			t.Errorf("a person's restart is %v, and why has %d bytes, want %d", r.Result, len(r.Why), maxWhy)
		}
		h.end(s)
	})
}
