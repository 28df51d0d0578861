package cli

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"autoglm-sidecar/supervisor/admin"

	"github.com/google/go-cmp/cmp"
)

// filling is a GPU on which the worker's memory grows by 31 MiB a minute.
func filling() admin.GPU {
	g := admin.GPU{
		Index: 0, UUID: "GPU-a", Name: "NVIDIA H100 80GB HBM3", Mode: "process", TotalBytes: 80 * gib, UsedBytes: 61*gib + 200*mib, FreeBytes: 18 * gib,
		WorkerBytes: 60*gib + 100*mib, OthersBytes: gib, BaselineBytes: 500 * mib, NeedBytes: 60 * gib,
		Stage: "watching", PlateauBytes: 58*gib + 300*mib, LimitBytes: 79*gib + 512*mib, AllowanceBytes: 21 * gib,
		SlopeBytesPerMinute: new(33.0 * mib), BoundBytesPerMinute: new(31.0 * mib), FullInSeconds: 7800, Foreseen: true,
		Contexts: 8, ContextsExpected: 8, UtilisationPercent: new(87), TemperatureCelsius: new(64), ClockReasons: []string{"idle", "sw_power_cap"},
		UncorrectedECC: new(uint64(0)), RowsPending: new(false), RowsFailed: new(false), Recovery: "none", Xids: map[string]int64{"13": 3, "109": 1},
		Notes: []string{"Xid 109: a context switch took too long"},
	}
	for i := range 60 {
		used := int64(58*gib + i*31*mib)
		g.Curve = append(g.Curve, admin.CurvePoint{MinutesAgo: 59 - i, FloorBytes: used, HighestBytes: used + 600*mib})
	}
	return g
}

// lost is a GPU that has fallen off the bus.
func lost() admin.GPU {
	return admin.GPU{
		Index: 1, UUID: "GPU-b", Trouble: admin.TroubleLost, Detail: "GPU is lost", WorkerBytes: -1, OthersBytes: -1, BaselineBytes: -1,
		Halted: "Xid 79: the GPU has fallen off the bus; reboot the machine, then `autoglm-sidecar start`", Xids: map[string]int64{"79": 1},
	}
}

func reading() *admin.GPUReader {
	return &admin.GPUReader{State: admin.ReaderReading, Since: threeAM.Add(-time.Hour), Version: "1.2.0", Starts: 1, Library: admin.LibraryReads, Driver: "550.54.15", CUDA: "12.4"}
}

// gpuPart is what a screen has between the restarts and the sidecar.
func gpuPart(t *testing.T, s admin.Status) string {
	t.Helper()
	text := screen(s, "--name default", threeAM, nil)
	_, text, _ = strings.Cut(text, "\n  restarts ")
	_, text, _ = strings.Cut(text, "\n")
	part, _, ok := strings.Cut(text, "  sidecar ")
	if !ok {
		t.Fatalf("a screen without its sidecar:\n%s", text)
	}
	return part
}

func TestScreenOfGPUs(t *testing.T) {
	s := inService()
	s.GPUReader, s.GPUs = reading(), []admin.GPU{filling(), lost()}
	s.Planned = &admin.Planned{MaxAgeSeconds: 7 * 86_400, NextWindow: threeAM.Add(130 * time.Minute), Latched: []string{"GPU-b"}}
	want := `  gpus        driver 550.54.15, CUDA 12.4
  gpu 0       61.2 of 80.0 GiB used, 60.1 by the worker; plateau 58.3, limit 79.5 GiB; +31 MiB/min: full in 2 h 10 min
              NVIDIA H100 80GB HBM3, 87 % busy, 64 C, 8 contexts, slowed by sw_power_cap
              so far: Xid 13 (3 times), Xid 109
              Xid 109: a context switch took too long
  gpu 1       LOST: it doesn't answer any more (GPU is lost)
              no life is started on it: Xid 79: the GPU has fallen off the bus; reboot the machine, then ` + "`autoglm-sidecar start`" + `
              so far: Xid 79
  planned     this life is replaced when it is 7 d old; the next window opens in 2 h 10 min (05:10:00)
              no restart for the memory of gpu 1: the last gave nothing back, see who has it (nvidia-smi)
`
	if d := cmp.Diff(want, gpuPart(t, s)); d != "" {
		t.Errorf("screen (-want +got):\n%s", d)
	}
}

func TestWordsOfAGPUsMemory(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*admin.GPU)
		want   string
	}{
		{"foreseen", func(*admin.GPU) {}, "61.2 of 80.0 GiB used, 60.1 by the worker; plateau 58.3, limit 79.5 GiB; +31 MiB/min: full in 2 h 10 min"},
		{"not for long yet", func(g *admin.GPU) { g.Foreseen = false }, "61.2 of 80.0 GiB used, 60.1 by the worker; plateau 58.3, limit 79.5 GiB; +31 MiB/min: full in 2 h 10 min if that goes on"},
		{"steady", func(g *admin.GPU) {
			g.FullInSeconds, g.SlopeBytesPerMinute, g.BoundBytesPerMinute = 0, new(0.04*mib), new(-0.1*mib)
		}, "61.2 of 80.0 GiB used, 60.1 by the worker; plateau 58.3, limit 79.5 GiB; steady"},
		{"it shrinks", func(g *admin.GPU) { g.FullInSeconds, g.SlopeBytesPerMinute = 0, new(-2.5*mib) }, "61.2 of 80.0 GiB used, 60.1 by the worker; plateau 58.3, limit 79.5 GiB; -2.5 MiB/min"},
		{"no trend yet", func(g *admin.GPU) { g.FullInSeconds, g.SlopeBytesPerMinute, g.BoundBytesPerMinute = 0, nil, nil }, "61.2 of 80.0 GiB used, 60.1 by the worker; plateau 58.3, limit 79.5 GiB"},
		{"hard", func(g *admin.GPU) { g.FullInSeconds, g.SlopeBytesPerMinute, g.Hard, g.Soft = 0, nil, true, true }, "61.2 of 80.0 GiB used, 60.1 by the worker; plateau 58.3, limit 79.5 GiB; FULL in all but name"},
		{"soft", func(g *admin.GPU) { g.FullInSeconds, g.SlopeBytesPerMinute, g.Soft = 0, nil, true }, "61.2 of 80.0 GiB used, 60.1 by the worker; plateau 58.3, limit 79.5 GiB; most of what it may grow by is used"},
		{"warming", func(g *admin.GPU) { g.Stage, g.PlateauBytes, g.LimitBytes = "warming", 0, 0 }, "61.2 of 80.0 GiB used, 60.1 by the worker; warming up, nothing is foreseen yet"},
		{"settling", func(g *admin.GPU) { g.Stage, g.PlateauBytes, g.LimitBytes = "settling", 0, 0 }, "61.2 of 80.0 GiB used, 60.1 by the worker; settling, nothing is foreseen yet"},
		{"tight", func(g *admin.GPU) { g.Stage, g.FullInSeconds, g.SlopeBytesPerMinute = "tight", 0, nil }, "61.2 of 80.0 GiB used, 60.1 by the worker; plateau 58.3, limit 79.5 GiB, too tight to foresee anything"},
		{"blind", func(g *admin.GPU) { g.Mode, g.WorkerBytes, g.Stage = "blind", -1, "warming" }, "61.2 of 80.0 GiB used, how much by the worker can't be told; warming up, nothing is foreseen yet"},
		{"no life", func(g *admin.GPU) { g.Mode, g.WorkerBytes, g.Stage = "", -1, "" }, "61.2 of 80.0 GiB used"},
		{"not looked at", func(g *admin.GPU) { g.UsedBytes, g.FreeBytes = 0, 0 }, "not looked at yet"},
	} {
		g := filling()
		c.change(&g)
		if got := memoryWords(&g); got != c.want {
			t.Errorf("%s: got %q\nwant %q", c.name, got, c.want)
		}
	}
	g := filling()
	g.Contexts = 9
	if got := deviceWords(&g); !strings.Contains(got, "9 contexts (8 expected)") {
		t.Errorf("more contexts than there should be: %q", got)
	}
	g.UncorrectedECC, g.RowsFailed, g.Recovery = new(uint64(2)), new(true), "drain_reset"
	if got := conditionWords(&g); !strings.HasSuffix(got, "2 uncorrected ECC errors, a bad row of its memory could not be replaced, the driver asks for drain reset") {
		t.Errorf("a device with faults: %q", got)
	}
}

// Each says what to do next.
func TestWhatIsNotReadSaysWhatToDo(t *testing.T) {
	for _, c := range []struct {
		reader admin.GPUReader
		want   string
	}{
		{admin.GPUReader{State: "absent"}, "not read: there is no autoglm-sidecar-nvml; put it beside this program, or write gpu.reader: off"},
		{admin.GPUReader{State: "starting", Since: threeAM.Add(-3 * time.Second)}, "not read yet: the reader starts for 3 s"},
		{admin.GPUReader{State: "silent", Since: threeAM.Add(-40 * time.Second)}, "not read: no answer of the reader for 40 s; it is ended and started again by itself; if that doesn't help, the driver hangs: see nvidia-smi"},
		{admin.GPUReader{State: "failed", Since: threeAM.Add(-40 * time.Second), Text: "exited 1: no room"}, "not read for 40 s: the reader has ended (exited 1: no room); it is started again by itself"},
		{admin.GPUReader{State: "refused", Text: "protocol 2, want 1"}, "not read: the reader is of another version (protocol 2, want 1); install autoglm-sidecar-nvml of the same release as this program"},
		{admin.GPUReader{State: "reading", Library: "no_library"}, "not read: libnvidia-ml.so.1 can't be loaded; install the driver, or say where it is: gpu.library"},
		{admin.GPUReader{State: "reading", Library: "no_driver"}, "not read: no driver is loaded; load it (modprobe nvidia)"},
		{admin.GPUReader{State: "reading", Library: "not_permitted"}, "not read: the system keeps the devices from us; let the sidecar's user open /dev/nvidia*; a container has to be made anew"},
		{admin.GPUReader{State: "reading", Library: "wrong_version"}, "not read: the driver was upgraded while it was loaded; reboot the machine"},
		{admin.GPUReader{State: "reading", Library: "library_failed", Text: "Unknown Error"}, "not read: the driver's library fails (Unknown Error); it is tried again; nvidia-smi may say more"},
		{admin.GPUReader{State: "reading"}, "read"},
		{
			admin.GPUReader{State: "reading", Library: "reads", Driver: "470.1", CUDA: "11.4", Starts: 3, Lacks: []string{"nvmlDeviceGetMemoryInfo_v2"}},
			"driver 470.1, CUDA 11.4, reader started 3 times, this driver lacks nvmlDeviceGetMemoryInfo_v2",
		},
	} {
		if got := readerWords(&c.reader, threeAM); got != c.want {
			t.Errorf("%s %s: got %q\nwant %q", c.reader.State, c.reader.Library, got, c.want)
		}
	}
	for trouble, want := range map[string]string{
		admin.TroubleLost:         "LOST: it doesn't answer any more; reboot the machine",
		admin.TroubleReset:        "the driver says that it must be reset; reset it (nvidia-smi --gpu-reset), then autoglm-sidecar start --name default",
		admin.TroubleNotPermitted: "we may not read it; let the sidecar's user read its device, or in a container, give it the whole GPU",
		admin.TroubleUnsupported:  "its memory can't be read; nothing is foreseen of it",
		admin.TroubleUnreadable:   "reading it fails; it is tried again; nvidia-smi may say more",
	} {
		if got := troubleWords(&admin.GPU{Trouble: trouble}, "--name default"); got != want {
			t.Errorf("%s: got %q\nwant %q", trouble, got, want)
		}
	}
	s := inService()
	s.GPUReader = reading()
	s.GPUReader.Error = "gpu.devices: there is no GPU 7"
	if got, want := gpuPart(t, s), "  gpus        driver 550.54.15, CUDA 12.4\n              gpu.devices: there is no GPU 7; see autoglm-sidecar config show\n"; got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestABarIsSaidFirst(t *testing.T) {
	const why = "GPU 1: Xid 79: the GPU has fallen off the bus; reboot the machine"
	for _, c := range []struct {
		change func(*admin.Status)
		mood   mood
		want   string
	}{
		{func(s *admin.Status) { s.Health = sickly() }, waiting, "life 3 serves, but NONE may be started after it: " + why},
		{func(s *admin.Status) { s.Phase, s.Gate = "down", admin.Gate{State: "holding", Held: 2} }, broken, "BARRED, no life may be started, 2 streams held: " + why},
		{func(s *admin.Status) {
			s.Phase, s.Halted, s.Gate = "halted", why, admin.Gate{State: "refusing"}
		}, broken, "BARRED, no life may be started and all streams are refused: " + why},
	} {
		s := inService()
		s.Barred = why
		c.change(&s)
		if m, got := headline(s, "--name default", threeAM); m != c.mood || got != c.want {
			t.Errorf("got mood %d, %q\nwant %d, %q", m, got, c.mood, c.want)
		}
		if got := screen(s, "--name default", threeAM, nil); strings.Count(got, why) != 1 {
			t.Errorf("it is said more than once, or not at all:\n%s", got)
		}
	}
	s := inService()
	s.Barred, s.Phase = why, "draining"
	if got := screen(s, "--name default", threeAM, nil); !strings.Contains(got, "\n  barred      no life may be started after this one: "+why+"\n") {
		t.Errorf("a restart under way hides the bar:\n%s", got)
	}
}

func TestTheMemoryOfTheLastHourIsDrawn(t *testing.T) {
	s := inService()
	s.GPUReader, s.GPUs = reading(), []admin.GPU{filling(), lost()}
	want := `
   61,221 ┤                                                         ╭──
   60,992 ┤                                                  ╭──────╯
   60,764 ┤                                           ╭──────╯
   60,535 ┤                                   ╭───────╯
   60,307 ┤                            ╭──────╯
   60,078 ┤                     ╭──────╯
   59,849 ┤             ╭───────╯
   59,621 ┼······╭──────╯··············································
   59,392 ┤╶─────╯
          └┬──────────────┬──────────────┬──────────────┬──────────────┬
        -60 min        -45 min        -30 min        -15 min         0 min
  GPU 0, MiB by the worker, the last hour; · plateau 59,692; limit 81,408; peak 61,821

  GPU 1: no minute of the worker's memory is known yet
`
	if d := cmp.Diff(want, memoryGraphs(&s)); d != "" {
		t.Errorf("drawn (-want +got):\n%s", d)
	}
	dir := running(t, &fake{status: s})
	if got := say(t, dir, "status", "--memory"); got.code != exitDone || !strings.HasSuffix(got.out, want) || !strings.HasPrefix(got.out, "default: ") {
		t.Errorf("status --memory gives %+v", got)
	}
	if got := say(t, dir, "status"); strings.Contains(got.out, "┤") {
		t.Errorf("status draws without being asked:\n%s", got.out)
	}
	if got := say(t, running(t, &fake{status: inService()}), "status", "--memory"); got.code != exitDone || !strings.HasSuffix(got.out, "\n  nothing is read of GPUs: gpu.reader is off, or the worker has none\n") {
		t.Errorf("without a reader it gives %+v", got)
	}
}

// A limit within reach is drawn; minutes of which nothing is known are gaps, and no fall.
func TestGapsAndLimitsOfACurve(t *testing.T) {
	var curve []admin.CurvePoint
	for i := range 60 {
		if i < 20 || i >= 30 {
			curve = append(curve, admin.CurvePoint{MinutesAgo: 60 - i, FloorBytes: int64(40_000+10*i) * mib, HighestBytes: 40_900 * mib})
		}
	}
	curve = append(curve, admin.CurvePoint{MinutesAgo: 61}, admin.CurvePoint{MinutesAgo: -1}) // of another hour
	want := `   41,600 ┼============================================================
   41,400 ┤
   41,200 ┤
   41,000 ┤
   40,800 ┤
   40,600 ┤                                                 ╭─────────╴
   40,400 ┤                             ╶───────────────────╯
   40,200 ┤         ╭─────────╴
   40,000 ┼─────────╯
          └┬──────────────┬──────────────┬──────────────┬──────────────┬
        -60 min        -45 min        -30 min        -15 min         0 min
  a curve; = limit 41,600; peak 40,900
`
	if d := cmp.Diff(want, memoryGraph("a curve", curve, 0, 41_600*mib)); d != "" {
		t.Errorf("drawn (-want +got):\n%s", d)
	}
	if got := memoryGraph("nothing", curve[len(curve)-2:], gib, gib); got != "" {
		t.Errorf("of no minute it draws\n%s", got)
	}
	// One that stands still is one row, and one of a single minute is drawn too.
	for _, points := range [][]admin.CurvePoint{curve[:1], {{MinutesAgo: 0}}, {{MinutesAgo: 1, FloorBytes: gib}, {MinutesAgo: 2, FloorBytes: gib}}} {
		if got := memoryGraph("flat", points, 0, 0); strings.Count(got, "┤")+strings.Count(got, "┼") != 1 {
			t.Errorf("of %+v it draws\n%s", points, got)
		}
	}
}

func TestHistoryDrawsTheHourBefore(t *testing.T) {
	r := someHistory()[0]
	r.Memory = []admin.GPUMemory{{Index: 2, UUID: "GPU-c", Curve: filling().Curve}, {Index: 3, UUID: "GPU-d"}}
	want := `  remark      start life 4: no such file

   61,221 ┤                                                         ╭──
   60,992 ┤                                                  ╭──────╯
   60,764 ┤                                           ╭──────╯
   60,535 ┤                                   ╭───────╯
   60,307 ┤                            ╭──────╯
   60,078 ┤                     ╭──────╯
   59,849 ┤             ╭───────╯
   59,621 ┤      ╭──────╯
   59,392 ┤╶─────╯
          └┬──────────────┬──────────────┬──────────────┬──────────────┬
        -60 min        -45 min        -30 min        -15 min         0 min
  GPU 2, MiB by the worker, the hour before; peak 61,821
`
	got := explain(r, threeAM)
	if _, got, _ := strings.Cut(got, "between two pieces of an answer\n"); got != want {
		t.Errorf("explained (-want +got):\n%s", cmp.Diff(want, got))
	}
	dir := running(t, &fake{past: []admin.Past{r}})
	if got := say(t, dir, "history", "17"); got.code != exitDone || !strings.HasSuffix(got.out, want) {
		t.Errorf("17 gives %+v", got)
	}
}

// What the ledger keeps comes to the screen.
func TestHistoryDrawsWhatTheLedgerKept(t *testing.T) {
	state := t.TempDir()
	kept := strings.Replace(aLine, `"longest_gap_ns":0}`, `"longest_gap_ns":0,"memory":[{"gpu":"GPU-a","index":1,"minutes":[[-1,1024,2048],[0,1030,2050]]}]}`, 1)
	if err := os.WriteFile(filepath.Join(state, "restarts.jsonl"), []byte(withSum(kept)), 0o640); err != nil {
		t.Fatal(err)
	}
	got := say(t, "/nowhere", "history", "4", "--state", state)
	if got.code != exitDone || !strings.Contains(got.out, "   1,030 ┤") || !strings.HasSuffix(got.out, "\n  GPU 1, MiB by the worker, the hour before; peak 2,050\n") {
		t.Errorf("it gives %+v", got)
	}
	got = say(t, "/nowhere", "history", "4", "--state", state, "--json")
	var h admin.History
	if err := json.Unmarshal([]byte(got.out), &h); err != nil || len(h.Restarts) != 1 {
		t.Fatalf("%+v: %v", got, err)
	}
	want := []admin.GPUMemory{{Index: 1, UUID: "GPU-a", Curve: []admin.CurvePoint{
		{MinutesAgo: 1, FloorBytes: 1024 * mib, HighestBytes: 2048 * mib}, {MinutesAgo: 0, FloorBytes: 1030 * mib, HighestBytes: 2050 * mib},
	}}}
	if d := cmp.Diff(want, h.Restarts[0].Memory); d != "" {
		t.Errorf("memory (-want +got):\n%s", d)
	}
}

// Scripts go by these names.
func TestNamesOfGPUsInStatusJSON(t *testing.T) {
	s := inService()
	s.GPUReader, s.GPUs, s.Planned, s.Barred = reading(), []admin.GPU{filling()}, &admin.Planned{NextWindow: threeAM, Latched: []string{"GPU-a"}}, "x"
	got := say(t, running(t, &fake{status: s}), "status", "--json")
	var all struct {
		Barred    string
		GPUReader map[string]any   `json:"gpu_reader"`
		GPUs      []map[string]any `json:"gpus"`
		Planned   map[string]any
	}
	if err := json.Unmarshal([]byte(got.out), &all); err != nil || len(all.GPUs) != 1 || all.Barred != "x" {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, c := range []struct {
		fields map[string]any
		want   string
	}{
		{all.GPUReader, "cuda driver library pid since starts state version"},
		{all.Planned, "latched max_age_seconds next_window window_open"},
		{all.GPUs[0], "allowance_bytes baseline_bytes bound_bytes_per_minute clock_reasons contexts contexts_expected curve foreseen free_bytes full_in_seconds " +
			"hard index limit_bytes mode name need_bytes notes others_bytes plateau_bytes recovery reserved_bytes rows_failed rows_pending " +
			"slope_bytes_per_minute soft stage temperature_celsius total_bytes uncorrected_ecc used_bytes utilisation_percent uuid worker_bytes xids"},
		{all.GPUs[0]["curve"].([]any)[0].(map[string]any), "floor_bytes highest_bytes minutes_ago"},
	} {
		if d := cmp.Diff(strings.Fields(c.want), slices.Sorted(maps.Keys(c.fields))); d != "" {
			t.Errorf("names (-want +got):\n%s", d)
		}
	}
}

func TestAGrowthHasItsSign(t *testing.T) {
	for r, want := range map[float64]string{31 * mib: "+31 MiB/min", 2.54 * mib: "+2.5 MiB/min", -12 * mib: "-12 MiB/min"} {
		if got := rate(r); got != want {
			t.Errorf("%v is written %q, want %q", r, got, want)
		}
	}
}
