package check

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A sidecar that runs by a file: the worker has what the file says and nothing that is the sidecar's own, what is shown
// holds no secret, and a file that is broken later stops no runner that takes over.
func TestEndToEndSettingsOfAFile(t *testing.T) {
	program := program(t, shipped)
	ctx := within(t, time.Minute)
	for _, name := range []string{"NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_USEC", "CREDENTIALS_DIRECTORY", "AUTOGLM_SIDECAR_OTHER"} {
		t.Setenv(name, "CANARY")
	}
	user := ""
	if os.Getuid() == 0 {
		user = "user: nobody"
		if err := os.Chmod(builds, 0o755); err != nil { // for nobody to execute the program
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), "sidecar.yaml")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("drain: 3m\nheartbeat: 1s\nworker:\n  " + user + "\n  memory_share: 80%\n  environment: {HF_TOKEN: CANARY, A: b}\n")
	side := running(ctx, t, SidecarOptions{Program: program, Run: []string{"--config", file, "--heartbeat", "2s"}, Sim: []string{"--tokens-per-second", "50"}})
	st, err := side.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	lookAtWorker(t, st.Worker.PID, user != "")

	show := func() string {
		t.Helper()
		out, err := exec.CommandContext(ctx, program, "config", "show", "--control", side.control).CombinedOutput()
		if err != nil || strings.Contains(string(out), "CANARY") {
			t.Fatalf("config show: %v, and it may show no secret:\n%s", err, out)
		}
		return string(out)
	}
	before := show()
	for _, want := range []string{"drain: 3m # " + file + ":1\n", "heartbeat: 2s # --heartbeat\n", "HF_TOKEN: REDACTED # ", "hold: 18m # default"} {
		if !strings.Contains(before, want) {
			t.Errorf("config show lacks %q:\n%s", want, before)
		}
	}

	load := StartLoad(ctx, LoadOptions{
		Address: side.Address, Rate: 50, Seed: 1, Groups: []Group{{Kind: Stream, Clients: 16, Tokens: [2]int{100, 150}}},
	})
	if _, err := load.WaitOpen(ctx, 16, 0); err != nil {
		t.Fatal(err)
	}
	write("drain: [broken\n")
	if err := syscall.Kill(st.Runner, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	load.Stop(ctx)
	if c := load.Tally.Counts(); c.Bad() > 0 || c.Complete < 16 {
		t.Errorf("%s; want 16 complete and more; %s", c, c.Notes)
	}
	if after, err := side.Status(ctx); err != nil || after.TakeOvers != 1 || after.Worker.PID != st.Worker.PID {
		t.Errorf("after the kill: %+v, %v; want one take-over, and the worker of before", after, err)
	}
	if after := show(); after != before {
		t.Errorf("the next runner goes by other settings:\n%s\nbefore:\n%s", after, before)
	}
}

// lookAtWorker reads what the kernel knows of the worker.
func lookAtWorker(t *testing.T, pid int, isNobody bool) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		t.Fatal(err)
	}
	env := strings.Split(string(text), "\x00")
	for _, want := range []string{"HF_TOKEN=CANARY", "A=b", "CUDA_MEMORY_LIMIT=80%", "GRPC_KEEPALIVE_TIME_MS=10000"} {
		if !slices.Contains(env, want) {
			t.Errorf("the worker's environment lacks %s", want)
		}
	}
	for _, entry := range env {
		name, value, _ := strings.Cut(entry, "=")
		if value == "CANARY" && name != "HF_TOKEN" {
			t.Errorf("the worker has the sidecar's own %s", name)
		}
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	if isNobody && !strings.Contains(string(status), "\nUid:\t65534\t65534\t65534\t65534\n") {
		t.Errorf("the worker doesn't run as nobody:\n%s", status)
	}
}
