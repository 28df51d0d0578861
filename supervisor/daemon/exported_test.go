package daemon

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"autoglm-sidecar/gpu"
)

func TestAnExporterIsLookedAtAsAWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := map[string]bool{}
		x := newExported("http://127.0.0.1:9400/metrics", func(line gpu.Line) {
			if p := line.Processes; p != nil && p.Trouble == gpu.Unsupported { // it lists none
				told[p.Device] = true
			}
		}, slog.New(slog.DiscardHandler))
		x.pass(gpu.Line{System: &gpu.System{Devices: []gpu.Device{{UUID: one}, {UUID: two}}}})
		looked := make(chan error, 1)
		go func() { looked <- x.Now(t.Context()) }()
		synctest.Wait()
		x.pass(gpu.Line{Sample: &gpu.Sample{Device: one}})
		synctest.Wait()
		select {
		case err := <-looked:
			t.Fatalf("after the first of two devices: %v", err)
		default:
		}
		x.pass(gpu.Line{Sample: &gpu.Sample{Device: two}})
		if err := <-looked; err != nil || !told[one] || !told[two] {
			t.Errorf("%v, %v were told of", err, told)
		}
	})
}

func TestNobodyWaitsForAnExporterForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newExported("http://127.0.0.1:9400/metrics", func(gpu.Line) {}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithTimeout(t.Context(), freshLook)
		defer cancel()
		began := time.Now()
		if err := x.Now(ctx); err == nil || time.Since(began) != freshLook {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// TestMemoryIsWaitedForByWhatAnExporterSays, of a GPU whose processes nobody lists.
func TestMemoryIsWaitedForByWhatAnExporterSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		x := newExported("http://127.0.0.1:9400/metrics", r.take, slog.New(slog.DiscardHandler))
		used := gpu.Bytes(0)
		says := func() {
			x.pass(gpu.Line{Sample: &gpu.Sample{Device: one, Total: whole, Used: used, Free: whole - used}})
		}
		x.pass(gpu.Line{System: &gpu.System{Library: gpu.Reads, Devices: []gpu.Device{card(one, 0)}}})
		says()
		r.serves(1)
		used = 60 * gpu.GiB
		says()
		r.change(func() { r.answer = x.Now })
		ended := make(chan error, 1)
		began := time.Now()
		go func() { ended <- reclaimer{r.devices}.Release(t.Context(), 1) }()
		for range 4 { // it looks each 5 s, and the driver takes 17 s
			time.Sleep(5 * time.Second)
			if time.Since(began) > 17*time.Second {
				used = 0
			}
			says()
		}
		if err := <-ended; err != nil || time.Since(began) != 20*time.Second {
			t.Errorf("%v after %v, want 20 s", err, time.Since(began))
		}
	})
}
