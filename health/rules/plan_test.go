package rules

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"autoglm-sidecar/gpu"
	"autoglm-sidecar/health"
	"autoglm-sidecar/health/timetable"
)

const (
	noon  = 100 * time.Hour // on the plan's clock
	night = "0 3 * * *"     // two hours, from 15 h after noon
)

// clock is a time since noon as people say it: "15:04" is 3:04 of the next morning.
func clock(t *testing.T, text string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(strings.Replace(text, ":", "h", 1) + "m")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func windows(t *testing.T, cron ...string) timetable.Timetable {
	t.Helper()
	var all []timetable.Window
	for _, c := range cron {
		all = append(all, timetable.Window{Cron: c, For: 2 * time.Hour, Zone: "UTC"})
	}
	table, err := timetable.Parse(all)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// at is the moment so long after a noon, in life 7, whose age of two hours was reached at ten.
func at(since time.Duration) Moment {
	return Moment{
		Now: noon + since, Wall: time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC).Add(since), Life: 7, Age: since + 4*time.Hour, Takes: 5 * time.Minute,
	}
}

// fullAt is a device whose memory will be full so long after noon.
func fullAt(full time.Duration) func(time.Duration) GPU {
	return func(now time.Duration) GPU { return leaking(0.5, max(time.Minute, full-now)) }
}

func always(d GPU) func(time.Duration) GPU { return func(time.Duration) GPU { return d } }

// Loads. All but busier have an hour before noon like the one after it.
func constant(n int) func(time.Duration) int { return func(time.Duration) int { return n } }

func busier(now time.Duration) int { return 100 + int((now+24*time.Hour)/(10*time.Second)) }

// days is much by day, and least at four in the night, with some chance.
func days() func(time.Duration) int {
	r := rand.New(rand.NewPCG(1, 2))
	return func(now time.Duration) int {
		away := min((now - 16*time.Hour).Abs(), (now + 8*time.Hour).Abs()) // from four o'clock
		return 5 + int(20*away.Hours()) + r.IntN(5)
	}
}

func TestWhenARestartIsWishedFor(t *testing.T) {
	aged := PlanRules{MaxAge: 2 * time.Hour}
	half := func(before func(time.Duration) int, when string, n int) func(time.Duration) int {
		from := clock(t, when)
		return func(now time.Duration) int {
			if now >= from {
				return n
			}
			return before(now)
		}
	}
	for _, test := range []struct {
		name     string
		rules    PlanRules
		windows  []string
		device   func(time.Duration) GPU
		streams  func(time.Duration) int
		takes    time.Duration
		from, to string // it is wished for then; empty: never
		why      string
	}{
		// Ages.
		{"old, and nobody is there", aged, nil, nil, constant(0), 0, "0:00", "0:00", "it has served for 4 h, and may for 2 h; no stream is open"},
		{"old: in the lull of the night, in the window", aged, []string{night}, nil, days(), 0, "15:15", "15:25", "; a quiet moment: "},
		{"old, and at no time busier than at others", aged, nil, nil, constant(256), 0, "0:15", "0:15", "; a quiet moment: 256 streams are open"},
		{"old, and a stream fewer for a moment", aged, []string{night}, nil, half(busier, "15:20", 1), 0, "15:20", "15:20", "; a quiet moment: 1 stream is open"},
		{"old, and nobody is there as the window opens", aged, []string{night}, nil, half(busier, "15:05", 0), 0, "15:05", "15:05", "; no stream is open"},
		{"old, ever busier: when the window closes", aged, []string{night}, nil, busier, 0, "16:58", "16:58", "; its window closes"},
		{"old, and quieter before it closes", aged, []string{night}, nil, half(busier, "16:40", busier(16*time.Hour)), 0, "16:50", "16:50", "; quiet enough: "},
		{"old, ever busier, at any time: a day and an hour", aged, nil, nil, busier, 0, "25:00", "25:01", "; no moment was quiet"},
		{"old, ever busier, and quieter after a day", aged, nil, nil, half(busier, "24:20", busier(23*time.Hour+45*time.Minute)), 0, "24:20", "24:20", "; quiet enough: "},
		{"not yet old", PlanRules{MaxAge: 6 * time.Hour}, nil, nil, constant(0), 0, "2:00", "2:00", "it has served for 6 h, and may for 6 h; "},
		{"of any age", PlanRules{}, nil, nil, constant(0), 0, "", "", ""},

		// Forecasts.
		{"full tomorrow: in the window", PlanRules{}, []string{night}, fullAt(18 * time.Hour), days(), 0, "15:15", "15:25", "full in 2 h "},
		{"full before the window: at a quiet moment now", PlanRules{}, []string{night}, fullAt(9 * time.Hour), constant(256), 0, "0:15", "0:15", " at 9.5 MiB/min; a quiet moment: "},
		{"full before the window, ever busier: when patience ends", PlanRules{}, []string{night}, fullAt(9 * time.Hour), busier, 0, "2:30", "3:00", "; no moment was quiet"},
		{"full before the window, soon, ever busier: while there is time", PlanRules{}, []string{night}, fullAt(time.Hour), busier, 0, "0:50", "0:50", "full in 10 min at 500 MiB/min; it can't wait"},
		{"full before the window, soon, ever busier: when patience ends", PlanRules{}, []string{night}, fullAt(4 * time.Hour), busier, 0, "1:36", "1:36", "; no moment was quiet"},
		{"full within the window", PlanRules{}, []string{night}, fullAt(15*time.Hour + 30*time.Minute), busier, 0, "15:20", "15:20", "full in 10 min at 500 MiB/min; it can't wait"},
		{"full within the window, too soon after it opens", PlanRules{}, []string{night}, fullAt(15*time.Hour + 9*time.Minute), constant(256), 0, "0:15", "0:15", "; a quiet moment: "},
		{"sooner full than a restart takes twice: at once", PlanRules{}, []string{night}, fullAt(time.Hour), busier, 30 * time.Minute, "0:00", "0:00", "full in 1 h at 83 MiB/min; it can't wait"},
		{"not quite so soon", PlanRules{}, []string{night}, fullAt(65 * time.Minute), busier, 30 * time.Minute, "0:05", "0:05", "; it can't wait"},
		{"mostly full, not known until when: in the window", PlanRules{}, []string{night}, always(leaking(0.85, 0)), constant(256), 0, "15:15", "15:15", "85 % of what it may grow by is used; a quiet moment: "},
		{"mostly full, at any time, ever busier", PlanRules{}, nil, always(leaking(0.85, 0)), busier, 0, "3:00", "3:01", "; no moment was quiet"},
		{"mostly full, and quieter after two hours", PlanRules{}, nil, always(leaking(0.85, 0)), half(busier, "2:10", busier(95*time.Minute)), 0, "2:10", "2:10", "; quiet enough: "},
		{"neither", PlanRules{}, nil, always(leaking(0.79, 0)), constant(0), 0, "", "", ""},
		{"only to be told", PlanRules{Forecast: ForecastWarn}, nil, fullAt(time.Minute), constant(0), 0, "", "", ""},
		{"not even told", PlanRules{Forecast: ForecastOff}, nil, fullAt(time.Minute), constant(0), 0, "", "", ""},
	} {
		if test.rules.Forecast == "" {
			test.rules.Forecast = ForecastAct
		}
		test.rules.Times, test.rules.Horizon = windows(t, test.windows...), 10*time.Hour
		p := NewPlan(test.rules, State{})
		for now := -time.Hour; now < 0; now += time.Minute { // the hour before noon, in which nothing is wanted
			m := at(now)
			m.Age, m.Streams = time.Second, test.streams(now)
			if w := p.Look(m); w.Reason != health.NoReason {
				t.Errorf("%s: wished for at %v: %+v", test.name, now, w)
			}
		}
		when, wish := time.Duration(-1), Wish{}
		for now := time.Duration(0); now < 48*time.Hour && wish.Reason == health.NoReason; now += 5 * time.Second {
			m := at(now)
			m.Streams = test.streams(now)
			if test.takes > 0 {
				m.Takes = test.takes
			}
			if test.device != nil {
				m.Devices = []GPU{test.device(now)}
			}
			when, wish = now, p.Look(m)
		}
		reason := health.Age
		if test.device != nil {
			reason = health.MemoryForecast
		}
		switch {
		case test.from == "" && wish.Reason == health.NoReason:
		case test.from == "":
			t.Errorf("%s: wished for after %v: %+v", test.name, when, wish)
		case wish.Reason != reason || wish.Hasty || !strings.Contains(wish.Why, test.why) ||
			when < clock(t, test.from)-10*time.Second || when > clock(t, test.to)+10*time.Second:
			t.Errorf("%s: after %v %+v; want between %s and %s because %q", test.name, when, wish, test.from, test.to, test.why)
		}
	}
}

func TestMemoryThatIsFullInAllButNameWaitsForNothing(t *testing.T) {
	for _, mode := range []Forecast{ForecastAct, ForecastWarn, ForecastOff} {
		p := NewPlan(PlanRules{Times: windows(t, night), Horizon: 10 * time.Hour, Forecast: mode}, State{Forecasted: noon - 1})
		m := at(0)
		m.Streams, m.Busy, m.Devices = 500, true, []GPU{leaking(0.99, 0)}
		if w := p.Look(m); w.Reason != health.NoReason {
			t.Errorf("%s: its floor is as high, and that is not enough: %+v", mode, w)
		}
		m.Devices[0].Hard = true
		want := Wish{health.MemoryLimit, "78.0 GiB are used, and it may use 78.1 GiB", true}
		if mode != ForecastAct {
			want = Wish{}
		}
		if w := p.Look(m); w != want {
			t.Errorf("%s: got %+v, want %+v", mode, w, want)
		}
	}
}

// A worker whose memory is as good as full from the beginning, and stays so, is left alone, however quiet it is.
func TestAPlateauIsNoReason(t *testing.T) {
	const device = 81_000 * mib
	for _, share := range []float64{0.80, 0.86, 0.92, 0.95, 0.98} {
		p := NewPlan(PlanRules{Horizon: 10 * time.Hour, Forecast: ForecastAct}, State{})
		f := gpu.NewForecast(gpu.Rules{}, device)
		used := gpu.Bytes(share * float64(device))
		for minute := range int64(24 * 60) {
			d := GPU{Device: "GPU-a", Outlook: f.Minute(gpu.Floor{Minute: minute, Bytes: used}), Hard: f.Sample(used)}
			m := at(time.Duration(minute) * time.Minute)
			m.Devices = []GPU{d}
			if w := p.Look(m); w.Reason != health.NoReason {
				t.Fatalf("%.0f %% since the beginning, after %d minutes: %+v", 100*share, minute, w)
			}
		}
	}
}

// And one that leaks is replaced before it is full, whatever the hour.
func TestALeakIsReason(t *testing.T) {
	p := NewPlan(PlanRules{Times: windows(t, night), Horizon: 10 * time.Hour, Forecast: ForecastAct}, State{})
	f := gpu.NewForecast(gpu.Rules{}, 81_000*mib)
	for minute := range int64(24 * 60) {
		used := 75_000*mib + gpu.Bytes(8*minute)*mib // full after 11 h 58 min
		m := at(time.Duration(minute) * time.Minute)
		m.Streams, m.Devices = 256, []GPU{{Device: "GPU-a", Outlook: f.Minute(gpu.Floor{Minute: minute, Bytes: used}), Hard: f.Sample(used)}}
		if w := p.Look(m); w.Reason != health.NoReason {
			if w.Reason != health.MemoryForecast || minute < 120 || minute > 480 || !strings.Contains(w.Why, " at 8.0 MiB/min; a quiet moment") {
				t.Errorf("after %d minutes: %+v", minute, w)
			}
			return
		}
	}
	t.Error("it was full, and nothing was done")
}

func TestTheDeviceThatIsFullFirstIsTold(t *testing.T) {
	p := NewPlan(PlanRules{Horizon: 10 * time.Hour, Forecast: ForecastAct}, State{Latched: []Latch{{Device: "GPU-d"}}})
	m := at(0)
	for i, d := range []GPU{leaking(0.9, 0), leaking(0.5, 5*time.Hour), leaking(0.5, 3*time.Hour), leaking(0.5, time.Hour), leaking(0.5, 4*time.Hour)} {
		d.Device, d.Name = "GPU-"+string("abcde"[i]), ""
		m.Devices = append(m.Devices, d)
	}
	if w := p.Look(m); w.Why != "GPU-c: full in 3 h at 28 MiB/min; no stream is open" {
		t.Errorf("got %+v", w)
	}
}

func TestNobodyIsWishedAwayMeanwhile(t *testing.T) {
	for name, change := range map[string]func(*Moment){
		"it serves": func(*Moment) {}, "it doesn't serve": func(m *Moment) { m.Age = 0 }, "a restart is under way": func(m *Moment) { m.Busy = true },
	} {
		p := NewPlan(PlanRules{MaxAge: time.Hour, Horizon: 10 * time.Hour, Forecast: ForecastAct}, State{})
		m := at(0)
		m.Devices = []GPU{leaking(0.5, time.Minute)}
		change(&m)
		if w := p.Look(m); (w.Reason == health.NoReason) != (name != "it serves") {
			t.Errorf("%s: %+v", name, w)
		}
	}
	// What holds the gate makes no lull.
	p := NewPlan(PlanRules{MaxAge: time.Hour}, State{})
	for now := time.Duration(0); now < 30*time.Minute; now += 5 * time.Second {
		m := at(now)
		if m.Streams = 9; now < 10*time.Minute {
			m.Streams, m.Busy = 1, true
		}
		if w := p.Look(m); w.Reason != health.NoReason {
			if now < 24*time.Minute || now > 26*time.Minute { // 15 minutes have been seen
				t.Errorf("after %v: %+v", now, w)
			}
			return
		}
	}
	t.Error("nothing was wished for")
}

func TestAgesDifferByChanceAndStayAsTheyAre(t *testing.T) {
	rules := PlanRules{MaxAge: 24 * time.Hour, Jitter: 0.1}
	var ages []time.Duration
	for seed := range uint64(40) {
		rules.Seed = seed
		p := NewPlan(rules, State{})
		for life := range int64(50) {
			age := p.AgeOf(life)
			ages = append(ages, age)
			if again := NewPlan(rules, p.State()).AgeOf(life); again != age {
				t.Fatalf("life %d of seed %d may be %v, and after our death %v", life, seed, age, again)
			}
		}
	}
	slices.Sort(ages)
	ages = slices.Compact(ages)
	for share, want := range map[float64]float64{0: 21.6, 0.25: 22.8, 0.5: 24, 0.75: 25.2, 1: 26.4} {
		if got := ages[int(share*float64(len(ages)-1))].Hours(); got < want-0.15 || got > want+0.15 {
			t.Errorf("of the ages %.0f %% are below %.2f h, want %.2f h", 100*share, got, want)
		}
	}
	if len(ages) < 1900 || ages[0] < 1296*time.Minute || ages[len(ages)-1] > 1584*time.Minute {
		t.Errorf("%d ages of 2000 differ, from %v to %v", len(ages), ages[0], ages[len(ages)-1])
	}
	for life := range int64(100) {
		if age := NewPlan(PlanRules{MaxAge: time.Minute, Jitter: 1}, State{}).AgeOf(life); age < time.Minute || age > 2*time.Minute {
			t.Errorf("life %d may be %v", life, age)
		}
	}
	if p := NewPlan(PlanRules{MaxAge: time.Hour, Seed: 3}, State{}); p.AgeOf(1) != time.Hour || NewPlan(PlanRules{Jitter: 1}, State{}).AgeOf(1) != 0 {
		t.Error("without chance it is as was said")
	}
}

func TestALullIsTheLowestOfAMinute(t *testing.T) {
	var q quiet
	if few, minutes := q.share(quietest); few != 0 || minutes != 0 {
		t.Errorf("of nothing: %d, %d minutes", few, minutes)
	}
	for minute := range 90 {
		for i, streams := range []int{7, 0, 9} {
			q.take(time.Duration(minute)*time.Minute+time.Duration(i)*time.Second, minute+streams)
		}
	}
	few, minutes := q.share(quietest)
	if half, _ := q.share(quieter); few != 30+5 || half != 30+29 || minutes != 60 {
		t.Errorf("of %d minutes: a tenth has at most %d, a half %d", minutes, few, half)
	}
}

func TestAWindowsEndFollowsTheWall(t *testing.T) {
	times, err := timetable.Parse([]timetable.Window{{Cron: "0 3 * * *", For: 90 * time.Second, Zone: "UTC"}, {Cron: "2 3 * * *", For: time.Hour, Zone: "UTC"}})
	if err != nil {
		t.Fatal(err)
	}
	p := NewPlan(PlanRules{Times: times}, State{})
	for _, test := range []struct{ now, want string }{
		{"03:01:20", "03:01:30"}, {"03:01:29", "03:01:30"}, {"03:02:05", "04:02:00"}, {"03:30:00", "04:02:00"}, {"03:01:00", "03:01:30"},
	} {
		now, _ := time.Parse(time.TimeOnly, test.now)
		if got := p.ends(now).Format(time.TimeOnly); got != test.want {
			t.Errorf("at %s it ends at %s, want %s", test.now, got, test.want)
		}
	}
}

// A forecast that was taken back is another when it comes again: a quiet moment is looked for anew.
func TestAForecastThatComesAgain(t *testing.T) {
	p := NewPlan(PlanRules{Horizon: 10 * time.Hour, Forecast: ForecastAct}, State{})
	for now := time.Duration(0); now < time.Hour; now += 5 * time.Second {
		d := leaking(0.5, 9*time.Hour)
		d.Outlook.Foreseen = now != 10*time.Minute
		if w := looks(p, now, d, func(m *Moment) { m.Streams = 9 }); w != health.NoReason {
			if now != 25*time.Minute {
				t.Errorf("wished for after %v, want 25 minutes", now)
			}
			return
		}
	}
	t.Error("it was not wished for")
}

// looks is the reason of what a plan wishes so long after noon, by a device and with no stream open.
func looks(p *Plan, since time.Duration, d GPU, change ...func(*Moment)) health.Reason {
	m := at(since)
	m.Devices = []GPU{d}
	for _, c := range change {
		c(&m)
	}
	return p.Look(m).Reason
}

func TestOneRestartForAForecastWithinTheHorizon(t *testing.T) {
	leak := leaking(0.5, 5*time.Hour)
	boot := NewPlan(PlanRules{Horizon: 10 * time.Hour, Forecast: ForecastAct}, State{})
	if got := looks(boot, time.Hour-noon, leak, func(m *Moment) { m.Age = time.Hour }); got != health.MemoryForecast {
		t.Errorf("none was made since the boot, and %v is wished for", got)
	}
	for _, test := range []struct {
		made health.Reason
		want health.Reason // in the 10 hours after it
	}{
		{health.MemoryForecast, health.NoReason},
		{health.MemoryLimit, health.MemoryForecast},
		{health.Age, health.MemoryForecast},
		{health.Operator, health.MemoryForecast},
	} {
		p := NewPlan(PlanRules{Horizon: 10 * time.Hour, Forecast: ForecastAct}, State{})
		if looks(p, 0, leak) != health.MemoryForecast {
			t.Error("the first isn't wished for")
		}
		p.Restarted(test.made, noon, MadeOf(7, []GPU{leak}))
		next := func(m *Moment) { m.Life = 8 }
		p = NewPlan(p.PlanRules, p.State()) // we died
		if got := looks(p, 10*time.Hour-1, leak, next); got != test.want {
			t.Errorf("after a restart for %v: %v, want %v", test.made, got, test.want)
		}
		if got := looks(p, 10*time.Hour+time.Minute, leak, next); got != health.MemoryForecast {
			t.Errorf("after a restart for %v, when the horizon is over: %v", test.made, got)
		}
	}
}

func TestMemoryThatDoesNotComeBackIsLatched(t *testing.T) {
	for _, test := range []struct {
		name   string
		reason health.Reason
		grown  gpu.Bytes // by how much, when it was restarted
		kept   gpu.Bytes // of that, when the next has warmed up
		stage  gpu.Stage
		latch  bool
	}{
		{"it was known by its share only", health.MemoryForecast, 9000 * mib, 9000 * mib, gpu.Watching, true},
		{"all came back", health.MemoryForecast, 8000 * mib, 0, gpu.Watching, false},
		{"nothing came back", health.MemoryForecast, 8000 * mib, 8000 * mib, gpu.Watching, true},
		{"a tenth came back", health.MemoryForecast, 8000 * mib, 7200 * mib, gpu.Watching, true},
		{"a bit more than that", health.MemoryForecast, 8000 * mib, 7199 * mib, gpu.Watching, false},
		{"64 MiB of a few", health.MemoryForecast, 200 * mib, 136 * mib, gpu.Watching, true},
		{"a bit more than those", health.MemoryForecast, 200 * mib, 135 * mib, gpu.Watching, false},
		{"more than before", health.MemoryForecast, 8000 * mib, 9000 * mib, gpu.Watching, true},
		{"so much that it is tight", health.MemoryForecast, 8000 * mib, 9900 * mib, gpu.Tight, true},
		{"it isn't known yet", health.MemoryForecast, 8000 * mib, 8000 * mib, gpu.Settling, false},
		{"it was full in all but name", health.MemoryLimit, 8000 * mib, 8000 * mib, gpu.Watching, true},
		{"it was another reason", health.Age, 8000 * mib, 8000 * mib, gpu.Watching, false},
	} {
		p := NewPlan(PlanRules{Horizon: 10 * time.Hour, Forecast: ForecastAct}, State{})
		leak, flat := leaking(0.5, 5*time.Hour), leaking(0, 0)
		plateau := leak.Outlook.Plateau
		switch {
		case test.reason == health.MemoryLimit:
			leak.Hard, leak.Outlook.Foreseen = true, false
		case test.grown > 8000*mib:
			leak.Outlook.Soft, leak.Outlook.Foreseen = true, false
		}
		leak.Outlook.Floor = plateau + test.grown
		flat.Device = "GPU-flat" // it had nothing to give back
		p.Restarted(test.reason, noon, MadeOf(7, []GPU{flat, leak}))

		old := at(time.Minute) // looked at once more: of itself nothing is learnt
		old.Devices = []GPU{leak, flat}
		p.Look(old)
		p = NewPlan(p.PlanRules, p.State()) // we died
		m := at(11 * time.Hour)
		m.Life, m.Devices = 8, []GPU{leaking(0, 0), flat}
		m.Devices[0].Outlook.Plateau, m.Devices[0].Outlook.Stage = plateau+test.kept, test.stage
		p.Look(m)
		if got := p.Latched(); (len(got) == 1) != test.latch || len(got) > 1 ||
			test.latch && got[0] != (Latch{leak.Device, plateau + test.grown, plateau + test.kept}) {
			t.Errorf("%s: %+v, want one: %v", test.name, got, test.latch)
		}

		p = NewPlan(p.PlanRules, p.State()) // and once more
		hard := leaking(0.5, 5*time.Hour)
		hard.Hard = true
		next := func(m *Moment) { m.Life = 9 }
		for _, d := range []GPU{leaking(0.5, 5*time.Hour), hard} {
			if got := looks(p, 12*time.Hour, d, next); (got == health.NoReason) != test.latch {
				t.Errorf("%s: then %v is wished for", test.name, got)
			}
		}
		other := leaking(0.5, 5*time.Hour)
		other.Device = "GPU-other"
		if got := looks(p, 13*time.Hour, other, next); got != health.MemoryForecast {
			t.Errorf("%s: of another device %v is wished for", test.name, got)
		}
		p.Restarted(health.Operator, noon+14*time.Hour, nil)
		if got := looks(p, 15*time.Hour, leaking(0.5, 5*time.Hour), func(m *Moment) { m.Life = 10 }); got != health.MemoryForecast || p.Latched() != nil {
			t.Errorf("%s: a person restarted it, and %v is wished for", test.name, got)
		}
	}
}

// What was made of a device is known by its last restart, and once.
func TestTheLastRestartCounts(t *testing.T) {
	p := NewPlan(PlanRules{Forecast: ForecastAct}, State{})
	low, high, other := leaking(0.81, 0), leaking(0.91, 0), leaking(0.9, 0)
	other.Device = "GPU-other"
	p.Restarted(health.MemoryForecast, noon, MadeOf(7, []GPU{low, other}))
	p.Restarted(health.MemoryLimit, noon, MadeOf(8, []GPU{high}))
	kept := p.State()
	want := []Made{{7, "GPU-other", 70_000 * mib, 79_000 * mib}, {8, "GPU-a", 70_000 * mib, 79_100 * mib}}
	if !slices.Equal(kept.Made, want) {
		t.Errorf("got %+v, want %+v", kept.Made, want)
	}
	next := high
	next.Outlook.Plateau = next.Outlook.Floor
	for life := range int64(2) {
		m := at(time.Hour)
		m.Life, m.Devices = 9+life, []GPU{next}
		p.Look(m)
		p.Restarted(health.MemoryLimit, m.Now, MadeOf(m.Life, m.Devices))
	}
	if got := p.Latched(); len(got) != 1 {
		t.Errorf("latched: %+v", got)
	}
	if !slices.Equal(kept.Made, want) {
		t.Errorf("what was kept has changed: %+v", kept)
	}
}

func TestAWishThatIsWithheld(t *testing.T) {
	type look struct {
		after  time.Duration
		frozen bool
		want   bool
	}
	for _, test := range []struct {
		name  string
		held  Held
		looks []look
	}{
		{"nothing was said", 99, []look{{59 * time.Second, false, false}, {time.Minute, false, true}, {90 * time.Second, false, false}}},
		{"observed: once within the horizon", Observed, []look{{time.Hour, false, false}, {10*time.Hour - 1, false, false}, {10 * time.Hour, false, true}}},
		{"frozen: again when that is over", Frozen, []look{{time.Second, true, false}, {9 * time.Hour, true, false}, {9*time.Hour + 1, false, true}}},
		{"frozen again: told once more", Frozen, []look{{time.Hour, true, false}, {2 * time.Hour, false, true}, {3 * time.Hour, true, true}}},
		{"postponed: a while later", Postponed, []look{{14 * time.Minute, false, false}, {15 * time.Minute, false, true}}},
	} {
		for _, wish := range []struct {
			reason health.Reason
			device GPU
		}{
			{health.MemoryForecast, leaking(0.5, 50*time.Hour)},
			{health.MemoryForecast, leaking(0.5, time.Minute)},
			{health.MemoryLimit, GPU{Hard: true}},
			{health.Age, GPU{}},
		} {
			reason, d := wish.reason, wish.device
			p := NewPlan(PlanRules{MaxAge: 2 * time.Hour, Horizon: 10 * time.Hour, Forecast: ForecastAct}, State{})
			if reason != health.Age {
				p.MaxAge = 0
			}
			m := at(0)
			m.Devices = []GPU{d}
			w := p.Look(m)
			if w.Reason != reason {
				t.Fatalf("%s: wished for %+v, want %v", test.name, w, reason)
			}
			p.Withheld(w, test.held, m.Now)
			for _, l := range test.looks {
				p = NewPlan(p.PlanRules, p.State()) // we died
				if got := looks(p, l.after, d, func(m *Moment) { m.Frozen = l.frozen }); (got == reason) != l.want {
					t.Errorf("%s, %v: after %v it is wished for: %v, want %v", test.name, reason, l.after, got, l.want)
				}
			}
			p.Withheld(w, Observed, noon+20*time.Hour)
			if got := looks(p, 21*time.Hour, d, func(m *Moment) { m.Life = 8 }); got != reason {
				t.Errorf("%s, %v: the next life is another thing: %v", test.name, reason, got)
			}
		}
	}
}

func TestTheStateCanBeKept(t *testing.T) {
	want := State{
		Life: 7, Limit: Want{1, 2, true}, Forecast: Want{3, 4, false}, Age: Want{5, 6, true}, Forecasted: 8,
		Made: []Made{{7, "GPU-a", 70 * gib, 78 * gib}}, Latched: []Latch{{"GPU-b", 2, 1}},
	}
	p := NewPlan(PlanRules{}, want)
	kept := p.State()
	p.Unlatch()
	text, err := json.Marshal(kept)
	if err != nil {
		t.Fatal(err)
	}
	var written bytes.Buffer
	if err := gob.NewEncoder(&written).Encode(kept); err != nil {
		t.Fatal(err)
	}
	var a, b State
	if err := json.Unmarshal(text, &a); err != nil || !reflect.DeepEqual(a, want) {
		t.Errorf("JSON: %+v, %v; want %+v", a, err, want)
	}
	if err := gob.NewDecoder(&written).Decode(&b); err != nil || !reflect.DeepEqual(b, want) {
		t.Errorf("gob: %+v, %v; want %+v", b, err, want)
	}
	if s := p.State(); s.Made != nil || s.Latched != nil {
		t.Errorf("unlatched: %+v", s)
	}
}

// TestFullMemoryIsNoLoop: restarts for memory that is full cut streams, so they end when they don't help.
func TestFullMemoryIsNoLoop(t *testing.T) {
	full := leaking(0.5, 5*time.Hour)
	full.Hard = true
	at := func(life int64, now time.Duration, d GPU) Moment {
		return Moment{Now: now, Wall: time.Unix(0, 0), Life: life, Age: time.Hour, Streams: 5, Devices: []GPU{d}}
	}
	t.Run("full again in its warm-up", func(t *testing.T) {
		p := NewPlan(PlanRules{Horizon: 10 * time.Hour, Forecast: ForecastAct}, State{})
		if w := p.Look(at(7, noon, full)); w.Reason != health.MemoryLimit {
			t.Fatalf("the first time: %+v", w)
		}
		p.Restarted(health.MemoryLimit, noon+time.Minute, MadeOf(7, []GPU{full}))
		again := full
		again.Outlook.Stage = gpu.Warming
		if w := p.Look(at(8, noon+time.Hour, again)); w.Reason != health.NoReason || len(p.Latched()) != 1 {
			t.Errorf("in the warm-up of the next life: %+v, latched %v", w, p.Latched())
		}
	})
	t.Run("for the third time within the horizon", func(t *testing.T) {
		p := NewPlan(PlanRules{Horizon: 10 * time.Hour, Forecast: ForecastAct}, State{})
		now := noon
		for life := range int64(4) {
			fresh := leaking(0.1, 5*time.Hour)
			fresh.Hard = false
			p.Look(at(life+7, now, fresh)) // it gave memory back
			w := p.Look(at(life+7, now+time.Hour, full))
			if want := life < 2; (w.Reason == health.MemoryLimit) != want {
				t.Fatalf("restart %d: %+v, latched %v", life+1, w, p.Latched())
			}
			if w.Reason == health.NoReason {
				break
			}
			p = NewPlan(p.PlanRules, p.State()) // over a death of ours
			p.Restarted(health.MemoryLimit, now+time.Hour, MadeOf(life+7, []GPU{full}))
			now += 2 * time.Hour
		}
		if len(p.Latched()) != 1 {
			t.Errorf("latched: %v", p.Latched())
		}
	})
}
