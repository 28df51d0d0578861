package supervisor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"autoglm-sidecar/health"
)

// within runs a test in a bubble of fake time, on a host that must come through it unbroken.
func within(t *testing.T, test func(t *testing.T, h *host)) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		test(t, h)
		h.check()
	})
}

// end leaves, and waits for it.
func (h *host) end(s *Supervisor) {
	h.t.Helper()
	s.Leave()
	if err := <-h.ran; err != nil {
		h.t.Errorf("it ended with %v", err)
	}
	if lives := h.alive(); lives != nil {
		h.t.Errorf("lives %v were left behind", lives)
	}
}

// restarted asks for a restart and waits for its end.
func (h *host) restarted(s *Supervisor, o RestartOptions) Restart {
	h.t.Helper()
	asked, err := s.Restart(h.t.Context(), o)
	if err != nil {
		h.t.Fatal(err)
	}
	var r Restart
	for r.Result == Underway {
		if r, err = s.Follow(h.t.Context(), asked.Restart, r.Revision); err != nil {
			h.t.Fatal(err)
		}
	}
	return r
}

var operator = RestartOptions{Reason: health.Operator, By: "uid 0"}

func TestARestartUnderLoadCutsNothing(t *testing.T) {
	within(t, func(t *testing.T, h *host) {
		h.behave = func(Life) behaviour { return behaviour{warmup: 20 * time.Second, grace: time.Second} }
		s := h.run()
		h.pass(time.Minute)
		for i := range 200 {
			h.arrive(time.Duration(i+1) * 100 * time.Millisecond)
		}
		time.AfterFunc(time.Second, func() { h.arrive(time.Minute) })

		r := h.restarted(s, operator)
		want := Restart{
			ID: 1, Revision: r.Revision, Reason: health.Operator, By: "uid 0", From: 1, To: 2, Starts: 1, Open: 200, Result: Done,
			Begun: r.Begun, Asked: r.Asked, Took: 41 * time.Second,
			Spent: Spent{PhaseDraining: 20 * time.Second, PhaseStopping: time.Second, PhaseStarting: 20 * time.Second},
			Tally: Tally{LongestHold: 40 * time.Second},
		}
		if r != want {
			t.Errorf("its account:\n%+v, want\n%+v", r, want)
		}
		if begun := time.Now().Add(-r.Took); !r.Begun.Equal(begun) {
			t.Errorf("it began at %v, want %v", r.Begun, begun)
		}
		synctest.Wait()
		status := s.Status()
		if status.Phase != PhaseServing || status.Life != 2 || status.PID != 102 || status.Upstream.Address != "/run/worker-2.sock" {
			t.Errorf("afterwards: %+v", status)
		}
		if len(h.kept) != 1 || h.kept[0] != r {
			t.Errorf("the journal has %+v", h.kept)
		}
		h.end(s)
		if h.gate.cut+h.gate.denied != 0 || h.gate.done != 201 {
			t.Errorf("%d done, %d cut, %d refused; want 201, 0, 0", h.gate.done, h.gate.cut, h.gate.denied)
		}
	})
}

func TestChangesAreToldInOrder(t *testing.T) {
	within(t, func(t *testing.T, h *host) {
		s := h.run()
		h.pass(time.Second)
		h.restarted(s, operator)
		h.end(s)
		var told []string
		for _, c := range h.changes {
			word := c.To.String()
			if c.Ended {
				word = c.Restart.Result.String()
			}
			told = append(told, word)
		}
		want := "launching warming serving draining terminating reclaiming launching warming serving done draining terminating reclaiming left"
		if got := strings.Join(told, " "); got != want {
			t.Errorf("told: %s\nwant: %s", got, want)
		}
	})
}

func TestAskedTwiceItIsOneRestart(t *testing.T) {
	within(t, func(t *testing.T, h *host) {
		s := h.run()
		h.pass(time.Second)
		h.arrive(time.Minute)
		first, err := s.Restart(t.Context(), operator)
		if err != nil || first != (Asked{Restart: 1, Life: 1}) {
			t.Errorf("asked: %+v, %v", first, err)
		}
		second, err := s.Restart(t.Context(), operator)
		if err != nil || second != (Asked{Restart: 1, Life: 1, Joined: true}) {
			t.Errorf("asked again: %+v, %v", second, err)
		}
		h.pass(2 * time.Minute)
		if n := s.Status().Life; n != 2 {
			t.Errorf("life %d serves, want 2", n)
		}
		h.end(s)
	})
}

func TestARestartIsFollowed(t *testing.T) {
	within(t, func(t *testing.T, h *host) {
		s := h.run()
		h.pass(time.Second)
		h.arrive(time.Minute)
		if _, err := s.Follow(t.Context(), 1, 0); !errors.Is(err, ErrUnknownRestart) {
			t.Errorf("before it was asked for: %v", err)
		}
		asked, err := s.Restart(t.Context(), operator)
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.Follow(t.Context(), asked.Restart, 0)
		if err != nil || r.Result != Underway || s.Status().Phase != PhaseDraining {
			t.Fatalf("at once: %+v, %v", r, err)
		}
		short, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		r, err = s.Follow(short, asked.Restart, r.Revision)
		if err != nil || r.Took != 10*time.Second {
			t.Errorf("nothing new for 10s: after %v, %v", r.Took, err)
		}
		r, err = s.Follow(t.Context(), asked.Restart, r.Revision)
		if err != nil || r.Took != time.Minute {
			t.Errorf("something new comes after %v, %v; want 1m0s", r.Took, err)
		}
		h.end(s)
		if r, err = s.Follow(t.Context(), asked.Restart, r.Revision); err != nil || r.Result == Underway {
			t.Errorf("after the end: %v, %v", r.Result, err)
		}
		if _, err := s.Restart(t.Context(), operator); !errors.Is(err, ErrLeaving) {
			t.Errorf("a restart after the end: %v", err)
		}
	})
}

func TestTheWorkerIsNotRestartedForOurSake(t *testing.T) {
	within(t, func(t *testing.T, h *host) {
		h.run()
		h.pass(time.Second)
		for range 10 {
			h.arrive(time.Hour)
			h.kill()
			h.arrive(time.Hour) // the kernel's backlog holds it
			s := h.run()
			h.pass(time.Minute)
			if status := s.Status(); status.Life != 1 || status.State != Serving || len(h.gate.waiting) != 0 {
				t.Fatalf("the next runner: life %d %v, %d wait", status.Life, status.State, len(h.gate.waiting))
			}
		}
		h.kill()
		if lives := h.alive(); len(lives) != 1 {
			t.Errorf("lives %v are alive, want one", lives)
		}
		h.lives[1].end(Exit{})
	})
}

func TestARestartInterruptedByOurDeathIsFinished(t *testing.T) {
	for _, phase := range []Phase{PhaseDraining, PhaseStopping, PhaseReclaiming, PhaseStarting} {
		t.Run(phase.String(), func(t *testing.T) {
			within(t, func(t *testing.T, h *host) {
				h.behave = func(Life) behaviour {
					return behaviour{warmup: 5 * time.Second, grace: 5 * time.Second, orphan: 5 * time.Second}
				}
				s := h.run()
				h.pass(time.Minute)
				h.arrive(5 * time.Second)
				if _, err := s.Restart(t.Context(), operator); err != nil {
					t.Fatal(err)
				}
				for s.Status().Phase != phase {
					h.pass(time.Second)
				}
				h.kill()
				s = h.run()
				h.arrive(5 * time.Second)
				h.pass(time.Minute)
				if status := s.Status(); status.Life != 2 || status.State != Serving {
					t.Errorf("then: life %d %v", status.Life, status.State)
				}
				if len(h.kept) != 1 || h.kept[0].Result != Done {
					t.Errorf("the journal has %+v", h.kept)
				}
				h.end(s)
				if h.gate.cut != 0 || h.gate.done != 2 {
					t.Errorf("%d cut, %d done; want 0, 2", h.gate.cut, h.gate.done)
				}
			})
		})
	}
}

func TestALifeThatCantBeNotedIsNotStarted(t *testing.T) {
	within(t, func(t *testing.T, h *host) {
		h.storeErr = errors.New("no memory")
		s := h.run()
		h.pass(500 * time.Millisecond)
		if status := s.Status(); len(h.lives) != 0 || !strings.Contains(status.LastError, "no memory") {
			t.Errorf("%d lives, %q", len(h.lives), status.LastError)
		}
		h.set(func() { h.storeErr = nil })
		h.pass(time.Minute)
		if s.Status().State != Serving {
			t.Errorf("once it can be noted: %v", s.Status().State)
		}
		h.end(s)
	})
}

func TestAnAccountThatCouldNotBeKeptIsKeptByTheNextRunner(t *testing.T) {
	within(t, func(t *testing.T, h *host) {
		h.keepErr = errors.New("no space left on device")
		s := h.run()
		h.pass(time.Second)
		h.restarted(s, operator)
		synctest.Wait()
		if got := s.Status().LastError; !strings.Contains(got, "no space left") {
			t.Errorf("it says %q", got)
		}
		h.kill()
		h.set(func() { h.keepErr = nil })
		s = h.run()
		h.pass(time.Second)
		if len(h.kept) != 1 || h.kept[0].ID != 1 || h.kept[0].Result != Done {
			t.Errorf("the journal has %+v", h.kept)
		}
		h.end(s)
	})
}

func TestProgressIsShownAndDoesNotFlood(t *testing.T) {
	within(t, func(t *testing.T, h *host) {
		h.behave = func(Life) behaviour { return behaviour{warmup: time.Minute, lines: 100_000} }
		s := h.run()
		h.pass(time.Second)
		if got := s.Status().Progress; got != "Loading weights 100000/100000" {
			t.Errorf("progress: %q", got)
		}
		if h.stores > 5 {
			t.Errorf("100000 lines made %d records", h.stores)
		}
		h.end(s)
	})
}

func TestProgressIsToldOnceUntilItIsHeard(t *testing.T) {
	told := 0
	p := &progress{tell: func() { told++ }}
	for range 3 {
		for range 1000 {
			p.note("Loading")
		}
		p.heard()
	}
	if told != 3 {
		t.Errorf("3000 notes, heard 3 times, were told %d times", told)
	}
}

func TestAQuestionIsWithdrawnWhenItsStateIsLeft(t *testing.T) {
	within(t, func(t *testing.T, h *host) {
		h.behave = func(Life) behaviour { return behaviour{warmup: 24 * time.Hour, deaf: true} }
		s := h.run()
		h.pass(time.Second)
		if n := h.questions(1); n != 1 {
			t.Errorf("%d questions while it warms up, want 1", n)
		}
		h.pass(s.options.Limits.StartDeadline)
		if n := h.questions(1); s.Status().State != Terminating || n != 0 {
			t.Errorf("%d questions in %v, want 0 in terminating", n, s.Status().State)
		}
		h.end(s)
	})
}

func TestAWatchThatFailsIsTriedAgain(t *testing.T) {
	within(t, func(t *testing.T, h *host) {
		h.run()
		h.pass(time.Second)
		h.kill()
		h.set(func() { h.lives[1].waitErrs = 3 })
		s := h.run()
		h.pass(time.Minute)
		if got := s.Status().LastError; got != "wait for life 1: no such pidfd" {
			t.Errorf("it says %q", got)
		}
		h.lives[1].end(Exit{Known: true, Code: 1})
		h.pass(time.Minute)
		if status := s.Status(); status.Life != 2 || status.LastExit != "life 1 exited 1" {
			t.Errorf("after the exit: life %d, %q", status.Life, status.LastExit)
		}
		h.end(s)
	})
}

func TestARecordThatCantBeReadIsNotGuessedAt(t *testing.T) {
	h := newHost(t)
	r := &runner{h: h}
	h.record = []byte("nonsense")
	if s, err := New(Options{Record: r, Clock: h.clock, Limits: DefaultLimits()}); s != nil || err == nil {
		t.Errorf("New gave %v, %v", s, err)
	}
}

func TestBadLimitsAreAllNamed(t *testing.T) {
	err := Limits{Drain: -1, CrashesPerHour: MaxCrashes}.Check()
	if err == nil {
		t.Fatal("they were taken")
	}
	for _, want := range []string{"start deadline", "stop grace", "backoff min", "drain is -1ns", "crashes per hour is 60"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q doesn't name %s", err, want)
		}
	}
	if err := DefaultLimits().Check(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
}

func TestRestartNumbersGoOnFromTheJournal(t *testing.T) {
	within(t, func(t *testing.T, h *host) {
		s := h.run(func(o *Options) { o.Restarts = 41 })
		h.pass(time.Second)
		if r := h.restarted(s, operator); r.ID != 42 {
			t.Errorf("the restart is %d, want 42", r.ID)
		}
		h.end(s)
	})
}

func TestAnUnwillingWorker(t *testing.T) {
	for _, c := range []struct {
		name string
		does behaviour
		took time.Duration // a restart of it
	}{
		{name: "ignores TERM", does: behaviour{deaf: true}, took: 30 * time.Second},
		{name: "leaves a child behind", does: behaviour{orphan: time.Hour}, took: 15 * time.Second},
		{name: "takes its time", does: behaviour{grace: 10 * time.Second}, took: 10 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			within(t, func(t *testing.T, h *host) {
				h.behave = func(Life) behaviour { return c.does }
				s := h.run()
				h.pass(time.Second)
				if r := h.restarted(s, operator); r.Result != Done || r.Took != c.took {
					t.Errorf("its restart is %v after %v, want done after %v", r.Result, r.Took, c.took)
				}
				h.end(s)
			})
		})
	}
}

func TestAWorkerThatNeverStarts(t *testing.T) {
	for _, c := range []struct {
		does behaviour
		says string
	}{
		{behaviour{noStart: errors.New("vllm: no such file")}, "vllm: no such file"},
		{behaviour{crash: time.Second, warmup: time.Minute}, "exited 1 after 1s: CUDA out of memory"},
		{behaviour{notReady: errors.New("port 8001 belongs to nginx")}, "port 8001 belongs to nginx"},
	} {
		t.Run(c.says, func(t *testing.T) {
			within(t, func(t *testing.T, h *host) {
				h.behave = func(Life) behaviour { return c.does }
				s := h.run()
				h.arrive(time.Second)
				h.pass(time.Hour)
				status := s.Status()
				want := fmt.Sprintf("halted after 21 crashes within an hour; the last: start life 21: %s", c.says)
				if status.State != Halted || status.Halted != want {
					t.Errorf("%v: %q, want %q", status.State, status.Halted, want)
				}
				if h.gate.denied != 1 {
					t.Error("the stream that waited still does")
				}
				if _, err := s.Restart(t.Context(), RestartOptions{Reason: health.Unhealthy}); err != Refusal(want) {
					t.Errorf("a restart that no person asks for: %v", err)
				}
				h.set(func() { h.behave = func(Life) behaviour { return behaviour{} } })
				if r := h.restarted(s, operator); r.Result != Done {
					t.Errorf("a person's restart: %v", r.Result)
				}
				h.end(s)
			})
		})
	}
}

// Why a start failed is said as it was when that was found, once: not with what the worker says about being stopped for it.
func TestAStartThatNeverGetsReadySaysWhatWasMissing(t *testing.T) {
	within(t, func(t *testing.T, h *host) {
		h.behave = func(Life) behaviour {
			return behaviour{warmup: 24 * time.Hour, lines: 1, lacks: "127.0.0.1:8001: connection refused", prints: []string{"Uvicorn on 8002"}, grace: time.Second}
		}
		s := h.run()
		h.pass(time.Minute)
		if got, want := s.Status().Progress, "Loading weights 1/1; 127.0.0.1:8001: connection refused"; got != want {
			t.Errorf("meanwhile: %q, want %q", got, want)
		}
		h.pass(s.options.Limits.StartDeadline)
		want := "start life 1: not ready, and no progress for 15m0s: 127.0.0.1:8001: connection refused: Uvicorn on 8002"
		var told []string
		h.set(func() {
			for _, c := range h.changes {
				if c.Why != "" {
					told = append(told, c.Why)
				}
			}
		})
		if len(told) != 1 || told[0] != want {
			t.Errorf("told %q, want %q once", told, want)
		}
		h.end(s)
	})
}
