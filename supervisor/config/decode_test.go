package config

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"autoglm-sidecar/health/timetable"
)

var update = flag.Bool("update", false, "write what is said of testdata/broken into its golden files")

// testHost is root on a machine that has one user.
var testHost = Host{UID: 0, Getenv: func(string) string { return "" }, Account: func(name string) (Account, error) {
	if name != "nobody" {
		return Account{}, errors.New("there is no such user on this machine (in /etc/passwd)")
	}
	return Account{Name: "nobody", UID: 65534, GID: 65534, Home: "/nonexistent"}, nil
}}

// read resolves a file of this content.
func read(content string) (Run, error) {
	s := Defaults()
	s.Read("f.yaml", []byte(content))
	return s.Resolve(testHost)
}

// Each file of testdata/broken breaks one rule, and what is said of it is in the golden file beside it.
func TestEachBrokenFileIsToldWithPlaceAndCure(t *testing.T) {
	files, err := filepath.Glob("testdata/broken/*.yaml")
	if err != nil || len(files) < 60 {
		t.Fatalf("%d broken files, %v", len(files), err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, err = read(string(content))
		problems, ok := errors.AsType[Problems](err)
		if !ok {
			t.Errorf("%s: %v, want problems", file, err)
			continue
		}
		for _, p := range problems {
			missing := p.Setting == "--upstream" // what is not there stands nowhere
			if !missing && p.At.File != "f.yaml" || strings.ContainsRune(p.String(), 0) || !utf8.ValidString(p.String()) {
				t.Errorf("%s: %q does not say where", file, p)
			}
		}
		if strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%s: a secret is shown:\n%v", file, err)
		}
		golden := strings.TrimSuffix(file, ".yaml") + ".txt"
		if *update {
			if err := os.WriteFile(golden, []byte(err.Error()+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, _ := os.ReadFile(golden)
		if got := err.Error() + "\n"; got != string(want) {
			t.Errorf("%s\n got %s\nwant %s", file, got, want)
		}
	}
}

func TestAllThatIsWrongInAFileIsToldInItsOrder(t *testing.T) {
	_, err := read("limits:\n  idle: 5\n  nothing: 1\nname: A\ndrain: 0\nworker: {upstream: ':1'}\nhttp: ':8000'\n")
	problems, _ := errors.AsType[Problems](err)
	var lines []int
	for _, p := range problems {
		lines = append(lines, p.At.Line)
	}
	if want := []int{2, 3, 4, 5, 7}; !slices.Equal(lines, want) {
		t.Errorf("problems of the lines %v, want %v:\n%v", lines, want, err)
	}
}

func TestAFileSaysWhatFlagsSay(t *testing.T) {
	got, err := read(`
name: gpu0
mode: observe
engine: sglang
fronts:
  - {listen: "127.0.0.1:8000", early_after: 0, forwarded: forwarded, trusted: [10.0.0.0/8, "::1"]}
  - {listen: "unix:/run/front.sock"}
drain: 5m
hold: 0
heartbeat: 0
queue: {concurrency: 64}
replay: {paths: [/x], budget: 1GiB, per_request: 1MiB}
limits:
  connections: 100
  per_address: 10
  head_size: 16KiB
  body_rate: 1KiB/s
  idle: 0
pulse:
  passive: 25%
  probes:
    - {kind: http, path: /h, interval: 7s}
gpu:
  devices: [0, GPU-8f1c, MIG-GPU-8f1c/1/0]
  reader: /opt/nvml
  library: /lib/libnvidia-ml.so.1
  exporter: http://dcgm:9400/metrics
  limit: 95.5%
  shared: no
  forecast: warn
  window: 2h
  horizon: 6h
  hold: 30m
  reclaim_time: 5m
  need: 40GiB
  minimum_driver: 550.10
  minimum_cuda: 12
  too_old: warn
  faults: {31: note, 79: halt}
windows:
  - {cron: "0 3 * * *", for: 2h, zone: Europe/Berlin}
  - {cron: "@weekly"}
max_age: 24h
max_age_jitter: 0
ready: serving
http: off
control: /c/c.sock
state: /s
worker:
  command: [w, --port, "{port}", 5, true, '{"a": 1}']
  user: nobody
  environment: {A: 1, B: "x y", C: ""}
  memory_share: 80%
  start_deadline: 1h30m
  stop_grace: 5s
  probe: tcp
  probe_timeout: 2s
`)
	if err != nil {
		t.Fatal(err)
	}
	for what, same := range map[string]bool{
		"name, mode, engine": got.Name == "gpu0" && got.Mode == Observe && got.Engine == SGLang,
		"first front":        got.Fronts[0].Listen == "127.0.0.1:8000" && got.Fronts[0].EarlyAfter == 0 && got.Fronts[0].Forwarded == ForwardedRFC && len(got.Fronts[0].Trusted) == 2,
		"second front":       got.Fronts[1].Listen == "unix:/run/front.sock" && got.Fronts[1].EarlyAfter == DefaultFront("").EarlyAfter,
		"times":              got.Drain == 5*time.Minute && got.Hold == 0 && got.Heartbeat == 0 && got.StartDeadline == 90*time.Minute && got.StopGrace == 5*time.Second,
		"queue, replay":      got.Queue.Concurrency == 64 && slices.Equal(got.Replay.Paths, []string{"/x"}) && got.Replay.Budget == 1<<30 && got.Replay.PerRequest == 1<<20,
		"limits":             got.Limits.Connections == 100 && got.Limits.PerAddress == 10 && got.Limits.HeadSize == 16<<10 && got.Limits.BodyRate == 1<<10 && got.Limits.Idle == 0 && got.Limits.Stalled == time.Minute,
		"pulse":              got.Pulse.Passive == 0.25 && len(got.Pulse.Probes) == 1 && got.Pulse.Probes[0].Path == "/h" && got.Pulse.Probes[0].Interval == 7*time.Second && got.Pulse.Probes[0].Fall == DefaultPulseProbe().Fall,
		"devices":            slices.Equal(got.GPU.Devices, []string{"0", "GPU-8f1c", "MIG-GPU-8f1c/1/0"}),
		"readers":            got.GPU.Reader == "/opt/nvml" && got.GPU.Library == "/lib/libnvidia-ml.so.1" && got.GPU.Exporter == "http://dcgm:9400/metrics",
		"memory":             got.GPU.Limit == Limit{Share: 0.955} && got.GPU.Need == 40<<30 && got.GPU.Shared == SharedNo && got.GPU.ReclaimTime == 5*time.Minute,
		"forecast":           got.GPU.Forecast == ForecastWarn && got.GPU.Window == 2*time.Hour && got.GPU.Horizon == 6*time.Hour && got.GPU.Hold == 30*time.Minute,
		"versions":           got.GPU.MinimumDriver == "550.10" && got.GPU.MinimumCUDA == "12" && got.GPU.TooOld == TooOldWarn,
		"faults":             len(got.GPU.Faults) == 2 && got.GPU.Faults[31] == FaultNote && got.GPU.Faults[79] == FaultHalt,
		"windows":            slices.Equal(got.Windows, []timetable.Window{{Cron: "0 3 * * *", For: 2 * time.Hour, Zone: "Europe/Berlin"}, {Cron: "@weekly", For: time.Hour, Zone: "Local"}}),
		"age":                got.MaxAge == 24*time.Hour && got.MaxAgeJitter == 0,
		"ready, places":      got.Ready == ReadyServing && got.HTTP == "" && got.Control == "/c/c.sock" && got.State == "/s",
		"command":            slices.Equal(got.Command, []string{"w", "--port", "{port}", "5", "true", `{"a": 1}`, "--mem-fraction-static", "0.80"}),
		"worker":             got.User.UID == 65534 && got.Environment["B"] == "x y" && len(got.Environment) == 3 && got.MemoryShare == 0.8,
		"probe":              got.Probe == Probe{Kind: "tcp", Timeout: 2 * time.Second},
	} {
		if !same {
			t.Errorf("%s came out as %+v", what, got)
		}
	}
}

func TestFlagsComeBeforeTheFile(t *testing.T) {
	s := Defaults()
	for _, f := range Flags(&s) {
		switch f.Name {
		case "drain":
			must(t, f.Value.Set("7m"))
		case "listen":
			must(t, f.Value.Set(":1"))
			must(t, f.Value.Set(":2"))
		}
	}
	s.Read("f.yaml", []byte("drain: 1m\nheartbeat: 7s\nfronts: [{listen: ':9'}]\nworker: {upstream: ':5'}\n"))
	r, err := s.Resolve(testHost)
	if err != nil || r.Drain != 7*time.Minute || r.Heartbeat != 7*time.Second || len(r.Fronts) != 2 || r.Fronts[1].Listen != ":2" {
		t.Errorf("got %v, %v, %+v; %v", r.Drain, r.Heartbeat, r.Fronts, err)
	}
	if from := r.Shown.From; from["drain"] != "--drain" || from["heartbeat"] != "f.yaml:2" || from["fronts[0].listen"] != "--listen" || from["hold"] != "default: drain + start deadline" {
		t.Errorf("origins are %v", from)
	}
	// What a flag says is told by its name, also where the file has it, too, and what the file says is judged all the same.
	s.Read("f.yaml", []byte("drain: x\nhttp: ':1'\nworker: {upstream: ':5'}\n"))
	_, err = s.Resolve(testHost)
	if err == nil || !strings.Contains(err.Error(), `f.yaml:1:8: drain "x"`) || !strings.Contains(err.Error(), `is where --listen :1 accepts clients`) {
		t.Errorf("got %v", err)
	}
}

func TestACommandStandsInOnePlace(t *testing.T) {
	s := Defaults()
	s.Read("f.yaml", []byte("worker:\n  command: [w, '{port}']\n"))
	s.SetCommand([]string{"v", "{port}"})
	_, err := s.Resolve(testHost)
	if want := "f.yaml:2:12: worker.command is here, and there is a COMMAND behind -- as well; leave one of them away"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestAnEmptyFileSaysNothing(t *testing.T) {
	for _, content := range []string{"", "# nothing\n", "---\n", "null\n", "{}\n", "worker: {upstream: ':1'}\nlimits:\n  # idle: 5s\n"} {
		s := Defaults()
		s.Upstream = "127.0.0.1:1"
		s.Read("f.yaml", []byte(content))
		if _, err := s.Resolve(testHost); err != nil {
			t.Errorf("%q: %v", content, err)
		}
	}
	s := Defaults()
	s.Read("f.yaml", make([]byte, LargestFile+1))
	if _, err := s.Resolve(testHost); err == nil || !strings.Contains(err.Error(), "has more than 1MiB") {
		t.Errorf("a huge file: %v", err)
	}
}

func TestTheNearestKeyIsMeant(t *testing.T) {
	var names []string
	for _, k := range keys() {
		names = append(names, k.name)
	}
	for typed, want := range map[string]string{
		"dran": "drain", "darin": "drain", "Drain": "drain", "front": "fronts", "limit": "limits", "heart": "heartbeat",
		"heart-beat": "heartbeat", "xyz": "", "q": "", "": "", "statefulness": "", "modes": "mode", strings.Repeat("d", 1000): "",
	} {
		if got := nearest(typed, names); got != want {
			t.Errorf("%q is taken for %q, want %q", typed, got, want)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Whatever a file holds, it is read without a panic and in bounded time, and what was good is shown so that it can be
// read again and means the same.
func FuzzFile(f *testing.F) {
	files, _ := filepath.Glob("testdata/broken/*.yaml")
	for _, file := range append(files, "../../docs/example.yaml") {
		if content, err := os.ReadFile(file); err == nil {
			f.Add(content)
		}
	}
	f.Add([]byte("a: &a [*a]\nb: *a\n"))
	f.Add([]byte("worker: {upstream: ':1', environment: {A: \"\\u2028\\x85\\t: #\"}}"))
	f.Add([]byte(gpuFile))
	f.Add([]byte("worker: {upstream: ':1'}\ngpu: {devices: [], faults: {}, limit: 33.33333333%}\nwindows: []\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		s := Defaults()
		s.Read("f.yaml", content)
		r, err := s.Resolve(testHost)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\x00\x1b\r") {
				t.Errorf("control characters reach the terminal: %q", err)
			}
			return
		}
		again := Defaults()
		again.Read("shown.yaml", []byte(r.Shown.Text))
		r2, err := again.Resolve(testHost)
		if err != nil {
			t.Fatalf("what is shown can't be read again: %v\n%s", err, r.Shown.Text)
		}
		if strings.Contains(r.Shown.Text, Hidden) {
			return
		}
		a, b := r, r2
		a.Shown, b.Shown, a.Notes, b.Notes = Shown{}, Shown{}, nil, nil
		if got, want := dump(b), dump(a); got != want {
			t.Errorf("what is shown means something else:\n%s\nwas\n%s\nshown\n%s", got, want, r.Shown.Text)
		}
	})
}

// dump writes a Run with all that is in it.
func dump(r Run) string {
	if len(r.Environment) == 0 {
		r.Environment = nil
	}
	if len(r.Command) == 0 {
		r.Command = nil
	}
	r.Pulse.Probes = r.PulseProbes() // what nobody said is said once it was shown
	return fmt.Sprintf("%#v", r)
}
