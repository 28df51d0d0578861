package check

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// pace of the GPU tests: an hour is twelve seconds.
const pace = 300

// onGPU is a sidecar whose worker has a simulated GPU.
func onGPU(ctx context.Context, t *testing.T, settings string, sim ...string) *Sidecar {
	t.Helper()
	file := program(t, shipped)
	library := program(t, double)
	return running(ctx, t, SidecarOptions{
		Program: file, GPU: &GPU{Library: library, MiB: 20480, Pace: pace, Settings: settings},
		Run: []string{"--drain", "20s"}, Sim: append([]string{"--start-delay", "500ms", "--tokens-per-second", "50"}, sim...),
	})
}

// TestEndToEndLeak: a worker leaks under load. That is foreseen, over two deaths of the runner, and it is replaced before its memory is
// full; not a stream is cut, and nobody starts before the memory is back.
func TestEndToEndLeak(t *testing.T) {
	ctx := within(t, 3*time.Minute)
	side := onGPU(ctx, t, "window: 15m, hold: 1m", "--gpu-leak", "8", "--gpu-release", "2s")
	first, err := side.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var leak Past
	counts := underLoad(ctx, t, side, 64, func(load *Load) {
		for range 2 {
			time.Sleep(4 * time.Second) // of a history that has to be remembered
			st, err := side.Status(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if err := Kill.Strike(st.Runner); err != nil {
				t.Fatal(err)
			}
			if _, err := side.Successor(ctx, st.Runner); err != nil {
				t.Fatal(err)
			}
		}
		if leak, err = side.AwaitRestart(ctx, "memory_forecast"); err != nil {
			t.Fatal(err)
		}
	})
	last, err := side.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("restart: %+v; %s", leak, counts)
	if leak.Outcome != "done" || leak.Cut != 0 || leak.Refused != 0 || !strings.HasPrefix(leak.Why, "full in ") || last.Life <= first.Life {
		t.Errorf("the restart: %+v, life %d -> %d", leak, first.Life, last.Life)
	}
	if counts.Bad() > 0 || counts.Complete < 64 {
		t.Errorf("the clients: %s; %s", counts, strings.Join(counts.Notes, "; "))
	}
	if !strings.Contains(string(side.output()), `"to":"releasing"`) {
		t.Errorf("its memory was not waited for:\n%s", side.LastLines())
	}
}

// TestEndToEndReaderDies: whatever becomes of the reader is no matter of clients', nor of the worker's.
func TestEndToEndReaderDies(t *testing.T) {
	ctx := within(t, 3*time.Minute)
	side := onGPU(ctx, t, "")
	before, err := side.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	counts := underLoad(ctx, t, side, 500, func(load *Load) {
		if _, err := load.WaitOpen(ctx, 400, 0); err != nil {
			t.Fatal(err)
		}
		reader := side.reader(ctx, t)
		if err := Kill.Strike(reader); err != nil {
			t.Fatal(err)
		}
		err := poll(ctx, 100*time.Millisecond, func() (bool, error) {
			next := side.readerPID(ctx, t)
			return next != 0 && next != reader, nil
		})
		if err != nil {
			t.Fatalf("no other reader was started: %v", err)
		}
		if err := side.TurnGPU(ctx, `{"hang": "60s"}`); err != nil {
			t.Fatal(err)
		}
		err = poll(ctx, 200*time.Millisecond, func() (bool, error) { return side.readerState(ctx, t) == "silent", nil })
		if err != nil {
			t.Fatalf("its silence isn't noticed: %v", err)
		}
		time.Sleep(2 * time.Second) // streams go on meanwhile
	})
	after, err := side.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if counts.Bad() > 0 || counts.Complete < 500 {
		t.Errorf("the clients: %s; %s", counts, strings.Join(counts.Notes, "; "))
	}
	if after.Life != before.Life || after.TakeOvers != before.TakeOvers {
		t.Errorf("life %d -> %d, take-overs %d -> %d", before.Life, after.Life, before.TakeOvers, after.TakeOvers)
	}
}

// TestEndToEndEngineOutlivesItsParent, with the memory: it is cleaned up before the next start.
func TestEndToEndEngineOutlivesItsParent(t *testing.T) {
	ctx := within(t, 2*time.Minute)
	side := onGPU(ctx, t, "", "--children", "1", "--children-setsid", "--children-hold", "8s", "--gpu-pid", "child", "--gpu-release", "1s")
	before, err := side.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	err = poll(ctx, 100*time.Millisecond, func() (bool, error) { // until the driver has listed who has its memory
		gpus := side.gpus(ctx, t)
		return len(gpus) == 1 && gpus[0].WorkerBytes >= 16<<30, nil
	})
	if err != nil {
		t.Fatalf("its memory isn't seen: %v", err)
	}
	if err := Kill.Strike(before.Worker.PID); err != nil {
		t.Fatal(err)
	}
	crash, err := side.AwaitRestart(ctx, "crashed")
	if err != nil {
		t.Fatal(err)
	}
	if crash.Outcome != "done" {
		t.Errorf("after the crash: %+v", crash)
	}
	gpus := side.gpus(ctx, t)
	if len(gpus) != 1 || gpus[0].UsedBytes > 17<<30 {
		t.Errorf("the next life began onto the memory of the one before: %+v", gpus)
	}
}

// TestEndToEndGPULost: a GPU that has fallen off the bus gets no other life; its worker is left alone as long as it lives.
func TestEndToEndGPULost(t *testing.T) {
	ctx := within(t, 2*time.Minute)
	side := onGPU(ctx, t, "")
	if err := side.TurnGPU(ctx, `{"xid": 79}`); err != nil {
		t.Fatal(err)
	}
	var st Status
	err := poll(ctx, 200*time.Millisecond, func() (ok bool, err error) {
		st, err = side.Status(ctx)
		return strings.Contains(st.Barred, "Xid 79"), err
	})
	if err != nil || st.Phase != Serving {
		t.Fatalf("it is %s, barred: %q: %v", st.Phase, st.Barred, err)
	}
	if _, err := side.Restart(ctx); err == nil || !strings.Contains(err.Error(), "not restarting onto it") {
		t.Errorf("a person's restart: %v", err)
	}
	if err := Kill.Strike(st.Worker.PID); err != nil {
		t.Fatal(err)
	}
	if err := side.WaitPhase(ctx, func(phase string) bool { return phase == "halted" }); err != nil {
		t.Fatal(err)
	}
	if err := side.Say(ctx, "start"); err != nil {
		t.Fatalf("a person says that it is repaired: %v", err)
	}
	if err := side.WaitPhase(ctx, func(phase string) bool { return phase == Serving }); err != nil {
		t.Fatal(err)
	}
}

// TestEndToEndNoReader, and with what would keep a reader from starting: the worker is served all the same.
func TestEndToEndNoReader(t *testing.T) {
	file := program(t, shipped)
	for name, run := range map[string][]string{"": nil, "LD_BIND_NOW": nil} {
		t.Run("without "+name, func(t *testing.T) {
			if name != "" {
				t.Setenv(name, "1")
			}
			ctx := within(t, time.Minute)
			side := running(ctx, t, SidecarOptions{Program: file, Run: slices.Concat(run, []string{"--drain", "5s"}), Sim: []string{"--tokens-per-second", "50"}})
			counts := underLoad(ctx, t, side, 8, func(load *Load) {
				if _, err := load.WaitOpen(ctx, 8, 0); err != nil {
					t.Fatal(err)
				}
			})
			if counts.Bad() > 0 {
				t.Errorf("%s", counts)
			}
		})
	}
	t.Run("LD_BIND_NOW and a reader", func(t *testing.T) {
		t.Setenv("LD_BIND_NOW", "1")
		ctx := within(t, time.Minute)
		side := onGPU(ctx, t, "")
		if err := poll(ctx, 100*time.Millisecond, func() (bool, error) { return len(side.gpus(ctx, t)) == 1, nil }); err != nil {
			t.Errorf("its GPU isn't read: %v", err)
		}
	})
}

// gpuStatus is what `status --json` says of a GPU, as far as it is needed here.
type gpuStatus struct {
	UUID        string `json:"uuid"`
	UsedBytes   int64  `json:"used_bytes"`
	WorkerBytes int64  `json:"worker_bytes"`
	Stage       string `json:"stage"`
}

func (s *Sidecar) gpuView(ctx context.Context, t *testing.T) (view struct {
	Reader struct {
		State string `json:"state"`
		PID   int    `json:"pid"`
		Error string `json:"error"`
	} `json:"gpu_reader"`
	GPUs []gpuStatus `json:"gpus"`
},
) {
	t.Helper()
	out, err := s.Command(ctx, "status", "--json")
	if err == nil {
		err = json.Unmarshal(out, &view)
	}
	if err != nil {
		t.Fatal(err)
	}
	return view
}

func (s *Sidecar) gpus(ctx context.Context, t *testing.T) []gpuStatus {
	t.Helper()
	return s.gpuView(ctx, t).GPUs
}

func (s *Sidecar) readerState(ctx context.Context, t *testing.T) string {
	t.Helper()
	return s.gpuView(ctx, t).Reader.State
}

func (s *Sidecar) readerPID(ctx context.Context, t *testing.T) int {
	t.Helper()
	return s.gpuView(ctx, t).Reader.PID
}

// reader is the PID of the program that reads.
func (s *Sidecar) reader(ctx context.Context, t *testing.T) int {
	t.Helper()
	pid := s.readerPID(ctx, t)
	if pid == 0 {
		t.Fatal(fmt.Errorf("there is no reader:\n%s", s.LastLines()))
	}
	return pid
}

// TestEndToEndOldDriver: a worker that needs a newer driver isn't started, and both versions are told.
func TestEndToEndOldDriver(t *testing.T) {
	file, library := program(t, shipped), program(t, double)
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	_, err := StartSidecar(ctx, SidecarOptions{
		Program: file, GPU: &GPU{Library: library, MiB: 20480, Pace: pace, Settings: `minimum_driver: "560.35"`},
	})
	if err == nil || !strings.Contains(err.Error(), "driver 550.54.15-double is older than the configured minimum 560.35") ||
		strings.Contains(err.Error(), "application startup complete") {
		t.Errorf("with a driver that is too old: %v", err)
	}
}

// TestEndToEndUnknownDevice: it is refused with those that there are, and the worker is served all the same.
func TestEndToEndUnknownDevice(t *testing.T) {
	ctx := within(t, time.Minute)
	side := onGPU(ctx, t, "devices: [GPU-aaaa]")
	err := poll(ctx, 100*time.Millisecond, func() (bool, error) {
		said := side.gpuView(ctx, t).Reader.Error
		return strings.Contains(said, "GPU-aaaa") && strings.Contains(said, "GPU-51d00b1e"), nil
	})
	if err != nil {
		t.Errorf("it says: %q", side.gpuView(ctx, t).Reader.Error)
	}
}

// TestEndToEndAge: a life that is as old as it may be is replaced as soon as it is quiet; nothing presses.
func TestEndToEndAge(t *testing.T) {
	ctx := within(t, time.Minute)
	side := running(ctx, t, SidecarOptions{
		Program: program(t, shipped), GPU: &GPU{Library: program(t, double), MiB: 20480, Pace: pace},
		Run: []string{"--max-age", "20m"}, Sim: []string{"--tokens-per-second", "50"},
	})
	counts := underLoad(ctx, t, side, 32, func(*Load) { time.Sleep(8 * time.Second) }) // twice its time
	if past, err := side.History(ctx); err != nil || counts.Bad() > 0 {
		t.Errorf("under load: %v, %v; %s", past, err, counts)
	}
	aged, err := side.AwaitRestart(ctx, "age")
	if err != nil {
		t.Fatal(err)
	}
	if aged.Outcome != "done" || aged.Cut != 0 || !strings.HasPrefix(aged.Why, "it has served for ") || !strings.HasSuffix(aged.Why, "no stream is open") {
		t.Errorf("%+v", aged)
	}
}
