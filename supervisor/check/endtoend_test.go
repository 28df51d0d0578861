package check

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	doubles "autoglm-sidecar/gpu/nvml/double"
)

// The tests whose names begin with TestEndToEnd judge the program as it is shipped: real processes, sockets and kills. Their
// sizes come from the environment:
//
//	AUTOGLM_SIDECAR_KILLS     deaths of runners in each crash gate (50)
//	AUTOGLM_SIDECAR_STREAMS   streams in each crash gate (256)
//	AUTOGLM_SIDECAR_RESTARTS  restarts of the worker in each soak (5)
//	AUTOGLM_SIDECAR_SEED      of all that is drawn by chance; a test prints the one it took

// builds is the directory of the programs under test.
var builds string

func TestMain(m *testing.M) {
	var err error
	if builds, err = os.MkdirTemp("", "sidecar-builds-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(builds)
	os.Exit(code)
}

const entry = "-E autoglm-sidecar/sockets/keeper.Entry"

// Each program is built once, by the first test that needs it, as the Makefile builds it.
var (
	shipped = sync.OnceValues(func() (string, error) {
		return build("shipped", "CGO_ENABLED=0", "-ldflags", entry)
	})
	raced = sync.OnceValues(func() (string, error) {
		// An external linker would drop the entry point without a word.
		return build("raced", "CGO_ENABLED=1", "-race", "-ldflags", "-linkmode=internal "+entry)
	})
	// Beside the shipped program, where it is looked for; and the double of NVIDIA's library that it reads.
	double = sync.OnceValues(func() (library string, err error) {
		_, err = buildOf("autoglm-sidecar/gpu/nvml", "autoglm-sidecar-nvml", "CGO_ENABLED=1", "-ldflags", "-extldflags=-Wl,-z,lazy")
		if err != nil {
			return "", err
		}
		return doubles.Build(builds, false)
	})
	entryless = sync.OnceValues(func() (string, error) { return build("entryless", "CGO_ENABLED=0") })
)

func build(name, env string, flags ...string) (string, error) {
	return buildOf("autoglm-sidecar", name, env, flags...)
}

func buildOf(what, name, env string, flags ...string) (string, error) {
	file := filepath.Join(builds, name)
	cmd := exec.Command("go", append(append([]string{"build", "-o", file}, flags...), what)...)
	cmd.Env = append(os.Environ(), env)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return file, nil
}

// running is a sidecar that serves, until the test ends.
func running(ctx context.Context, t *testing.T, opts SidecarOptions) *Sidecar {
	t.Helper()
	side, err := StartSidecar(ctx, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := side.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return side
}

// program is the file of a build. End-to-end tests are what takes the time: -short leaves them out.
func program(t *testing.T, built func() (string, error)) string {
	t.Helper()
	if testing.Short() {
		t.Skip("end-to-end tests take minutes")
	}
	file, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// size is a number from the environment.
func size(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv("AUTOGLM_SIDECAR_" + name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		t.Fatalf("AUTOGLM_SIDECAR_%s is %q, no number", name, text)
	}
	return n
}

func seed(t *testing.T) uint64 {
	t.Helper()
	n := uint64(size(t, "SEED", rand.IntN(1_000_000)))
	t.Logf("AUTOGLM_SIDECAR_SEED=%d", n)
	return n
}

// within bounds one scenario: a hang is a failure, not a wait for the test binary's own end.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), d, fmt.Errorf("not done within %v", d))
	t.Cleanup(cancel)
	return ctx
}

func TestEndToEndCrashGate(t *testing.T) {
	kills, streams := size(t, "KILLS", 50), size(t, "STREAMS", 256)
	usual := GateOptions{
		Streams: streams, Rate: 50, Slow: 6, Plain: 6, Uploads: 6,
		Deaths: kills, EveryNext: 5, During: kills * 2 / 5, Upgrades: max(2, kills/10), Drains: 2, Pause: [2]time.Duration{200 * time.Millisecond, 700 * time.Millisecond},
	}
	for _, test := range []struct {
		name   string
		build  func() (string, error)
		unix   bool
		change func(*GateOptions)
	}{
		{"kill, tcp worker", shipped, false, func(*GateOptions) {}},
		{"kill, unix worker", shipped, true, func(*GateOptions) {}},
		{"kill, unix front, tcp worker", shipped, false, func(o *GateOptions) {
			o.Sidecar.UnixFront, o.Deaths, o.During, o.Streams = true, max(6, kills/5), 2, streams/2
		}},
		{"kill, unix front, unix worker", shipped, true, func(o *GateOptions) {
			o.Sidecar.UnixFront, o.Deaths, o.During, o.Streams = true, max(6, kills/5), 2, streams/2
		}},
		{"kill, tcp worker, with a GPU", shipped, false, func(o *GateOptions) {
			o.Deaths, o.During, o.Sidecar.GPU = max(10, kills/5), 5, &GPU{MiB: 20480, Pace: pace}
		}},
		{"panic", shipped, false, func(o *GateOptions) { o.Death, o.Deaths, o.During = Panic, max(10, kills/5), 5 }},
		{"freeze", shipped, true, func(o *GateOptions) {
			o.Death, o.Deaths, o.During, o.EveryNext, o.Streams, o.Upgrades, o.Drains = Freeze, max(3, kills/20), 1, 0, 64, 1, 0
		}},
		{"kill, race build", raced, false, func(o *GateOptions) {
			o.Deaths, o.During, o.Streams, o.Uploads, o.Upgrades = max(10, kills/5), 5, 48, 2, 1
		}},
		{"kill, race build, unix worker", raced, true, func(o *GateOptions) {
			o.Deaths, o.During, o.Streams, o.Uploads, o.Upgrades = max(5, kills/10), 2, 48, 2, 1
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := usual
			test.change(&o)
			o.Seed, o.Progress = seed(t), func(line string) { t.Log(line) }
			o.Sidecar.Program, o.Sidecar.Unix = program(t, test.build), test.unix
			if o.Sidecar.GPU != nil {
				o.Sidecar.GPU.Library = program(t, double)
			}
			o.Sidecar.Sim = []string{"--start-delay", "700ms", "--tokens-per-second", fmt.Sprint(o.Rate)}
			report, err := CrashGate(within(t, 2*time.Minute+time.Duration(o.Deaths)*5*time.Second), o)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("\n%s", report)
			if !report.Passed() {
				t.Fail()
			}
		})
	}
}

func TestEndToEndSoak(t *testing.T) {
	file := program(t, shipped)
	t.Parallel()
	open := size(t, "OPEN", 100)
	base := SoakOptions{
		Clients: open * 9 / 5, Rate: 10, Shortest: 5 * time.Second, Longest: 7 * time.Second, Last: time.Minute,
		Restarts: size(t, "RESTARTS", 5), Open: open, Seed: seed(t), Guests: []Guest{openaiGuest, openaiGuest, openaiGuest},
	}
	run := both
	if open > 200 {
		run = eachAlone // two of that size would fill the processors
	}
	run(t, func(unix bool) {
		o := base
		o.Sidecar = SidecarOptions{Program: file, Unix: unix, Sim: []string{"--start-delay", "3s", "--tokens-per-second", fmt.Sprint(o.Rate)}}
		name := o.Sidecar.workerName()
		o.Progress = func(line string) { t.Logf("%s: %s", name, line) }
		report, err := Soak(within(t, 3*time.Minute+time.Duration(o.Restarts)*30*time.Second), o)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		t.Logf("\n%s", report)
		for i, open := range report.Open {
			if open < o.Open {
				t.Errorf("%s: restart %d met %d open streams, wanted %d", name, i+1, open, o.Open)
			}
		}
		if !report.Passed() {
			t.Fail()
		}
	})
}

// both runs f for a tcp and a unix worker, at the same time: neither fills a processor.
func both(t *testing.T, f func(unix bool)) {
	t.Helper()
	var group sync.WaitGroup
	for _, unix := range []bool{false, true} {
		group.Go(func() { f(unix) })
	}
	group.Wait()
}

// eachAlone runs f for a tcp worker, and then for a unix worker.
func eachAlone(t *testing.T, f func(unix bool)) {
	t.Helper()
	for _, unix := range []bool{false, true} {
		f(unix)
	}
}

// TestEndToEndNegativeControls are runs that must fail: they show that the passing ones could have.
func TestEndToEndNegativeControls(t *testing.T) {
	file := program(t, shipped)
	t.Parallel()
	for _, test := range []struct {
		name     string
		run, sim []string
		fails    func(Counts) bool
	}{
		{"a byte is dropped", nil, []string{"--fault", "drop", "--every", "20"}, func(c Counts) bool { return c.Corrupt > 0 && c.Corrupt == c.Flaws["lost"]+c.Flaws["changed"] }},
		{"a byte is doubled", nil, []string{"--fault", "double", "--every", "20"}, func(c Counts) bool { return c.Corrupt > 0 && c.Corrupt == c.Flaws["doubled"]+c.Flaws["changed"] }},
		{"two bytes are swapped", nil, []string{"--fault", "swap", "--every", "20"}, func(c Counts) bool { return c.Corrupt > 0 && c.Corrupt == c.Flaws["swapped"]+c.Flaws["changed"] }},
		{"nothing is held", []string{"--hold", "0"}, nil, func(c Counts) bool { return c.Refused > 0 && c.Corrupt == 0 && c.Cut == 0 }},
	} {
		t.Run(test.name, func(t *testing.T) {
			report, err := Soak(within(t, time.Minute), SoakOptions{
				Sidecar: SidecarOptions{Program: file, Run: test.run, Sim: append([]string{"--start-delay", "1s", "--tokens-per-second", "50"}, test.sim...)},
				Clients: 60, Rate: 50, Shortest: time.Second, Longest: 2 * time.Second, Last: 2 * time.Second,
				Restarts: 1, Open: 20, Seed: seed(t),
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("\n%s", report)
			if report.Passed() || !test.fails(report.Counts) {
				t.Errorf("a run in which %s passed, or failed for another reason", test.name)
			}
		})
	}
}

func TestEndToEndABuildWithoutEntryPointIsFound(t *testing.T) {
	file := program(t, entryless)
	side, err := StartSidecar(within(t, 20*time.Second), SidecarOptions{Program: file})
	if !errors.Is(err, ErrNoKeeper) {
		t.Errorf("want %v, got %v", ErrNoKeeper, err)
	}
	if err == nil {
		t.Error(side.Stop(context.Background()))
	}
}
