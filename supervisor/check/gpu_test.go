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

// past is a restart as `history --json` has it.
type past struct {
	ID      int64  `json:"id"`
	Reason  string `json:"reason"`
	Why     string `json:"why"`
	Outcome string `json:"outcome"`
	Cut     int64  `json:"cut"`
	Refused int64  `json:"refused"`
}

func (s *Sidecar) history(ctx context.Context, t *testing.T) []past {
	t.Helper()
	out, err := s.Command(ctx, "history", "--json")
	if err != nil {
		t.Fatal(err)
	}
	var all struct {
		Restarts []past `json:"restarts"`
	}
	if err := json.Unmarshal(out, &all); err != nil {
		t.Fatalf("read history --json: %v\n%s", err, out)
	}
	return all.Restarts
}

// awaitRestart waits until one for that reason is recorded.
func (s *Sidecar) awaitRestart(ctx context.Context, t *testing.T, reason string) past {
	t.Helper()
	var found past
	err := poll(ctx, 200*time.Millisecond, func() (bool, error) {
		for _, p := range s.history(ctx, t) {
			if p.Reason == reason {
				found = p
				return true, nil
			}
		}
		return false, s.gone()
	})
	if err != nil {
		t.Fatalf("wait for a restart with the reason %s: %v\n%s", reason, err, s.LastLines())
	}
	return found
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
	var leak past
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
		leak = side.awaitRestart(ctx, t, "memory_forecast")
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
	side := onGPU(ctx, t, "", "--children", "1", "--children-setsid", "--children-hold", "10m", "--gpu-pid", "child", "--gpu-release", "1s")
	before, err := side.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second) // the driver lists its processes meanwhile
	if err := Kill.Strike(before.Worker.PID); err != nil {
		t.Fatal(err)
	}
	crash := side.awaitRestart(ctx, t, "crashed")
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
	} `json:"gpu_reader"`
	GPUs []gpuStatus `json:"gpus"`
}) {
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
