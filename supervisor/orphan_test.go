package supervisor

import (
	"errors"
	"testing"
	"time"
)

// killBoth ends the runner and its keeper: nothing of their memory is left.
func (h *host) killBoth() {
	h.kill()
	h.set(func() { h.record = nil })
}

func leaving(o Orphan) func(*Options) {
	return func(options *Options) { options.Orphan = func() (Orphan, error) { return o, nil } }
}

func TestAnOrphanServesOnUnderItsNumber(t *testing.T) {
	within(t, func(t *testing.T, h *host) {
		h.behave = func(Life) behaviour { return behaviour{warmup: 20 * time.Second} }
		h.run()
		h.pass(time.Minute)
		h.killBoth()

		s := h.run(leaving(Orphan{Life: 1, PID: 101, Took: 20 * time.Second}))
		h.pass(time.Second)
		status := s.Status()
		if status.Phase != PhaseServing || status.Life != 1 || status.PID != 101 || status.Counts.All() != 0 {
			t.Errorf("the orphan is not what serves: %+v", status)
		}
		if got := status.Warmup; got < 20*time.Second || got > 21*time.Second {
			t.Errorf("the next start is thought to take %v, the orphan's took 20 s", got)
		}
		if r := h.restarted(s, operator); r.From != 1 || r.To != 2 || r.Result != Done {
			t.Errorf("its restart: %+v", r)
		}
		h.end(s)
	})
}

func TestAnOrphanThatIsNotGoneOnWithIsOnlyANumber(t *testing.T) {
	within(t, func(t *testing.T, h *host) {
		s := h.run(leaving(Orphan{Life: 7}))
		h.pass(time.Second)
		if status := s.Status(); status.Life != 8 || status.Phase != PhaseServing {
			t.Errorf("after life 7: %+v", status)
		}
		h.end(s)
	})
}

func TestAnOrphanThatDiesBeforeItIsFoundIsReplaced(t *testing.T) {
	within(t, func(t *testing.T, h *host) {
		s := h.run(leaving(Orphan{Life: 7, PID: 107}))
		h.pass(time.Minute)
		if status := s.Status(); status.Life != 8 || status.Phase != PhaseServing {
			t.Errorf("after life 7: %+v", status)
		}
		h.end(s)
	})
}

// The record knows more than whatever else lies about.
func TestARunnerWithARecordAsksForNoOrphan(t *testing.T) {
	within(t, func(t *testing.T, h *host) {
		h.run()
		h.pass(time.Second)
		h.kill()
		s := h.run(leaving(Orphan{Life: 9, PID: 109}))
		h.pass(time.Second)
		if status := s.Status(); status.Life != 1 || status.Phase != PhaseServing {
			t.Errorf("after a take-over: %+v", status)
		}
		h.end(s)
	})
}

func TestNotToKnowOfAnOrphanIsNoLeaveToStart(t *testing.T) {
	broken := errors.New("the note can't be read")
	_, err := New(Options{
		Record: noRecord{}, Clock: func() time.Duration { return time.Hour }, Limits: DefaultLimits(),
		Orphan: func() (Orphan, error) { return Orphan{}, broken },
	})
	if !errors.Is(err, broken) {
		t.Errorf("got %v, want that it can't be told", err)
	}
}

type noRecord struct{}

func (noRecord) Load() ([]byte, error) { return nil, nil }
func (noRecord) Store([]byte) error    { return nil }
