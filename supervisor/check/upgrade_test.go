package check

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// impostor builds the program that says it is fit, and isn't.
func impostor(t *testing.T, sidecar, flaw string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), sidecar, "version", "--arena").Output()
	if err != nil {
		t.Fatal(err)
	}
	var told bytes.Buffer
	if err := json.Compact(&told, out); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), flaw)
	flags := fmt.Sprintf("%s -X 'main.told=%s' -X main.flaw=%s", entry, told.String(), flaw)
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", file, "-ldflags", flags, "./testdata/impostor")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return file
}

// upgrading is a sidecar under load, through all that is done to it.
type upgrading struct {
	*testing.T
	ctx    context.Context
	side   *Sidecar
	load   *Load
	keeper int
	undone int64
}

// Through every kind of upgrade, good and bad, each stream goes on and the process stays the same.
func TestEndToEndUpgrade(t *testing.T) {
	file := program(t, shipped)
	keeperless, err := entryless()
	if err != nil {
		t.Fatal(err)
	}
	for _, unix := range []bool{false, true} {
		opts := SidecarOptions{Program: file, Unix: unix, Sim: []string{"--start-delay", "700ms", "--tokens-per-second", "50"}}
		t.Run(opts.workerName(), func(t *testing.T) {
			ctx := within(t, 4*time.Minute)
			side := running(ctx, t, opts)
			u := &upgrading{T: t, ctx: ctx, side: side, keeper: side.Keeper()}
			u.load = StartLoad(ctx, LoadOptions{
				Address: side.Address, Rate: 50, Seed: seed(t), Ramp: 500 * time.Millisecond,
				Groups: []Group{
					{Kind: Stream, Clients: 64, Tokens: [2]int{100, 200}},
					{Kind: Plain, Clients: 4, Tokens: [2]int{100, 200}},
					{Kind: Upload, Clients: 2, Body: [2]int{300 << 10, 1 << 20}},
				},
			})
			if _, err := u.load.WaitOpen(ctx, 48, 0); err != nil {
				t.Fatal(err)
			}
			next, err := side.NextProgram()
			if err != nil {
				t.Fatal(err)
			}
			u.refuses(file, keeperless)
			u.undoes(impostor(t, file, "panic"), "its runner panicked (exit status 2)")
			u.undoes(impostor(t, file, "exit"), "its runner exited with status 3")
			u.undoes(impostor(t, file, "hang"), "its runner hung: it did not get ready")
			u.runs(file)
			for range 10 {
				u.takes(next)
			}
			u.dies(next)
			u.duringARestart(next)

			ending, cancel := context.WithTimeout(ctx, 30*time.Second)
			defer cancel()
			u.load.Stop(ending)
			c := u.load.Tally.Counts()
			t.Logf("%s; gaps %s", c, &u.load.Tally.Gaps)
			if c.Bad() > 0 || c.Complete < 64 || len(c.Nonces) != 2 {
				t.Errorf("%s; lives %v; want all whole, of two lives; %s", c, c.Nonces, strings.Join(c.Notes, "; "))
			}
		})
	}
}

// refuses asks for what is no program to go on as. Nothing of the sidecar is touched.
func (u *upgrading) refuses(file, keeperless string) {
	u.Helper()
	dir := u.TempDir()
	program, err := os.ReadFile(file)
	if err != nil {
		u.Fatal(err)
	}
	before := u.status()
	for name, bad := range map[string]struct {
		text []byte
		mode os.FileMode
		want string
	}{
		"absent":         {nil, 0, "no such file"},
		"not executable": {program, 0o644, "not executable"},
		"empty":          {[]byte{}, 0o755, "no program of Linux"},
		"garbage":        {bytes.Repeat([]byte("garbage"), 1000), 0o755, "no program of Linux"},
		"truncated":      {program[:len(program)/2], 0o755, "no upgrade: it "},
		"not even begun": {program[:4096], 0o755, "no upgrade: it "},
	} {
		path := filepath.Join(dir, name)
		if bad.mode != 0 {
			if err := os.WriteFile(path, bad.text, bad.mode); err != nil {
				u.Fatal(err)
			}
		}
		if _, err := u.side.Upgrade(u.ctx, path); err == nil || !strings.Contains(err.Error(), bad.want) {
			u.Errorf("%s: got %v, want %q", name, err, bad.want)
		}
	}
	if _, err := u.side.Upgrade(u.ctx, keeperless); err == nil || !strings.Contains(err.Error(), "exit status 4") || !strings.Contains(err.Error(), "it has no keeper") {
		u.Errorf("a build without a keeper: got %v", err)
	}
	if after := u.status(); after.Runner != before.Runner || after.Upgrades.Tried != 0 {
		u.Errorf("a refused upgrade touched the sidecar: before %+v, after %+v", before, after)
	}
}

// undoes asks for a program that is found out only when it runs.
func (u *upgrading) undoes(file, why string) {
	u.Helper()
	_, err := u.side.Upgrade(u.ctx, file)
	if err == nil || !strings.Contains(err.Error(), "the upgrade was undone: "+why) {
		u.Errorf("%s: got %v, want it undone: %s", filepath.Base(file), err, why)
	}
	u.undone++
	if st := u.status(); st.Upgrades.Undone != u.undone || st.Upgrades.OnTrial {
		u.Errorf("%s: afterwards %+v, want %d undone", filepath.Base(file), st.Upgrades, u.undone)
	}
}

// takes asks for a program that goes on.
func (u *upgrading) takes(file string) {
	u.Helper()
	before := u.status()
	got, err := u.side.Upgrade(u.ctx, file)
	if err != nil || got.Outcome != "on_trial" || got.Keeper != u.keeper {
		u.Fatalf("got %+v, %v; want it on trial in process %d", got, err, u.keeper)
	}
	u.runs(file)
	if after := u.status(); after.Runner == before.Runner || after.Worker.PID != before.Worker.PID || after.Upgrades.Undone != u.undone {
		u.Errorf("before %+v, after %+v: want another runner and the same worker", before, after)
	}
}

// runs checks which file the keeper executes.
func (u *upgrading) runs(file string) {
	u.Helper()
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", u.keeper))
	if err != nil || exe != file {
		u.Errorf("the keeper executes %s (%v), want %s", exe, err, file)
	}
}

// dies kills a runner on trial: the first program of all comes back.
func (u *upgrading) dies(file string) {
	u.Helper()
	u.takes(file)
	st := u.status()
	if err := Kill.Strike(st.Runner); err != nil {
		u.Fatal(err)
	}
	next, err := u.side.Successor(u.ctx, st.Runner)
	if err != nil {
		u.Fatal(err)
	}
	u.undone++
	u.runs(u.side.program)
	if next.Upgrades.Undone != u.undone || next.Upgrades.LastError != "its runner killed by signal 9 (killed)" {
		u.Errorf("after a kill -9 on trial: %+v", next.Upgrades)
	}
}

// duringARestart upgrades twice while the worker is restarted.
func (u *upgrading) duringARestart(file string) {
	u.Helper()
	ended := make(chan error, 1)
	go func() {
		_, err := u.side.Restart(u.ctx)
		ended <- err
	}()
	if err := u.side.WaitPhase(u.ctx, func(phase string) bool { return phase != Serving }); err != nil {
		u.Fatal(err)
	}
	u.takes(file)
	if err := u.side.WaitPhase(u.ctx, func(phase string) bool { return phase == "starting" }); err != nil {
		u.Fatal(err)
	}
	if _, err := u.side.Upgrade(u.ctx, file); err != nil {
		u.Fatal(err)
	}
	if err := <-ended; err != nil {
		u.Errorf("the restart: %v", err)
	}
}

func (u *upgrading) status() Status {
	u.Helper()
	st, err := u.side.ask(u.ctx)
	if err != nil {
		u.Fatal(err)
	}
	return st
}
