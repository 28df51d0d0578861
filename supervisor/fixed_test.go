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
		f := NewFixed(gate, time.Minute)
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
