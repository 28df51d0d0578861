package admin

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// scrapeOfGPUs are the lines of a scrape about GPUs and plans, without those of comments and without their prefix.
func scrapeOfGPUs(t *testing.T, s Status, only string) []string {
	t.Helper()
	f := newFake()
	f.status = s
	code, _, body := scrape(t, f, "/metrics", "text/plain")
	if code != 200 {
		t.Fatalf("%d: %s", code, body)
	}
	var lines []string
	for line := range strings.Lines(body) {
		name, ours := strings.CutPrefix(strings.TrimSpace(line), prefix)
		if ours && (strings.HasPrefix(name, "gpu_") || strings.HasPrefix(name, "planned_")) && strings.Contains(name, only) {
			lines = append(lines, name)
		}
	}
	return lines
}

func TestAScrapeShowsAGPU(t *testing.T) {
	s, _ := someNumbers()
	var got []string
	for _, line := range scrapeOfGPUs(t, s, "") {
		if !strings.HasSuffix(line, " 0") && !strings.Contains(line, `"GPU-b"`) {
			got = append(got, strings.Replace(line, `gpu="GPU-a",index="0"`, "A", 1))
		}
	}
	want := `gpu_baseline_bytes{A} 5.36870912e+08
gpu_bound_bytes_per_second{A} 524288
gpu_clock_reason{A,reason="sw_power_cap"} 1
gpu_contexts_expected{A} 8
gpu_contexts{A} 9
gpu_ecc_uncorrected_total{A} 2
gpu_foreseen{A} 1
gpu_latched{A} 1
gpu_limit_bytes{A} 8.4825604096e+10
gpu_memory_free_bytes{A} 1.9327352832e+10
gpu_memory_reserved_bytes{A} 1.073741824e+09
gpu_memory_total_bytes{A} 8.589934592e+10
gpu_memory_used_bytes{A} 6.5498251264e+10
gpu_mode{A,mode="process"} 1
gpu_need_bytes{A} 6.6571993088e+10
gpu_others_memory_bytes{A} 1.073741824e+09
gpu_plateau_bytes{A} 6.2277025792e+10
gpu_reader_starts_total 2
gpu_reader_state{state="reading"} 1
gpu_recovery_action{action="none",A} 1
gpu_rows_pending{A} 1
gpu_seconds_to_limit{A} 7800
gpu_slope_bytes_per_second{A} 629145.6
gpu_stage{A,stage="watching"} 1
gpu_temperature_celsius{A} 64
gpu_utilisation_ratio{A} 0.87
gpu_worker_memory_bytes{A} 6.442450944e+10
gpu_xids_total{A,xid="109"} 1
gpu_xids_total{A,xid="13"} 3
planned_max_age_seconds 86400
planned_next_window_timestamp_seconds 1.00000006e+09`
	slices.Sort(got)
	if d := cmp.Diff(strings.Split(want, "\n"), got); d != "" {
		t.Errorf("samples that are not 0 (-want +got):\n%s", d)
	}
}

// A 0 would be drawn as memory that is gone, and as a GPU without a fault.
func TestWhatIsNotKnownOfAGPUHasNoSample(t *testing.T) {
	s, _ := someNumbers()
	want := []string{
		`gpu_halted{gpu="GPU-b",index="1"} 1`,
		`gpu_latched{gpu="GPU-b",index="1"} 0`,
		`gpu_memory_total_bytes{gpu="GPU-b",index="1"} 8.589934592e+10`,
		`gpu_mode{gpu="GPU-b",index="1",mode="blind"} 0`,
		`gpu_mode{gpu="GPU-b",index="1",mode="device"} 0`,
		`gpu_mode{gpu="GPU-b",index="1",mode="process"} 0`,
		`gpu_stage{gpu="GPU-b",index="1",stage="settling"} 0`,
		`gpu_stage{gpu="GPU-b",index="1",stage="tight"} 0`,
		`gpu_stage{gpu="GPU-b",index="1",stage="warming"} 0`,
		`gpu_stage{gpu="GPU-b",index="1",stage="watching"} 0`,
		`gpu_trouble{gpu="GPU-b",index="1",trouble="lost"} 1`,
		`gpu_trouble{gpu="GPU-b",index="1",trouble="not_permitted"} 0`,
		`gpu_trouble{gpu="GPU-b",index="1",trouble="not_supported"} 0`,
		`gpu_trouble{gpu="GPU-b",index="1",trouble="reset_required"} 0`,
		`gpu_trouble{gpu="GPU-b",index="1",trouble="unreadable"} 0`,
	}
	if d := cmp.Diff(want, scrapeOfGPUs(t, s, `"GPU-b"`)); d != "" {
		t.Errorf("samples of a lost GPU (-want +got):\n%s", d)
	}
	s.GPUReader, s.GPUs, s.Planned = nil, nil, nil
	if got := scrapeOfGPUs(t, s, ""); got != nil {
		t.Errorf("where nothing is read: %q, want none", got)
	}
	// A worker may use none of it, and a device may have been empty before.
	s.GPUs = []GPU{{UUID: "GPU-c", TotalBytes: gib, FreeBytes: gib, ClockReasons: []string{}}}
	for name, want := range map[string]int{"gpu_worker_memory_bytes": 1, "gpu_baseline_bytes": 1, "gpu_memory_used_bytes": 1, "gpu_clock_reason": 9, "gpu_slope": 0, "gpu_foreseen": 0} {
		if got := scrapeOfGPUs(t, s, name); len(got) != want {
			t.Errorf("%s of an empty GPU: %q, want %d samples", name, got, want)
		}
	}
}

func TestCodesOfFaultsAreBounded(t *testing.T) {
	s, _ := someNumbers()
	g := &s.GPUs[0]
	g.Xids = map[string]int64{}
	for code := range 300 {
		g.Xids[fmt.Sprint(code+1)] = 2
	}
	got := scrapeOfGPUs(t, s, "gpu_xids_total")
	if len(got) != mostXids+1 || !slices.Contains(got, `gpu_xids_total{gpu="GPU-a",index="0",xid="other"} 200`) ||
		!slices.Contains(got, `gpu_xids_total{gpu="GPU-a",index="0",xid="200"} 2`) {
		t.Errorf("%d samples of 300 codes: %q", len(got), got)
	}
}

func TestWordsOfNVMLsNumbers(t *testing.T) {
	for _, c := range []struct {
		bits *uint64
		want []string
	}{
		{nil, nil},
		{new(uint64(0)), []string{}},
		{new(uint64(0x1)), []string{"idle"}},
		{new(uint64(0x4 | 0x40)), []string{"sw_power_cap", "hw_thermal"}},
		{new(uint64(0x80)), []string{"power_brake"}},
		{new(uint64(0x100)), []string{"other"}},
		{new(uint64(1<<63 | 0x2)), []string{"app_clocks", "other"}},
	} {
		if d := cmp.Diff(c.want, ClockReasonsOf(c.bits)); d != "" {
			t.Errorf("clock reasons (-want +got):\n%s", d)
		}
	}
	for action, want := range map[int]string{0: "none", 1: "reset", 7: "system_reboot", 8: "other", -1: "other"} {
		if got := RecoveryOf(&action); got != want {
			t.Errorf("recovery action %d is %q, want %q", action, got, want)
		}
	}
	if got := RecoveryOf(nil); got != "" {
		t.Errorf("no recovery action is %q", got)
	}
}

// Scripts tell what is not known from nothing.
func TestStatusOfGPUsIsKeptThroughJSON(t *testing.T) {
	s, _ := someNumbers()
	s.GPUs[1].ClockReasons = []string{}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var back Status
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(s.GPUs, back.GPUs); d != "" {
		t.Errorf("GPUs (-given +read):\n%s", d)
	}
	if d := cmp.Diff(s.GPUReader, back.GPUReader); d != "" {
		t.Errorf("reader (-given +read):\n%s", d)
	}
	for _, want := range []string{`"slope_bytes_per_minute":null`, `"worker_bytes":-1`, `"clock_reasons":[]`, `"barred":"GPU 1: `} {
		if !strings.Contains(string(text), want) {
			t.Errorf("there is no %s in %s", want, text)
		}
	}
}

func TestMemoryIsToldOfOneRestart(t *testing.T) {
	memory := []GPUMemory{{UUID: "GPU-a", Curve: []CurvePoint{{MinutesAgo: 3, FloorBytes: gib, HighestBytes: 2 * gib}}}}
	all := []Past{{ID: 2, Began: time.Unix(1e9, 0), Memory: memory}, {ID: 1, Began: time.Unix(1e9, 0), Memory: memory}}
	if got := (HistoryQuery{ID: 1}).Pick(all); len(got) != 1 || !cmp.Equal(got[0].Memory, memory) {
		t.Errorf("restart 1 is %+v, want it with its memory", got)
	}
	for _, p := range (HistoryQuery{}).Pick(all) {
		if p.Memory != nil {
			t.Errorf("of many restarts, %+v has its memory", p)
		}
	}
	if all[0].Memory == nil {
		t.Error("what was picked from has changed")
	}
}
