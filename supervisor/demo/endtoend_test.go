package demo

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"autoglm-sidecar/gpu/nvml/double"
)

// build makes the program as the Makefile does, or without its entry point.
func build(t *testing.T, flags ...string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("end-to-end tests take minutes")
	}
	file := filepath.Join(t.TempDir(), "autoglm-sidecar")
	cmd := exec.CommandContext(t.Context(), "go", append(append([]string{"build", "-o", file}, flags...), "autoglm-sidecar")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return file
}

// withReader builds the program that reads NVML beside ours, and the double that it reads.
func withReader(t *testing.T, dir string) (library string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-ldflags", "-extldflags=-Wl,-z,lazy", "-o", filepath.Join(dir, "autoglm-sidecar-nvml"), "autoglm-sidecar/gpu/nvml")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	library, err := double.Build(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	return library
}

func TestEndToEndDemo(t *testing.T) {
	file := build(t, "-ldflags", "-E autoglm-sidecar/sockets/keeper.Entry")
	library := withReader(t, filepath.Dir(file))
	cmd := exec.CommandContext(t.Context(), file, "demo", "--json", "--gpu-library", library)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("demo: %v\n%s%s", err, out, stderr.Bytes())
	}
	var r Result
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("demo --json: %v\n%s", err, out)
	}
	t.Log(r.line())
	if !r.Passed || r.Streams != r.Completed || r.Restarts != 5 || r.SidecarKills != 2 || r.Upgrades != 1 || r.Leaks != 1 || len(r.Steps) != 9 {
		t.Errorf("want all answers whole, 5 restarts, one of them for a leak, 2 kills, 1 upgrade, 9 steps; got %+v", r)
	}
	for _, s := range r.Steps[1:8] {
		if s.Open < 150 {
			t.Errorf("%s: %d streams of 5 s or more were open, wanted 150", s.Name, s.Open)
		}
	}
	if last := r.Steps[8]; last.Held < 150 {
		t.Errorf("%s: %d streams were held, wanted 150", last.Name, last.Held)
	}
}

func TestEndToEndDemoOfABuildWithoutEntryPoint(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), build(t), "demo")
	out, err := cmd.CombinedOutput()
	exit := new(exec.ExitError)
	if !errors.As(err, &exit) || exit.ExitCode() != ExitNoEntry || !strings.Contains(string(out), "build with make build") {
		t.Errorf("want exit code %d and what to do, got %v\n%s", ExitNoEntry, err, out)
	}
}
