package config

import (
	"os"
	"slices"
	"strings"
	"testing"

	"autoglm-sidecar/health/timetable"
)

// gpuFile says all that can be said of GPUs and of when restarts may be.
const gpuFile = `worker: {command: [w, "{port}"]}
gpu:
  devices: [0, GPU-8f1c]
  reader: /opt/nvml
  library: /lib/libnvidia-ml.so.1
  exporter: http://dcgm:9400/metrics
  limit: 33.3333333%
  shared: no
  need: 40GiB
  minimum_driver: 550.10
  minimum_cuda: 12
  faults: {31: note, 79: halt, 100000: ignore}
windows:
  - {cron: "0 3 * * *", for: 2h, zone: Europe/Berlin}
  - cron: '@weekly'
max_age: 24h
`

// What is shown can be read again, and means the same.
func TestWhatIsShownOfGPUsCanBeReadAgain(t *testing.T) {
	for _, content := range []string{gpuFile, "worker: {upstream: ':1'}\ngpu: {devices: [], faults: {}}\nwindows: []\n", "worker: {upstream: ':1'}\ngpu:\n"} {
		first, err := read(content)
		if err != nil {
			t.Fatal(err)
		}
		second, err := read(first.Shown.Text)
		if err != nil {
			t.Fatalf("%v\n%s", err, first.Shown.Text)
		}
		first.Shown, second.Shown, first.Notes, second.Notes = Shown{}, Shown{}, nil, nil
		if got, want := dump(second), dump(first); got != want {
			t.Errorf("read again\n%s\nwas\n%s", got, want)
		}
	}
}

func TestLimits(t *testing.T) {
	for text, want := range map[string]Limit{
		"0": {}, "76GiB": {Bytes: 76 << 30}, "95%": {Share: 0.95}, "100%": {Share: 1}, "1%": {Share: 0.01}, "33.33339%": {Share: 0.333334},
	} {
		r, err := read("worker: {upstream: ':1'}\ngpu: {limit: " + text + "}")
		if err != nil || r.GPU.Limit != want {
			t.Errorf("limit %s is %+v, %v; want %+v", text, r.GPU.Limit, err, want)
		}
	}
	for _, text := range []string{"0%", "0.00001%", "0.5%", "100.1%", "-5%", "5 %", "%", "1e1%", "0B", "0GiB", "-1GiB", "+1GiB", "1.5GiB", "1KiB", "17TiB", "76", "0.95", "1000000000000TiB", "auto"} {
		if r, err := read("worker: {upstream: ':1'}\ngpu: {limit: '" + text + "'}"); err == nil || !strings.Contains(err.Error(), "f.yaml:2:14: gpu.limit ") {
			t.Errorf("limit %s is %+v, %v", text, r.GPU.Limit, err)
		}
	}
	for _, l := range []Limit{{Bytes: 1 << 30, Share: 0.5}, {Share: -1}, {Share: 2}, {Bytes: -1}} { // of a program
		if _, err := with(func(s *Settings) { s.GPU.Limit = l }).Resolve(root); err == nil || !strings.Contains(err.Error(), "gpu.limit ") {
			t.Errorf("%+v: %v", l, err)
		}
	}
}

// Said is said, though it has no effect: nobody shall believe that he has a limit.
func TestWhatNobodyWatchesIsNoted(t *testing.T) {
	for content, want := range map[string]string{
		"devices: [none], limit: 95%":                     "f.yaml:2:31: gpu.limit: has no effect; no GPU is watched: gpu.devices is none",
		"reader: off, need: 1GiB":                         "f.yaml:2:26: gpu.need: has no effect; no GPU is watched: gpu.reader is off, and there is no gpu.exporter",
		"reader: off, faults: {31: note}":                 "gpu.faults: has no effect",
		"reader: off":                                     "",
		"devices: [none]":                                 "",
		"devices: ['0'], limit: 95%":                      "",
		"reader: off, exporter: 'http://d/m', limit: 95%": "",
	} {
		r, err := read("worker: {upstream: ':1'}\ngpu: {" + content + "}")
		if err != nil || !strings.Contains(strings.Join(r.Notes, "\n"), want) || (want == "") != (len(r.Notes) == 0) {
			t.Errorf("%s: noted %q, %v; want %q", content, r.Notes, err, want)
		}
	}
}

// What is good for the file is good for whoever opens by it.
func TestGoodWindowsMakeATimetable(t *testing.T) {
	r, err := read(gpuFile)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := timetable.Parse(r.Windows); err != nil || len(r.Windows) != 2 {
		t.Errorf("%+v: %v", r.Windows, err)
	}
}

func TestDevicesAreWrittenAsCUDADoes(t *testing.T) {
	for _, good := range []string{"0", "15", "none", "GPU-8f1c9a52-1111-2222-3333-444455556666", "GPU-8", "MIG-8f1c9a52-1111-2222-3333-444455556666", "MIG-GPU-8f1c/1/0"} {
		if err := checkDevice(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "all", "None", "01", "-1", "0,1", "GPU", "GPU-", "gpu-8f1c", "GPU-8 f", "MIG-\n", "1000"} {
		if checkDevice(bad) == nil {
			t.Errorf("%q is taken for a device", bad)
		}
	}
}

// The docs' examples are good.
func TestTheExamplesOfTheDocsAreGood(t *testing.T) {
	content, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := 0
	for block := range strings.SplitSeq(string(content), "```yaml\n") {
		example, _, closed := strings.Cut(block, "```\n")
		if !closed || strings.HasPrefix(block, "# Settings") {
			continue
		}
		examples++
		if r, err := read("worker: {command: [w, '{port}']}\n" + example); err != nil || len(r.Notes) > 0 {
			t.Errorf("%s\n%v, noting %q", example, err, r.Notes)
		}
	}
	if examples < 4 {
		t.Errorf("the docs have %d examples", examples)
	}
}

func TestAMaximumAgeIsAnOptionToo(t *testing.T) {
	s := Defaults()
	s.Command = []string{"w", "{port}"}
	for _, f := range Flags(&s) {
		if f.Name == "max-age" {
			must(t, f.Value.Set("12h"))
		}
	}
	s.Read("f.yaml", []byte("max_age: 24h\n"))
	if r, err := s.Resolve(testHost); err != nil || r.MaxAge.Hours() != 12 || r.Shown.From["max_age"] != "--max-age" {
		t.Errorf("got %v, from %q; %v", r.MaxAge, r.Shown.From["max_age"], err)
	}
	if !slices.Equal(s.Command, []string{"w", "{port}"}) {
		t.Errorf("the command became %q", s.Command)
	}
}
