package supervisor

import (
	"context"
	"strings"
	"testing"
	"time"

	"autoglm-sidecar/health"
)

const noReset = "the GPU needs a reset: not restarting onto it"

func barred(why string) Event { return Event{Kind: EventBar, Why: why} }

func TestABarLeavesALifeThatServesAlone(t *testing.T) {
	s := newStory(t).serves()
	s.when(barred(noReset)).then(Serving, "")
	for _, reason := range []health.Reason{health.Operator, health.Config, health.MemoryForecast, health.MemoryLimit, health.Age} {
		s.when(Event{Kind: EventRestart, Reason: reason}).then(Serving, "answer{refused}")
	}
	s.exited(1).then(Reclaiming, "mark hold cut{crash} kill reclaim")
	s.when(Event{Kind: EventReclaimed}).then(BackingOff, "")
	s.due().then(Halted, "refuse journal{given_up}")
	if !s.m.ByBar || s.m.LastError != noReset {
		t.Errorf("halted by bar %v: %q", s.m.ByBar, s.m.LastError)
	}
	s.when(Event{Kind: EventStart}).then(Halted, "answer{refused}")
	s.when(barred("")).then(Launching, "hold launch")
}

func TestASickLifeIsEndedThoughNoneMayFollow(t *testing.T) {
	s := newStory(t).serves()
	s.when(barred(noReset))
	s.when(Event{Kind: EventRestart, Reason: health.Hung, Now: true}).then(Draining, "mark answer{taken} hold")
}

func TestABarThatIsLiftedStartsNobodyWhoIsNotWanted(t *testing.T) {
	s := newStory(t).serves()
	s.when(Event{Kind: EventStop}).then(Draining, "answer{taken} hold")
	s.when(barred(noReset)).then(Draining, "")
	s.when(barred("")).then(Draining, "")
	m := typical(Halted) // for another reason
	if after, effects := Step(m, barred(""), m.Since); after != m || effects != nil {
		t.Errorf("it led to %v: %v", after.State, told(effects))
	}
}

// memory is a Reclaimer whose memory is free when somebody closes it.
type memory struct {
	free  chan struct{}
	asked chan Life
}

func newMemory() *memory { return &memory{make(chan struct{}), make(chan Life, 10)} }

func (m *memory) Release(ctx context.Context, life Life) error {
	m.asked <- life
	select {
	case <-m.free:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (m *memory) Held() string { return "PID 4711 (VLLM::EngineCore) holds 22.0 GiB of GPU 0" }

func TestTheNextLifeWaitsForMemory(t *testing.T) {
	within(t, func(t *testing.T, h *host) {
		m := newMemory()
		s := h.run(func(o *Options) { o.Reclaimer = m })
		h.pass(time.Second)
		if _, err := s.Restart(t.Context(), RestartOptions{Reason: health.Operator}); err != nil {
			t.Fatal(err)
		}
		h.pass(20 * time.Second)
		status := s.Status()
		if status.State != Releasing || status.Phase != PhaseReclaiming || !strings.Contains(status.Progress, "4711") || <-m.asked != 1 {
			t.Errorf("%v: %q", status.State, status.Progress)
		}
		h.kill() // and the next runner waits on
		s = h.run(func(o *Options) { o.Reclaimer = m })
		h.pass(20 * time.Second)
		if status := s.Status(); status.State != Releasing || len(h.lives) != 1 {
			t.Errorf("after a death of ours: %v, %d lives", status.State, len(h.lives))
		}
		close(m.free)
		h.pass(5 * time.Second)
		if status := s.Status(); status.State != Serving || status.Life != 2 {
			t.Errorf("when it is free: %v, life %d", status.State, status.Life)
		}
		h.end(s)
	})
}

func TestMemoryThatDoesNotComeBackHaltsAndNamesWhoHasIt(t *testing.T) {
	within(t, func(t *testing.T, h *host) {
		m := newMemory()
		s := h.run(func(o *Options) { o.Reclaimer = m })
		h.pass(time.Second)
		if _, err := s.Restart(t.Context(), RestartOptions{Reason: health.Operator}); err != nil {
			t.Fatal(err)
		}
		h.pass(3 * time.Minute)
		status := s.Status()
		if status.State != Halted || !strings.Contains(status.Halted, "4711") || len(h.lives) != 1 || status.Ended[0].Result != GivenUp {
			t.Errorf("%v: %q, %d lives, %v", status.State, status.Halted, len(h.lives), status.Ended[0].Result)
		}
		if _, err := s.Start(t.Context(), "uid 0"); err != nil { // a person's word doesn't make it free
			t.Error(err)
		}
		h.pass(time.Minute)
		if got := s.Status().State; got != Releasing {
			t.Errorf("started by hand: %v", got)
		}
		close(m.free)
		h.pass(5 * time.Second)
		if status := s.Status(); status.State != Serving || status.Life != 2 {
			t.Errorf("when it is free: %v, life %d", status.State, status.Life)
		}
		h.end(s)
	})
}

func TestNobodyWaitsForMemoryToBeStopped(t *testing.T) {
	within(t, func(t *testing.T, h *host) {
		s := h.run(func(o *Options) { o.Reclaimer = newMemory() })
		h.pass(time.Second)
		if _, err := s.Stop(t.Context(), "uid 0", false); err != nil {
			t.Fatal(err)
		}
		h.pass(10 * time.Second)
		if got := s.Status().State; got != Stopped {
			t.Errorf("it is %v", got)
		}
		h.end(s)
	})
}

func TestHasteShortensADrain(t *testing.T) {
	s := newStory(t).serves()
	s.when(Event{Kind: EventRestart, Reason: health.MemoryForecast}).then(Draining, "mark answer{taken} hold")
	if left := s.m.Deadline - s.now; left != s.m.Limits.Drain {
		t.Errorf("the drain has %v", left)
	}
	s.when(Event{Kind: EventHeld, Barrier: s.m.Barrier, InFlight: 3}).then(Draining, "")
	s.when(Event{Kind: EventRestart, Reason: health.MemoryLimit, Hasty: true}).then(Draining, "answer{joined} hold")
	if left := s.m.Deadline - s.now; left != s.m.Limits.HastyDrain {
		t.Errorf("in haste it has %v", left)
	}
	s.due().then(Draining, "hold")
	s.when(Event{Kind: EventHeld, Barrier: s.m.Barrier, InFlight: 3}).then(Cutting, "cut{deadline}")
}

func TestWhatIsKnownAtTheBeginningBarsTheFirstLife(t *testing.T) {
	within(t, func(t *testing.T, h *host) {
		s := h.run(func(o *Options) { o.Barred = func() string { return noReset } })
		h.pass(time.Second)
		if status := s.Status(); status.State != Halted || status.Halted != noReset || len(h.lives) != 0 {
			t.Errorf("%v: %q, %d lives", status.State, status.Halted, len(h.lives))
		}
		s.Bar("")
		h.pass(time.Second)
		if status := s.Status(); status.State != Serving || status.Life != 1 {
			t.Errorf("lifted: %v, life %d", status.State, status.Life)
		}
		h.end(s)
	})
}

// TestAGPUThatIsLostWhileItsMemoryIsWaitedFor is no matter of memory: when it is back the worker is started, once that is free.
func TestAGPUThatIsLostWhileItsMemoryIsWaitedFor(t *testing.T) {
	within(t, func(t *testing.T, h *host) {
		m := newMemory()
		s := h.run(func(o *Options) { o.Reclaimer = m })
		h.pass(time.Second)
		if _, err := s.Restart(t.Context(), RestartOptions{Reason: health.Operator}); err != nil {
			t.Fatal(err)
		}
		h.pass(10 * time.Second)
		s.Bar(noReset)
		h.pass(3 * time.Minute)
		if status := s.Status(); status.State != Halted || status.Halted != noReset {
			t.Errorf("%v: %q", status.State, status.Halted)
		}
		s.Bar("")
		h.pass(time.Minute)
		if got := s.Status().State; got != Releasing {
			t.Errorf("it is back, and the memory isn't free: %v", got)
		}
		close(m.free)
		h.pass(5 * time.Second)
		if status := s.Status(); status.State != Serving || status.Life != 2 {
			t.Errorf("it is free: %v, life %d", status.State, status.Life)
		}
		h.end(s)
	})
}
