package admin

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

const (
	mib = 1 << 20
	gib = 1 << 30
)

// fullGPU is a GPU on which a worker serves whose memory grows; all is known of it.
func fullGPU() GPU {
	return GPU{
		Index: 0, UUID: "GPU-a", Name: "NVIDIA H100 80GB HBM3", Mode: "process", TotalBytes: 80 * gib, UsedBytes: 61 * gib, FreeBytes: 18 * gib, ReservedBytes: gib,
		WorkerBytes: 60 * gib, OthersBytes: gib, BaselineBytes: 512 * mib, NeedBytes: 62 * gib,
		Stage: "watching", PlateauBytes: 58 * gib, LimitBytes: 79 * gib, AllowanceBytes: 21 * gib,
		SlopeBytesPerMinute: new(36.0 * mib), BoundBytesPerMinute: new(30.0 * mib), FullInSeconds: 7800, Foreseen: true,
		Contexts: 9, ContextsExpected: 8, UtilisationPercent: new(87), TemperatureCelsius: new(64), ClockReasons: []string{"sw_power_cap"},
		UncorrectedECC: new(uint64(2)), RowsPending: new(true), RowsFailed: new(false), Recovery: "none", Xids: map[string]int64{"13": 3, "109": 1},
		Notes: []string{"Xid 13: a fault of the worker's"},
		Curve: []CurvePoint{{MinutesAgo: 1, FloorBytes: 60 * gib, HighestBytes: 61 * gib}},
	}
}

// someNumbers are numbers with something in each family.
func someNumbers() (Status, Numbers) {
	h := Histogram{Bounds: []time.Duration{time.Millisecond, time.Second}, Counts: []int64{3, 2, 1}, Sum: 5 * time.Second}
	status := Status{
		Version: "1.2", Since: time.Unix(1e9, 0), Keeper: 7, TakeOvers: 3, Phase: "serving", Life: 4, Ready: true, Mode: "act",
		Fronts:    []Front{{Listen: "[::]:8000", Connections: 4, Open: 3}},
		Gate:      Gate{State: "open", InFlight: 5, Held: 6, Queued: 8},
		GPUReader: &GPUReader{State: ReaderReading, Since: time.Unix(1e9, 0), Version: "1.2", Starts: 2, Library: LibraryReads, Driver: "550.54.15", CUDA: "12.4"},
		GPUs: []GPU{
			fullGPU(),
			{Index: 1, UUID: "GPU-b", Trouble: TroubleLost, Detail: "GPU is lost", TotalBytes: 80 * gib, WorkerBytes: -1, OthersBytes: -1, BaselineBytes: -1, Halted: "the driver has lost it; reboot the machine"},
		},
		Barred:  "GPU 1: the driver has lost it",
		Planned: &Planned{MaxAgeSeconds: 86_400, NextWindow: time.Unix(1e9+60, 0), Latched: []string{"GPU-a"}},
		Streams: Streams{Open: 9, OldestMS: 1500, Outcomes: map[string]int64{"complete": 100, "cut": 2}, Cuts: map[string]int64{"crash": 2}},
	}
	numbers := Numbers{
		GoVersion: "go1.26", Phases: []string{"down", "serving"}, Deaths: map[string]int64{"killed": 3},
		RestartsBy: []RestartCount{{"operator", "done", 2}}, Would: map[string]int64{"hung": 1},
		Bytes: map[string]int64{"to_clients": 1 << 40}, Refusals: map[string]int64{"malformed_request": 1},
		Verdicts: []string{"well", "sick"}, Condemnations: map[string]int64{"sick": 1}, Probes: []ProbeCount{{Kind: "http", Passed: 5, Took: h}},
		TakenOver: TakenOver{Bytes: map[string]int64{"taken_not_noted": 1}, Descriptors: map[string]int64{"closed": 1}},
		Retries:   map[string]int64{"crash": 1}, Uncopied: map[string]int64{"budget": 1},
		LaneBusy: []time.Duration{time.Second, 2 * time.Second},
		HoldWait: h, QueueWait: h, FirstByte: h, TokenGap: h, Connect: h,
	}
	return status, numbers
}

// scrape asks the plain listener for path with an Accept.
func scrape(t *testing.T, f *fake, path, accept string) (status int, kind, body string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	runServer(t, func(ctx context.Context) error { return ServeHealth(ctx, l, f) })
	q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+l.Addr().String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Accept", accept)
	answer, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	all, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, answer.Header.Get("Content-Type"), string(all)
}

func TestAScrapeShowsTheNumbers(t *testing.T) {
	f := newFake()
	f.status, f.numbers = someNumbers()
	status, kind, body := scrape(t, f, "/metrics", "text/plain")
	if status != 200 || !strings.HasPrefix(kind, "text/plain; version=0.0.4") {
		t.Fatalf("%d %s: %s", status, kind, body)
	}
	for _, line := range []string{
		`autoglm_sidecar_build_info{goversion="go1.26",version="1.2"} 1`,
		`autoglm_sidecar_streams_total{outcome="complete"} 100`,
		`autoglm_sidecar_cuts_total{cause="crash"} 2`,
		`autoglm_sidecar_streams_in_flight 5`,
		`autoglm_sidecar_streams_held 6`,
		`autoglm_sidecar_queue_length 8`,
		`autoglm_sidecar_phase{phase="serving"} 1`,
		`autoglm_sidecar_phase{phase="down"} 0`,
		`autoglm_sidecar_restarts_total{reason="operator",result="done"} 2`,
		`autoglm_sidecar_bytes_total{direction="to_clients"} 1.099511627776e+12`,
		`autoglm_sidecar_token_gap_seconds_bucket{le="0.001"} 3`,
		`autoglm_sidecar_token_gap_seconds_bucket{le="1"} 5`,
		`autoglm_sidecar_token_gap_seconds_bucket{le="+Inf"} 6`,
		`autoglm_sidecar_probes_total{probe="http",result="passed"} 5`,
		`autoglm_sidecar_probe_duration_seconds_count{probe="http"} 6`,
		`autoglm_sidecar_token_gap_seconds_sum 5`,
		`autoglm_sidecar_token_gap_seconds_count 6`,
		`autoglm_sidecar_lane_busy_seconds_total{lane="1"} 2`,
		`autoglm_sidecar_oldest_stream_age_seconds 1.5`,
		`autoglm_sidecar_barred 1`,
	} {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("no line %q", line)
		}
	}
	for _, f := range families {
		if !strings.Contains(body, "# HELP autoglm_sidecar_"+f.name+" ") {
			t.Errorf("%s is missing", f.name)
		}
	}
}

func TestAScrapeMayAskForOpenMetrics(t *testing.T) {
	f := newFake()
	f.status, f.numbers = someNumbers()
	status, kind, body := scrape(t, f, "/metrics", "application/openmetrics-text; version=1.0.0")
	if status != 200 || !strings.HasPrefix(kind, "application/openmetrics-text") || !strings.HasSuffix(body, "# EOF\n") {
		t.Errorf("%d %s: ...%s", status, kind, body[max(0, len(body)-100):])
	}
}

// TestPromtoolFindsNothingToSay: names, units, types and helps are as Prometheus wants them.
func TestPromtoolFindsNothingToSay(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatal("there is no promtool; type: tools/setup.sh prometheus")
	}
	f := newFake()
	f.status, f.numbers = someNumbers()
	_, _, body := scrape(t, f, "/metrics", "text/plain")
	check := func(text string) (string, error) {
		c := exec.CommandContext(t.Context(), promtool, "check", "metrics")
		c.Stdin = strings.NewReader(text)
		out, err := c.CombinedOutput()
		return string(bytes.TrimSpace(out)), err
	}
	if out, err := check(body); err != nil || out != "" {
		t.Errorf("promtool: %v\n%s", err, out)
	}
	if out, err := check(strings.ReplaceAll(body, "hold_wait_seconds", "hold_wait_milliseconds")); err == nil {
		t.Errorf("promtool takes milliseconds, so it proves nothing: %s", out)
	}
}

// named are the families that a line of the page names: in its first column, or in an expression.
var named = regexp.MustCompile(`^\| ` + "`" + `([a-z_]+)[{` + "`" + `]|autoglm_sidecar_([a-z_]+)\b`)

// TestEachFamilyIsExplained: nobody should have to guess what a number means, and what is explained is to be there.
func TestEachFamilyIsExplained(t *testing.T) {
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, f := range families {
		there[f.name] = true
		row := "| `" + f.name
		if len(f.labels) > 0 {
			row += "{" + strings.Join(f.labels, ",") + "}"
		}
		if !strings.Contains(string(page), row+"` |") {
			t.Errorf("docs/metrics.md has no row that begins with %s` |", row)
		}
	}
	for line := range strings.Lines(string(page)) {
		for _, name := range named.FindAllStringSubmatch(line, -1) {
			if name := strings.TrimPrefix(name[1]+name[2], prefix); !there[name] {
				t.Errorf("docs/metrics.md has %s, which isn't there", name)
			}
		}
	}
}

func TestScrapesHaveNoLabelOfAClients(t *testing.T) {
	for _, f := range families {
		for _, label := range f.labels {
			switch label {
			case "version", "goversion", "kind", "phase", "reason", "result", "outcome", "cause", "code", "direction", "lane", "lost", "why", "front", "verdict", "probe", "found", "became",
				"gpu", "index", "mode", "stage", "state", "action", "xid", "trouble":
			default:
				t.Errorf("%s has the label %s: does it have few values, none of which a client chooses? Then list it here", f.name, label)
			}
		}
	}
}
