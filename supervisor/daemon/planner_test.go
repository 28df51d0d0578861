package daemon

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"autoglm-sidecar/gpu"
	"autoglm-sidecar/health"
	"autoglm-sidecar/supervisor"
	"autoglm-sidecar/supervisor/admin"
	"autoglm-sidecar/supervisor/config"
)

// leaks has a life serve and leak, 20 MiB a minute from 60 GiB on, until the forecast has been asked for or so much time is over.
func (r *rig) leaks(life supervisor.Life, at most) {
	r.used[one] = 60 * gpu.GiB
	r.serves(life)
	began := time.Now()
	for time.Since(began) < at.time && len(r.asked()) < at.wishes {
		r.passes(time.Second, func() {
			r.change(func() { r.used[one] = 60*gpu.GiB + gpu.Bytes(time.Since(began).Minutes()*float64(20*gpu.MiB)) })
		})
		if at.each != nil {
			at.each(time.Since(began))
		}
	}
}

type most struct {
	time   time.Duration
	wishes int
	each   func(time.Duration)
}

func (r *rig) asked() []supervisor.RestartOptions {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.wishes)
}

func (r *rig) said() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.bars)
}

// turns a life over: it drains, and the next one serves.
func (r *rig) turnsOver(from supervisor.Life, reason health.Reason, result supervisor.Result) {
	r.change(func() { r.status.State = supervisor.Draining })
	r.changed(supervisor.Change{Life: from, From: supervisor.Serving, To: supervisor.Draining})
	r.look(r.t.Context())
	r.changed(supervisor.Change{Life: from + 1, Ended: true, Restart: supervisor.Restart{ID: 1, From: from, To: from + 1, Reason: reason, Result: result}})
}

func TestALeakIsAskedARestartForOverDeathsOfOurs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.finds(card(one, 0))
		deaths := 0
		r.leaks(7, most{12 * time.Hour, 1, func(d time.Duration) {
			if d/(17*time.Minute) > time.Duration(deaths) {
				deaths++
				r.dies()
				r.finds(card(one, 0))
			}
		}})
		wishes := r.asked()
		if len(wishes) != 1 || deaths < 5 {
			t.Fatalf("%d wishes, %d deaths", len(wishes), deaths)
		}
		w := wishes[0]
		if w.Reason != health.MemoryForecast || w.By != "plan" || w.Life != 7 || w.Now || w.Hasty || !strings.Contains(w.Why, "full in ") {
			t.Errorf("asked for %+v", w)
		}
		curves := r.curves(7)
		if curves != nil {
			t.Errorf("it isn't over, and has %d curves", len(curves))
		}
		r.turnsOver(7, health.MemoryForecast, supervisor.Done)
		r.dies() // whoever writes the ledger asks the next runner
		curves = r.curves(7)
		if len(curves) != 1 || curves[0].GPU != one || len(curves[0].Minutes) != 60 {
			t.Fatalf("its curves are %+v", curves)
		}
		if last := curves[0].Minutes[59]; last.Minute > 0 || last.Minute < -1 || last.FloorMiB < 60<<10 {
			t.Errorf("its last minute is %+v", last)
		}
		if r.plan.State().Forecasted == 0 || len(r.plan.State().Made) != 1 {
			t.Errorf("the plan has forgotten it: %+v", r.plan.State())
		}
	})
}

// full has the worker's memory be full in all but name.
func (r *rig) full(life supervisor.Life) {
	r.used[one] = 60 * gpu.GiB
	r.serves(life)
	r.passes(50*time.Minute, nil)
	r.change(func() { r.used[one] = whole - 300*gpu.MiB })
	r.passes(5*time.Second, nil)
}

func TestFullMemoryIsAskedFor(t *testing.T) {
	for _, c := range []struct {
		name   string
		refuse error
		wishes int // within ten minutes
		logged string
	}{
		{"mode observe", supervisor.ErrObserving, 1, "would have asked"},
		{"a freeze", supervisor.ErrFrozen, 1, "would have asked"},
		{"it is refused", supervisor.Refusal("no"), 10, "and there is none"},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.finds(card(one, 0))
			r.refuse = c.refuse
			if errors.Is(c.refuse, supervisor.ErrFrozen) {
				r.status.Frozen.Until = time.Now().Add(2 * time.Hour)
			}
			r.full(3)
			w := r.asked()
			if len(w) != 1 || w[0].Reason != health.MemoryLimit || !w[0].Hasty || w[0].Life != 3 {
				t.Fatalf("%s: asked for %+v", c.name, w)
			}
			r.passes(10*time.Minute, nil)
			if n := len(r.asked()); n < c.wishes || n > 2*(c.wishes+1) || r.logged(c.logged) != n {
				t.Errorf("%s: %d wishes within ten minutes, want %d; %q is %d times in the log", c.name, n, c.wishes, c.logged, r.logged(c.logged))
			}
			if errors.Is(c.refuse, supervisor.ErrFrozen) {
				r.change(func() { r.status.Frozen.Until, r.refuse = time.Time{}, nil })
				before := len(r.asked())
				r.passes(2*time.Second, nil)
				if w := r.asked(); len(w) == before || w[before].Reason != health.MemoryLimit {
					t.Errorf("the freeze is over: %+v", w[before:])
				}
			}
		})
	}
}

func TestAPostponedRestartIsAskedForLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.finds(card(one, 0))
		r.leaks(3, most{time: 12 * time.Hour, wishes: 1})
		r.changed(supervisor.Change{Life: 3, Ended: true, Restart: supervisor.Restart{ID: 1, From: 3, Reason: health.MemoryForecast, Result: supervisor.Postponed}})
		r.dies() // and the next runner keeps to it
		r.finds(card(one, 0))
		r.passes(14*time.Minute, nil)
		if n := len(r.asked()); n != 1 {
			t.Errorf("%d wishes within 14 minutes", n)
		}
		r.passes(2*time.Minute, nil)
		if n := len(r.asked()); n < 2 {
			t.Errorf("%d wishes within 16 minutes", n)
		}
	})
}

// TestOldMemoryRestartsNobody: the reader was taken away while memory was about to be full.
func TestMemoryThatNobodyReadsRestartsNobody(t *testing.T) {
	for _, kind := range []gpu.SourceKind{gpu.SourceAbsent, gpu.SourceSilent, gpu.SourceReads} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.finds(card(one, 0))
			r.refuse = supervisor.Refusal("no")
			r.full(3)
			r.change(func() { r.state.Kind = kind })
			before := len(r.asked())
			for range 600 { // and says no more
				time.Sleep(time.Second)
				r.look(t.Context())
			}
			if n := len(r.asked()) - before; n > 0 {
				t.Errorf("%s: %d restarts were asked for by what nobody reads", kind, n)
			}
		})
	}
}

// signalled are the texts of the signals with a code that are bad.
func (r *rig) signalled(code health.Code) (texts []string) {
	g, now := r.planner.signs()
	for _, s := range g.Signals(1, now) {
		if s.Code == code && s.Bad {
			texts = append(texts, s.Text)
		}
	}
	return texts
}

// latches has a restart for memory give none back.
func (r *rig) latches() {
	r.full(1)
	r.turnsOver(1, health.MemoryLimit, supervisor.Done)
	r.serves(2)
	r.passes(50*time.Minute, nil) // it begins where the one before has ended
}

func TestARestartThatGaveNoMemoryBackIsNotRepeated(t *testing.T) {
	for name, word := range map[string]func(*rig){
		"start": func(r *rig) { r.cleared() },
		"restart": func(r *rig) {
			r.changed(supervisor.Change{Life: 3, Ended: true, Restart: supervisor.Restart{ID: 2, From: 2, To: 3, Reason: health.Operator, Result: supervisor.Done}})
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.finds(card(one, 0))
			r.latches()
			if got := r.signalled(health.MemoryLatched); len(got) != 1 || !strings.Contains(got[0], "before the restart") {
				t.Fatalf("people are told %q", got)
			}
			shown := r.planned(r.status, r.view())
			if shown == nil || !slices.Equal(shown.Latched, []string{one}) {
				t.Errorf("status has %+v", shown)
			}
			r.dies()
			r.finds(card(one, 0))
			if got := r.signalled(health.MemoryLatched); len(got) != 1 {
				t.Errorf("after a death of ours people are told %q", got)
			}
			word(r)
			if got := r.signalled(health.MemoryLatched); got != nil {
				t.Errorf("a person's %s: people are told %q", name, got)
			}
			if name == "start" {
				r.dies() // at once
				if r.plan.Latched() != nil {
					t.Error("the next runner hasn't heard the person's word")
				}
			}
		})
	}
}

func fault(xid uint64) gpu.Line { return gpu.Line{Event: &gpu.Event{Device: one, Xid: xid}} }

func TestABarIsSaidOnceAndLifted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.finds(card(one, 0))
		r.serves(1)
		r.passes(5*time.Second, nil)
		if got := r.said(); got != nil {
			t.Errorf("all is well: %q", got)
		}
		r.take(fault(79))
		r.passes(10*time.Second, nil)
		if got := r.said(); len(got) != 1 || !strings.Contains(got[0], "Xid 79") || r.logged("no life is started from now on") != 1 {
			t.Errorf("said %q", got)
		}
		r.cleared()
		r.passes(10*time.Second, nil)
		if got := r.said(); len(got) != 2 || got[1] != "" {
			t.Errorf("a person started it: said %q", got)
		}
	})
}

// TestABarOutlivesUs, by whatever it is, whether or not somebody reads then.
func TestABarOutlivesUs(t *testing.T) {
	lost := func(trouble gpu.Trouble) func(*rig) {
		return func(r *rig) {
			for range 3 {
				r.take(gpu.Line{Sample: &gpu.Sample{Device: one, Trouble: trouble}})
			}
		}
	}
	for name, harm := range map[string]func(*rig){
		"a fault":       func(r *rig) { r.take(fault(79)) },
		"a lost device": lost(gpu.Lost),
		"a reset":       lost(gpu.ResetRequired),
		"an old driver": func(r *rig) {
			r.take(gpu.Line{System: &gpu.System{Library: gpu.Reads, Driver: "470.1", Devices: []gpu.Device{card(one, 0)}}})
		},
		"an old driver that goes": func(r *rig) {
			r.take(gpu.Line{System: &gpu.System{Library: gpu.Reads, Driver: "470.1", CUDA: 11040, Devices: []gpu.Device{card(one, 0)}}})
			r.look(r.t.Context())
			r.take(gpu.Line{System: &gpu.System{Library: gpu.NoDriver}})
		},
	} {
		for _, kind := range []gpu.SourceKind{gpu.SourceAbsent, gpu.SourceStarts, gpu.SourceReads} {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(run *config.Run) { run.GPU.MinimumDriver, run.GPU.MinimumCUDA = "550", "12.4" })
				r.finds(card(one, 0))
				r.serves(1)
				harm(r)
				r.look(t.Context())
				if got := r.said(); len(got) != 1 || got[0] == "" {
					t.Fatalf("%s: said %q", name, got)
				}
				r.status.Barred = r.bars[0][:min(len(r.bars[0]), 60)] // the record is short
				r.change(func() { r.state.Kind = kind })
				for range 3 {
					r.dies()
					for range 30 {
						time.Sleep(time.Second)
						r.look(t.Context())
					}
				}
				if got := r.said(); len(got) != 1 {
					t.Errorf("%s, and then the reader is %s: said %q", name, kind, got)
				}
				if r.devices.bar() == "" {
					t.Errorf("%s, and then the reader is %s: a life would begin", name, kind)
				}
			})
		}
	}
}

// TestABarOfWhichNothingIsKnown: the record has it, and what was known of it is lost. It is lifted when all devices were seen to be
// well, and not before.
func TestABarOfWhichNothingIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.status.Barred = "GPU 0: it is broken"
		r.state.Kind = gpu.SourceAbsent
		r.look(t.Context())
		r.state.Kind = gpu.SourceReads
		r.look(t.Context())
		r.finds(card(one, 0))
		r.look(t.Context())
		r.take(gpu.Line{Sample: &gpu.Sample{Device: one, Trouble: gpu.Unreadable}})
		r.look(t.Context())
		if got := r.said(); got != nil {
			t.Fatalf("nobody has seen it: said %q", got)
		}
		r.passes(3*time.Second, nil)
		if got := r.said(); !slices.Equal(got, []string{""}) {
			t.Errorf("it is well: said %q", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.status.Barred = "GPU 0: it is broken"
		r.state.Kind = gpu.SourceAbsent
		r.look(t.Context())
		r.cleared()
		r.look(t.Context())
		if got := r.said(); !slices.Equal(got, []string{""}) {
			t.Errorf("a person started it: said %q", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(run *config.Run) { run.GPU.Reader = config.ReaderOff })
		r.status.Barred = "GPU 0: it is broken"
		r.look(t.Context())
		if got := r.said(); !slices.Equal(got, []string{""}) {
			t.Errorf("nobody is to look: said %q", got)
		}
	})
}

// TestADeviceThatFellOffTheBusIsNotListed, and bars on.
func TestADeviceThatFellOffTheBusBarsOn(t *testing.T) {
	for _, named := range [][]string{nil, {one}} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, func(run *config.Run) { run.GPU.Devices = named })
			r.finds(card(one, 0), card(two, 1))
			r.serves(1)
			r.take(fault(79))
			r.look(t.Context())
			r.finds(card(two, 0))
			r.passes(10*time.Second, nil)
			if got := r.said(); len(got) != 1 {
				t.Errorf("devices %v: said %q", named, got)
			}
		})
	}
}

// TestADeviceThatIsThereBarsOnWhereAnotherIsGone: then the settings name one that there isn't, and which are the worker's isn't known.
func TestADeviceThatIsThereBarsOnWhereAnotherIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(run *config.Run) { run.GPU.Devices = []string{one, two} })
		r.finds(card(one, 0), card(two, 1))
		r.serves(1)
		r.take(fault(79))
		r.look(t.Context())
		r.finds(card(one, 0))
		r.look(t.Context())
		r.finds(card(one, 0), card(two, 1))
		r.passes(10*time.Second, nil)
		if got := r.said(); len(got) != 1 {
			t.Errorf("said %q", got)
		}
	})
}

// TestABarOfADeviceThatIsNotOursAfterAll is lifted.
func TestABarOfADeviceThatIsNotOursAfterAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.environment = []string{"CUDA_VISIBLE_DEVICES=0"}
		r.finds(card(one, 0), card(two, 1))
		r.serves(1)
		r.take(fault(79))
		r.look(t.Context())
		r.take(gpu.Line{Processes: &gpu.Processes{Device: two, Processes: []gpu.Process{{PID: 10, Bytes: gpu.GiB}}}})
		r.look(t.Context())
		if got := r.said(); len(got) != 2 || got[1] != "" {
			t.Errorf("said %q", got)
		}
	})
}

// TestTheNextRunnerKnowsWhyBeforeTheRecordHasIt, however short the time between.
func TestTheNextRunnerKnowsWhyBeforeTheRecordHasIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.finds(card(one, 0))
		r.serves(1)
		r.look(t.Context())
		r.take(fault(79))
		said := ""
		r.planner.bar = func(why string) {
			said = why
			r.dies() // right now
		}
		p := r.planner
		p.setBar(r.status)
		if said == "" || r.devices.bar() == "" {
			t.Errorf("%q was said, and the next runner knows %q", said, r.devices.bar())
		}
	})
}

func TestADriverThatIsTooOld(t *testing.T) {
	for _, c := range []struct {
		name   string
		system gpu.System
		too    config.TooOld
		bar    []string // its words
		told   bool
	}{
		{"refuse", gpu.System{Library: gpu.Reads, Driver: "470.82", CUDA: 11040}, config.TooOldRefuse, []string{"470.82", "550.54", "11.4", "12.4"}, true},
		{"warn", gpu.System{Library: gpu.Reads, Driver: "470.82", CUDA: 11040}, config.TooOldWarn, nil, true},
		{"new enough", gpu.System{Library: gpu.Reads, Driver: "550.54.15", CUDA: 12040}, config.TooOldRefuse, nil, false},
		{"unknown", gpu.System{Library: gpu.Reads}, config.TooOldRefuse, nil, false},
		{"nothing is read", gpu.System{Library: gpu.NoDriver}, config.TooOldRefuse, nil, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, func(run *config.Run) {
				run.GPU.MinimumDriver, run.GPU.MinimumCUDA, run.GPU.TooOld = "550.54", "12.4", c.too
			})
			r.take(gpu.Line{System: &c.system})
			r.look(t.Context())
			bar := strings.Join(r.said(), "|")
			if (bar == "") != (c.bar == nil) || strings.Contains(bar, "\n") {
				t.Errorf("%s: said %q", c.name, bar)
			}
			for _, word := range c.bar {
				if !strings.Contains(bar, word) {
					t.Errorf("%s: said %q, want %s in it", c.name, bar, word)
				}
			}
			if got := r.signalled(health.GPUTooOld); (got != nil) != c.told {
				t.Errorf("%s: people are told %q", c.name, got)
			}
		})
	}
}

// TestAKillOfOursIsKnownHoweverShort: the driver tells Xid 45 of it.
func TestAKillOfOursIsKnownHoweverShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.finds(card(one, 0))
		r.serves(1)
		r.look(t.Context())
		r.changed(supervisor.Change{Life: 1, From: supervisor.Serving, To: supervisor.Reclaiming})
		r.changed(supervisor.Change{Life: 1, From: supervisor.Reclaiming, To: supervisor.BackingOff})
		r.take(fault(45))
		if got := r.signalled(health.GPUNote); got != nil {
			t.Errorf("people are told %q", got)
		}
	})
}

func TestWhatIsToldLateIsNotTakenForTheNextLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.finds(card(one, 0))
		r.full(1)
		r.serves(2)
		r.passes(2*time.Minute, nil)
		r.changed(supervisor.Change{Life: 1, From: supervisor.Serving, To: supervisor.Draining}) // a slow disk was in its way
		if r.curves(1) != nil || len(r.last.Devices) != 0 {
			t.Errorf("life 1 has the curve of life 2: %+v", r.last)
		}
	})
}

func TestWhatCannotBeKeptIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.finds(card(one, 0))
		r.devices.keep = func([]byte) error { return errors.New("no room") }
		r.passes(30*time.Minute, nil)
		if n := r.logged("is not kept"); n != 1 {
			t.Errorf("it was said %d times", n)
		}
	})
}

func TestDevicesAreShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.devices.environment = []string{"CUDA_VISIBLE_DEVICES=" + one + "," + two}
		r.finds(card(one, 3), gpu.Device{UUID: two, Index: 1, Name: "H100", Total: whole})
		g := deviceOf(r.view().Looks[0], r.view().Now)
		if g.Index != 1 || g.UUID != two || g.Name != "H100" || g.TotalBytes != int64(whole) || g.WorkerBytes != -1 || g.OthersBytes != -1 || g.BaselineBytes != -1 ||
			g.Mode != "" || g.Stage != "" || g.Sampled() || g.ClockReasons != nil || g.Recovery != "" || g.SlopeBytesPerMinute != nil {
			t.Errorf("one that nobody has looked at: %+v", g)
		}
		r.unseen[one] = 500 * gpu.MiB
		r.serves(1)
		r.passes(2*time.Minute, func() { r.used[one] = 60 * gpu.GiB })
		r.take(gpu.Line{Condition: &gpu.Condition{Device: one, Recovery: new(gpu.RecoverReset), ClockReasons: new(uint64(0)), Uncorrected: new(uint64(4))}})
		r.take(fault(31))
		g = deviceOf(r.view().Looks[1], r.view().Now)
		want := admin.GPU{
			Index: 3, UUID: one, Mode: "process", TotalBytes: int64(whole), UsedBytes: int64(60*gpu.GiB + 500*gpu.MiB), FreeBytes: int64(20*gpu.GiB - 500*gpu.MiB),
			WorkerBytes: int64(60 * gpu.GiB), OthersBytes: int64(500 * gpu.MiB), BaselineBytes: int64(500 * gpu.MiB), NeedBytes: int64(63 * gpu.GiB),
		}
		if g.Mode != want.Mode || g.UsedBytes != want.UsedBytes || g.FreeBytes != want.FreeBytes || g.WorkerBytes != want.WorkerBytes || g.OthersBytes != want.OthersBytes ||
			g.BaselineBytes != want.BaselineBytes || g.NeedBytes != want.NeedBytes {
			t.Errorf("%+v\nwant\n%+v", g, want)
		}
		if g.Stage != "warming" || g.Contexts != 1 || g.Xids["31"] != 1 || g.Halted == "" || g.ClockReasons == nil || *g.UncorrectedECC != 4 || g.Recovery == "" || g.RowsFailed != nil {
			t.Errorf("%+v", g)
		}
		if len(g.Curve) != 2 || g.Curve[1].MinutesAgo != 1 {
			t.Errorf("its curve is %+v", g.Curve)
		}
	})
}

func TestWhatIsPlannedIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		if p := r.planned(r.status, r.view()); p != nil {
			t.Errorf("there is nothing to plan: %+v", p)
		}
		r.finds(card(one, 0))
		if p := r.planned(r.status, r.view()); p == nil || !p.WindowOpen || p.MaxAgeSeconds != 0 {
			t.Errorf("by the memory alone: %+v", p)
		}
		r.planner.bar = nil
		if p := r.planned(r.status, r.view()); p != nil {
			t.Errorf("the worker is somebody else's to restart: %+v", p)
		}
		aged := newRig(t, func(run *config.Run) { run.MaxAge, run.MaxAgeJitter = time.Hour, 0 })
		if p := aged.planned(aged.status, aged.view()); p == nil || p.MaxAgeSeconds != 3600 {
			t.Errorf("by its age: %+v", p)
		}
		aged.serves(1)
		aged.passes(59*time.Minute, nil)
		if w := aged.asked(); len(w) != 0 {
			t.Errorf("too early: %+v", w)
		}
		aged.passes(2*time.Minute, nil)
		if w := aged.asked(); len(w) == 0 || w[0].Reason != health.Age {
			t.Errorf("it is old: %+v", w)
		}
	})
}
