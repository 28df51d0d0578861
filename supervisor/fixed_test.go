package supervisor

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// fixedHost is a host whose worker somebody else has started, at an address that isn't known yet.
func fixedHost(t *testing.T, test func(h *host, f *Fixed, ran <-chan error)) {
	within(t, func(t *testing.T, h *host) {
		h.lives[1] = &fakeLife{host: h, life: 1, ready: true, gone: make(chan struct{}), reaped: make(chan struct{})}
		gate := &runner{h: h}
		h.runner = gate
		f, err := NewFixed(gate, time.Minute, gate, h.clock)
		if err != nil {
			t.Fatal(err)
		}
		gate.s = f
		ran := make(chan error, 1)
		go func() { ran <- f.Run(t.Context()) }()
		test(h, f, ran)
	})
}

func TestAFixedUpstreamIsOpenWhileItIsKnown(t *testing.T) {
	fixedHost(t, func(h *host, f *Fixed, ran <-chan error) {
		h.arrive(time.Second)
		h.pass(time.Minute)
		if s := f.Status(); s.Phase != PhaseDown || s.EverServed || len(h.gate.waiting) != 1 {
			h.t.Errorf("before its address is known: %v, %d wait", s.Phase, len(h.gate.waiting))
		}
		f.Move(h.lives[1].Upstream())
		h.pass(time.Minute)
		if s := f.Status(); s.Phase != PhaseServing || !s.EverServed || h.gate.done != 1 {
			h.t.Errorf("then: %v, %d done", s.Phase, h.gate.done)
		}
		f.Move(Upstream{})
		h.arrive(time.Second)
		h.pass(time.Minute)
		if s := f.Status(); s.Phase != PhaseDown || len(h.gate.waiting) != 1 {
			h.t.Errorf("when it is lost: %v, %d wait", s.Phase, len(h.gate.waiting))
		}
		f.Leave()
		if err := <-ran; err != nil || h.gate.denied != 1 {
			h.t.Errorf("it ended with %v, %d refused", err, h.gate.denied)
		}
	})
}

func TestAFixedUpstreamIsNotRestarted(t *testing.T) {
	fixedHost(t, func(h *host, f *Fixed, ran <-chan error) {
		if _, err := f.Restart(h.t.Context(), operator); !errors.Is(err, ErrNoDriver) {
			h.t.Errorf("a restart: %v", err)
		}
		for what, word := range map[string]func() (Asked, error){
			"stop":     func() (Asked, error) { return f.Stop(h.t.Context(), "uid 0", true) },
			"start":    func() (Asked, error) { return f.Start(h.t.Context(), "uid 0") },
			"freeze":   func() (Asked, error) { return f.Freeze(h.t.Context(), FreezeOptions{}) },
			"unfreeze": func() (Asked, error) { return f.Unfreeze(h.t.Context(), "uid 0") },
		} {
			if _, err := word(); !errors.Is(err, ErrNoDriver) {
				h.t.Errorf("%s: %v", what, err)
			}
		}
		if _, err := f.Follow(h.t.Context(), 1, 0); !errors.Is(err, ErrUnknownRestart) {
			h.t.Errorf("following one: %v", err)
		}
		f.Leave()
		if _, err := f.Restart(h.t.Context(), operator); !errors.Is(err, ErrLeaving) {
			h.t.Errorf("a restart while it leaves: %v", err)
		}
		<-ran
	})
}

func TestLeavingAFixedUpstreamWaitsForItsStreams(t *testing.T) {
	for _, c := range []struct {
		name  string
		lasts time.Duration // a stream
		hurry time.Duration // after Leave; 0: never
		took  time.Duration
		cut   int
	}{
		{name: "to their end", lasts: 20 * time.Second, took: 20 * time.Second},
		{name: "to the drain deadline", lasts: time.Hour, took: time.Minute, cut: 1},
		{name: "until somebody hurries", lasts: time.Hour, hurry: time.Second, took: time.Second, cut: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			fixedHost(t, func(h *host, f *Fixed, ran <-chan error) {
				f.Move(h.lives[1].Upstream())
				f.Move(Upstream{}) // drained at once: that means nothing later
				f.Move(h.lives[1].Upstream())
				h.arrive(c.lasts)
				begun := time.Now()
				f.Leave()
				if c.hurry != 0 {
					time.AfterFunc(c.hurry, f.Hurry)
				}
				if err := <-ran; err != nil {
					t.Errorf("it ended with %v", err)
				}
				synctest.Wait()
				if took := time.Since(begun); took != c.took || h.gate.cut != c.cut {
					t.Errorf("it left after %v with %d cut; want %v, %d", took, h.gate.cut, c.took, c.cut)
				}
			})
		})
	}
}

func TestAFixedUpstreamIsDrainedAndOpened(t *testing.T) {
	fixedHost(t, func(h *host, f *Fixed, ran <-chan error) {
		f.Move(h.lives[1].Upstream())
		if _, err := f.Drain(t.Context(), "uid 1000"); err != nil {
			t.Fatal(err)
		}
		h.arrive(time.Second)
		h.pass(time.Minute)
		f.Move(Upstream{}) // it goes away and comes back
		f.Move(h.lives[1].Upstream())
		h.pass(time.Minute)
		if s := f.Status(); s.State != Holding || s.Drained.By != "uid 1000" || len(h.gate.waiting) != 1 {
			t.Errorf("drained: %v by %+v, %d wait", s.State, s.Drained, len(h.gate.waiting))
		}

		next, err := NewFixed(h.runner, time.Minute, h.runner, h.clock) // as the next runner does
		if err != nil {
			t.Fatal(err)
		}
		next.Move(h.lives[1].Upstream())
		if s := next.Status(); s.State != Holding || s.Drained.By != "uid 1000" || len(h.gate.waiting) != 1 {
			t.Errorf("after our death: %v by %+v, %d wait", s.State, s.Drained, len(h.gate.waiting))
		}

		if asked, err := f.Drain(t.Context(), "uid 0"); err != nil || !asked.Joined {
			t.Errorf("a second drain: %+v, %v", asked, err)
		}
		if _, err := f.Open(t.Context(), "uid 0"); err != nil {
			t.Error(err)
		}
		h.pass(time.Minute)
		if s := f.Status(); s.State != Serving || s.Drained != (Standing{}) || h.gate.done != 1 {
			t.Errorf("opened: %v by %+v, %d done", s.State, s.Drained, h.gate.done)
		}
		h.set(func() { h.storeErr = errors.New("no space") })
		if _, err := f.Drain(t.Context(), "uid 0"); err == nil || f.Status().State != Serving {
			t.Errorf("a drain that the next runner would not know of: %v, %v", err, f.Status().State)
		}
		f.Leave()
		if _, err := f.Open(t.Context(), "uid 0"); !errors.Is(err, ErrLeaving) {
			t.Errorf("open while it leaves: %v", err)
		}
		<-ran
	})
}
