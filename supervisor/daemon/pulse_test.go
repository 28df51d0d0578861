package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"autoglm-sidecar/health/probe"
	"autoglm-sidecar/health/rules"
	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/relay"
	"autoglm-sidecar/supervisor"
	"autoglm-sidecar/supervisor/config"
)

// ward is a worker under a pulse, in fake time: what a probe gets for an answer, how its streams are, and what was asked
// for on its account.
type ward struct {
	*pulse
	began time.Time

	mu       sync.Mutex // guards everything that follows
	status   supervisor.Status
	ills     map[string]error // by kind of probe
	takes    map[string]time.Duration
	asked    map[string]int
	progress relay.Progress // Silence and Heard are reckoned from lastByte
	lastByte time.Duration
	counts   rules.Ends
	wishes   []string
	refuse   error
	looking  func() // called when the streams are looked at
}

// admit puts a worker under a pulse with probes (tcp, if none is said) until the test's bubble ends it.
func admit(t *testing.T, probes ...config.PulseProbe) *ward {
	w := &ward{
		began: time.Now(), ills: map[string]error{}, takes: map[string]time.Duration{}, asked: map[string]int{},
		status: supervisor.Status{State: supervisor.Serving, Phase: supervisor.PhaseServing, Life: 7, Upstream: supervisor.Upstream{Network: "tcp", Address: "worker"}},
	}
	var r config.Run
	r.Pulse = config.DefaultParts().Pulse
	r.Pulse.Probes = probes
	r.Probe = config.Probe{Kind: "tcp"}
	w.pulse = &pulse{
		Pulse: r.Pulse, life: w, streams: w.streamsNow, ends: w.endsNow, ask: w.question, ready: r.Probe,
		clock: w.clockNow, count: arena.OnHeap(1).Pulse(), log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	w.prepare(r.PulseProbes(), r.Witness())
	return w
}

// during runs the pulse for so long, with the given steps after their times.
func (w *ward) during(d time.Duration, then ...func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		w.run(ctx)
		close(ended)
	}()
	time.Sleep(d)
	for _, step := range then {
		step()
	}
	cancel()
	<-ended
}

// after changes the ward.
func (w *ward) after(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

func (w *ward) clockNow() time.Duration { return time.Hour + time.Since(w.began) }

func (w *ward) Status() supervisor.Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.status
}

func (w *ward) Restart(_ context.Context, o supervisor.RestartOptions) (supervisor.Asked, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wishes = append(w.wishes, fmt.Sprintf("%v at %v of life %d by %s, now %v: %s", o.Reason, time.Since(w.began).Round(time.Second), o.Life, o.By, o.Now, o.Why))
	if w.refuse == nil {
		w.status.State = supervisor.Draining
	}
	return supervisor.Asked{Restart: 1}, w.refuse
}

func (w *ward) streamsNow(life int64, _ time.Duration) relay.Progress {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.looking != nil {
		w.looking()
	}
	p := w.progress
	p.Life = life
	p.Silence = time.Since(w.began) - w.lastByte
	if w.lastByte > 0 {
		p.Heard = int64(time.Hour + w.lastByte)
	}
	return p
}

func (w *ward) endsNow() rules.Ends {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.counts
}

func (w *ward) question(p config.PulseProbe, _ supervisor.Status) probe.Probe {
	return func(ctx context.Context) error {
		w.mu.Lock()
		err, takes := w.ills[p.Kind], w.takes[p.Kind]
		w.asked[p.Kind]++
		w.mu.Unlock()
		select {
		case <-time.After(takes):
			return err
		case <-ctx.Done():
			return probe.ErrNoAnswer
		}
	}
}

// questions is how many of a kind it was asked.
func (w *ward) questions(kind string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked[kind]
}

func (w *ward) wished(t *testing.T, want ...string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.wishes) != len(want) {
		t.Fatalf("wished for %q, want %q", w.wishes, want)
	}
	for i := range want {
		if !strings.HasPrefix(w.wishes[i], want[i]) {
			t.Errorf("wished for %q, want %q", w.wishes[i], want[i])
		}
	}
}

// inBubble runs f in fake time.
func inBubble(t *testing.T, f func(t *testing.T)) { t.Helper(); synctest.Test(t, f) }

func httpProbe() config.PulseProbe {
	p := config.DefaultPulseProbe()
	p.Kind, p.Path, p.Jitter = "http", "/health", 0
	return p
}

func TestAWellWorkerIsLeftAlone(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := admit(t)
		w.during(10*time.Minute, func() {
			if v, _ := w.Health(); v.Level.String() != "well" || len(v.Warnings) != 0 || v.Life != 7 {
				t.Errorf("got %+v", v)
			}
		})
		w.wished(t)
		if n := w.questions("generate"); n != 0 {
			t.Errorf("it was asked for %d tokens, and nobody suspects it", n)
		}
		if n := w.questions("tcp"); n < 55 || n > 65 {
			t.Errorf("it was asked %d times in 10 minutes, every 10 s", n)
		}
		if w.count.Passed[arena.ProbeTCP].Load() != int64(w.questions("tcp")) || w.count.Failed[arena.ProbeTCP].Load() != 0 {
			t.Errorf("counted %d passes of %d", w.count.Passed[arena.ProbeTCP].Load(), w.questions("tcp"))
		}
	})
}

func TestADeadPageWithoutTrafficIsFound(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := admit(t, httpProbe())
		w.during(5*time.Minute,
			func() { w.after(func() { w.ills["http"] = &probe.StatusError{Code: 503} }) },
			func() { time.Sleep(29 * time.Second) },
			func() { time.Sleep(12 * time.Second) })
		w.wished(t, "unhealthy at 5m")
		if !strings.Contains(w.wishes[0], "of life 7 by pulse, now false: http:/health failed 3 times in a row: answered 503") {
			t.Errorf("got %q", w.wishes[0])
		}
	})
}

// TestABusyWorkerIsNotStopped: every probe fails for an hour, a token asked for too, and a stream gets a byte every 50 s.
func TestABusyWorkerIsNotStopped(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := admit(t, httpProbe())
		w.progress = relay.Progress{Open: 64, Answering: 64}
		w.lastByte = time.Millisecond
		steps := []func(){func() {
			w.after(func() { w.ills["http"], w.ills["generate"] = probe.ErrNoAnswer, probe.ErrNoAnswer })
		}}
		for range 72 {
			steps = append(steps, func() {
				w.after(func() { w.lastByte = time.Since(w.began) })
				time.Sleep(50 * time.Second)
			})
		}
		steps = append(steps, func() {
			v, since := w.Health()
			if !v.Vetoed || len(v.Warnings) != 2 || time.Since(since[0]) < 50*time.Minute {
				t.Errorf("people are to see why it is left alone; got %+v since %v", v, since)
			}
		})
		w.during(time.Minute, steps...)
		w.wished(t)
		if w.count.Vetoed.Load() != 1 || w.count.Sick.Load() != 0 {
			t.Errorf("one veto was to be counted and no verdict; got %d, %d", w.count.Vetoed.Load(), w.count.Sick.Load())
		}
	})
}

// The last look comes right before the word: the byte that comes between a verdict and the wish saves the life.
func TestAByteAtTheLastMoment(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := admit(t, httpProbe())
		w.progress = relay.Progress{Open: 1, Answering: 1}
		w.lastByte = time.Second
		w.ills["http"] = probe.ErrNoAnswer
		looks := map[time.Duration]int{}
		w.looking = func() { // the second look within a second is the last one
			now := time.Since(w.began).Truncate(time.Second)
			if looks[now]++; looks[now] == 2 {
				w.lastByte = time.Since(w.began)
			}
		}
		w.judge.Begin(0, 0)
		w.count.FitLife.Store(7)
		w.count.Fit.Store(1) // a runner before this one saw it pass
		w.during(20 * time.Minute)
		w.wished(t)
		second := 0
		for _, n := range looks {
			if n == 2 {
				second++
			}
		}
		if second == 0 {
			t.Error("no verdict called for a last look: the test shows nothing")
		}
	})
}

func TestAWorkerThatHangs(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := admit(t)
		w.progress = relay.Progress{Open: 3, Answering: 2, Waiting: 1}
		w.lastByte = 10 * time.Minute
		w.takes["generate"] = time.Hour
		w.during(10*time.Minute-time.Second, func() { time.Sleep(2*time.Minute + 4*time.Second) }, func() {
			if n := w.questions("generate"); n != 1 {
				t.Errorf("two minutes after the last byte it was asked for %d tokens, want one", n)
			}
		}, func() { time.Sleep(3 * time.Minute) })
		// 30 s for each answer, and each turn comes every 10 s: three answers take 90 s and some seconds at most.
		w.wished(t, "hung at 13m")
		if !strings.Contains(w.wishes[0], "of life 7 by pulse, now true: 2 streams are open and none got a byte for ") ||
			!strings.Contains(w.wishes[0], "generate:/v1/completions (as a witness) failed 3 times in a row: no answer in time") {
			t.Errorf("got %q", w.wishes[0])
		}
		if w.count.Hung.Load() != 1 {
			t.Errorf("counted %d", w.count.Hung.Load())
		}
	})
}

// A long prompt is no hang, and neither are silent streams of a worker that makes the token it is asked for.
func TestWhatIsNoHang(t *testing.T) {
	for name, progress := range map[string]relay.Progress{
		"all wait for their first byte, within the time of a prompt": {Open: 9, Waiting: 9, LongestWait: 4 * time.Minute},
		"their clients take nothing":                                 {Open: 9},
	} {
		inBubble(t, func(t *testing.T) {
			w := admit(t)
			w.progress = progress
			w.ills["generate"] = probe.ErrNoAnswer
			w.during(time.Hour)
			w.wished(t)
			if n := w.questions("generate"); n != 0 {
				t.Errorf("%s: it was asked for %d tokens", name, n)
			}
		})
	}
	inBubble(t, func(t *testing.T) {
		w := admit(t)
		w.progress = relay.Progress{Open: 9, Answering: 9}
		w.during(time.Hour)
		w.wished(t)
		if n := w.questions("generate"); n < 100 {
			t.Errorf("it was asked for %d tokens in an hour of silence", n)
		}
	})
}

// In mode observe one trouble is one wish; after a freeze it is wished for again.
func TestWhatIsWithheld(t *testing.T) {
	for _, test := range []struct {
		name   string
		refuse error
		want   int
	}{
		{"mode observe", supervisor.ErrObserving, 1},
		{"somebody else's worker", supervisor.ErrNoDriver, 1},
		{"frozen", fmt.Errorf("%w by uid 0", supervisor.ErrFrozen), 2},
	} {
		inBubble(t, func(t *testing.T) {
			w := admit(t, httpProbe())
			w.refuse = test.refuse
			w.status.Frozen.Until = time.Now().Add(time.Hour)
			w.during(5*time.Minute, func() { w.after(func() { w.ills["http"] = probe.ErrNoAnswer }) }, func() { time.Sleep(30 * time.Minute) }, func() {
				w.wished(t, "unhealthy at 5m")
				w.after(func() {
					w.status.Frozen.Until = time.Time{}
					if test.want == 2 {
						w.refuse = nil
					}
				})
				time.Sleep(30 * time.Minute)
			})
			if len(w.wishes) != test.want {
				t.Errorf("%s: wished for %q, want %d", test.name, w.wishes, test.want)
			}
		})
	}
}

// What is wrong again after it was well is another trouble.
func TestTroublesAreCounted(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := admit(t, httpProbe())
		w.refuse = supervisor.ErrObserving
		ill := func() { w.after(func() { w.ills["http"] = probe.ErrNoAnswer }); time.Sleep(2 * time.Minute) }
		well := func() { w.after(func() { delete(w.ills, "http") }); time.Sleep(2 * time.Minute) }
		w.during(2*time.Minute, ill, well, ill, well)
		w.wished(t, "unhealthy", "unhealthy")
	})
}

// While no life serves nobody is asked and nothing is concluded, and what a question to the old life brings is dropped.
func TestOnlyALifeThatServesIsJudged(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := admit(t, httpProbe())
		w.during(5*time.Minute, func() {
			w.after(func() { w.ills["http"] = probe.ErrNoAnswer })
			time.Sleep(25 * time.Second)
			w.after(func() { w.status.State = supervisor.Draining })
			time.Sleep(5 * time.Second)
			asked := w.questions("http")
			time.Sleep(10 * time.Minute)
			if w.questions("http") != asked {
				t.Errorf("asked %d times while it drains", w.questions("http")-asked)
			}
			if v, _ := w.Health(); v.Life != 0 {
				t.Errorf("judged while it drains: %+v", v)
			}
			w.after(func() { w.status.State, w.status.Life = supervisor.Serving, 8 })
			time.Sleep(59 * time.Second)
			w.wished(t)
			time.Sleep(10 * time.Minute)
			w.wished(t) // it has never passed in life 8, so a ninth would hardly be better
		})
	})
}

// The next runner knows which probes have passed in this life, or a page that died with the runner would never be found.
func TestTheNextRunnerKnowsWhatHasPassed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := admit(t, httpProbe())
		w.during(time.Minute)
		next := admit(t, httpProbe())
		next.count = w.count
		next.ills["http"] = probe.ErrNoAnswer
		next.during(2 * time.Minute)
		next.wished(t, "unhealthy at 1m") // not within the first minute
		other := admit(t, httpProbe())
		other.count, other.status.Life = w.count, 8
		other.ills["http"] = probe.ErrNoAnswer
		other.during(10 * time.Minute)
		other.wished(t)
	})
}

// A steady generate probe is the witness too: nobody is asked twice.
func TestAGenerateProbeOfTheSettingsIsTheWitness(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		p := config.DefaultPulseProbe()
		p.Kind, p.Path, p.Jitter, p.Interval, p.Timeout = "generate", "/v1/completions", 0, 20*time.Second, 15*time.Second
		w := admit(t, p)
		w.progress = relay.Progress{Open: 1, Answering: 1}
		w.lastByte = time.Millisecond
		w.during(5*time.Minute, func() { w.after(func() { w.takes["generate"] = time.Hour }); time.Sleep(2 * time.Minute) })
		w.wished(t, "hung at 6m")
		if n := w.questions("generate"); n > 20 {
			t.Errorf("asked %d times in 7 minutes, every 20 s", n)
		}
	})
}
