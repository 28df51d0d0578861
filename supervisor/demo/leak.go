package demo

import (
	"context"
	"fmt"
	"strings"
	"time"

	"autoglm-sidecar/supervisor/check"
)

// The worker's GPU: it isn't there, a double of NVIDIA's library says that it is. Its time is compressed: a leak of a night takes seconds.
const (
	gpuMiB  = 20480
	gpuPace = 1200 // of its seconds are in one: an hour is 3 s
	leak    = 8    // MiB a minute
	// release is how long the driver takes to have the memory of a worker that has ended.
	release = time.Second
)

// simulatedGPU is the worker's; nil: without its library there is none.
func simulatedGPU(library string) *check.GPU {
	if library == "" {
		return nil
	}
	return &check.GPU{Library: library, MiB: gpuMiB, Pace: gpuPace, Settings: "window: 15m, hold: 1m"}
}

// foresee has the worker leak until the sidecar foresees that its memory will be full, and replaces it.
func (s *scenario) foresee(ctx context.Context, step *Step) error {
	before, err := s.side.Status(ctx)
	if err != nil {
		return err
	}
	if err := s.side.TurnGPU(ctx, fmt.Sprintf(`{"leak": %d}`, leak)); err != nil {
		return err
	}
	made, err := s.side.AwaitRestart(ctx, "memory_forecast")
	if err != nil {
		return err
	}
	if made.Outcome != "done" {
		return fmt.Errorf("the restart for a leak ended %s: %s", made.Outcome, made.Error)
	}
	s.result.Restarts++
	s.result.Leaks++
	why, _, _ := strings.Cut(made.Why, ";")
	step.What = fmt.Sprintf("%s (an hour is %d s): drained, memory back, life %d -> %d", why, int(time.Hour.Seconds())/gpuPace, before.Life, made.ToLife)
	curve, err := s.side.Command(ctx, "history", fmt.Sprint(made.ID))
	if err != nil {
		return err
	}
	s.graph = string(curve)
	return nil
}
