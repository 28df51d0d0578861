package check

import (
	"strings"
	"testing"
	"time"
)

func TestLateNoticesOfLeaversAreFound(t *testing.T) {
	var d departures
	for _, id := range []string{"soon", "late", "never", "ended"} {
		d.note(id, "sim-1")
	}
	d.note("other", "sim-2")
	now := time.Now()
	state := simState{Life: "sim-1", NowUnixMicro: now.Add(5 * time.Second).UnixMicro()}
	say := func(id string, after time.Duration) {
		state.Departures = append(state.Departures, struct {
			RequestID        string `json:"request_id"`
			NoticedUnixMicro int64  `json:"noticed_unix_us"`
		}{id, now.Add(after).UnixMicro()})
	}
	say("soon", 100*time.Millisecond)
	say("late", 2*time.Second)
	d.left["ended"].life = "sim-0" // its life was never asked again
	d.compare(state)
	noticed, late := d.result()
	all := strings.Join(late, "; ")
	if noticed.Count() != 2 || len(late) != 2 || !strings.Contains(all, "late left") || !strings.Contains(all, "never left") {
		t.Errorf("want two noticed, of these one late, and one never; got %s, %v", noticed, late)
	}
}

// whole is what a good run counts.
func whole(lives int) Counts {
	c := Counts{Complete: 900, Held: 100, Kinds: map[string]int64{}}
	for _, kind := range kindNames {
		c.Kinds[kind] = 10
	}
	for i := range lives {
		c.Nonces = append(c.Nonces, strings.Repeat("x", i+1))
	}
	return c
}

func TestOnlyAWholeCrashGatePasses(t *testing.T) {
	good := func() *GateReport {
		r := &GateReport{
			Options: GateOptions{Deaths: 50, During: 20, Upgrades: 5}, Counts: whole(5), Deaths: 50, Next: 10, During: 20, Restarts: 4, Upgrades: 5,
			Gaps: new(Histogram), Holds: new(Histogram),
			KeeperKept: true, TakeOvers: 65,
		}
		r.GapOver.Record(30 * time.Millisecond)
		return r
	}
	r := good()
	if r.judge(); !r.Passed() || !strings.HasSuffix(r.String(), "PASSED\n") {
		t.Errorf("a good one fails:\n%s", r)
	}
	for name, harm := range map[string]func(*GateReport){
		"a stream was cut":          func(r *GateReport) { r.Counts.Cut = 1 },
		"a byte was wrong":          func(r *GateReport) { r.Counts.Corrupt = 1 },
		"one was refused":           func(r *GateReport) { r.Counts.Refused = 1 },
		"nothing came":              func(r *GateReport) { r.Counts.Complete = 0 },
		"too few died":              func(r *GateReport) { r.Deaths-- },
		"too few in a restart":      func(r *GateReport) { r.During-- },
		"an upgrade is missing":     func(r *GateReport) { r.Upgrades, r.TakeOvers = 4, 64 },
		"a life is missing":         func(r *GateReport) { r.Counts.Nonces = r.Counts.Nonces[1:] },
		"the keeper died":           func(r *GateReport) { r.KeeperKept = false },
		"a runner died by itself":   func(r *GateReport) { r.TakeOvers++ },
		"a race was found":          func(r *GateReport) { r.Troubles = []string{"WARNING: DATA RACE"} },
		"nobody was there to pause": func(r *GateReport) { r.GapOver.count.Store(0) },
	} {
		r := good()
		harm(r)
		if r.judge(); r.Passed() || !strings.Contains(r.String(), "FAILED") {
			t.Errorf("it passes although %s:\n%s", name, r)
		}
	}
}

func TestOnlyAWholeSoakPasses(t *testing.T) {
	good := func() *SoakReport {
		r := &SoakReport{Options: SoakOptions{Guests: []Guest{nil}}, Counts: whole(6), Restarts: 5, Guests: 9, Gaps: new(Histogram), Holds: new(Histogram), Noticed: new(Histogram)}
		r.Counts.Left = 3
		r.Noticed.Record(time.Millisecond)
		return r
	}
	r := good()
	if r.judge(nil); !r.Passed() || !strings.HasSuffix(r.String(), "PASSED\n") {
		t.Errorf("a good one fails:\n%s", r)
	}
	for name, harm := range map[string]func(*SoakReport){
		"a stream was cut":       func(r *SoakReport) { r.Counts.Cut = 1 },
		"a byte was wrong":       func(r *SoakReport) { r.Counts.Corrupt = 1 },
		"one was refused":        func(r *SoakReport) { r.Counts.Refused = 1 },
		"none was held":          func(r *SoakReport) { r.Counts.Held = 0 },
		"a life is missing":      func(r *SoakReport) { r.Counts.Nonces = r.Counts.Nonces[1:] },
		"a kind is missing":      func(r *SoakReport) { delete(r.Counts.Kinds, "slow") },
		"the guests got nothing": func(r *SoakReport) { r.Guests = 0 },
		"no leaver was noticed":  func(r *SoakReport) { r.Noticed = new(Histogram) },
	} {
		r := good()
		harm(r)
		if r.judge(nil); r.Passed() || !strings.Contains(r.String(), "FAILED") {
			t.Errorf("it passes although %s:\n%s", name, r)
		}
	}
	r = good()
	if r.judge([]string{"leaver-1 left and the worker noticed after 2s"}); r.Passed() {
		t.Error("it passes although a leaver was noticed too late")
	}
}
