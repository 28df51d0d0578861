package check

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
	"time"
)

// A runner that dies while the sidecar leaves has a successor, which leaves in its place: open streams run to their end,
// the worker is stopped, and the keeper ends with 0.
func TestEndToEndKilledWhileLeaving(t *testing.T) {
	file := program(t, shipped)
	rng := rand.New(rand.NewPCG(seed(t), 3))
	for _, test := range []struct {
		name    string
		unix    bool
		kills   int
		pause   time.Duration // before each of them, at most
		streams int
	}{
		{"once, streams are open", false, 1, 200 * time.Millisecond, 32},
		{"again and again", true, 8, 400 * time.Millisecond, 32},
		// Fewer than the five that may die before they are ready, and in less time than a deaf worker is given.
		{"while the worker is being stopped", false, 4, 150 * time.Millisecond, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx := within(t, time.Minute)
			side := running(ctx, t, SidecarOptions{
				Program: file, Unix: test.unix, Run: []string{"--stop-grace", "1s"}, Sim: []string{"--tokens-per-second", "50", "--on-term", "ignore"},
			})
			st, err := side.Status(ctx)
			if err != nil {
				t.Fatal(err)
			}
			load := StartLoad(ctx, LoadOptions{
				Address: side.Address, Rate: 50, Seed: 1,
				Groups: []Group{{Kind: Stream, Clients: test.streams, Tokens: [2]int{200, 250}}},
			})
			if _, err := load.WaitOpen(ctx, test.streams, 0); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(side.Keeper(), syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			killed := killWhileLeaving(ctx, side, rng, test.kills, test.pause)
			load.Stop(ctx)
			if c := load.Tally.Counts(); c.Bad() > 0 || c.Complete != int64(test.streams) {
				t.Errorf("%s; want %d complete; %s", c, test.streams, c.Notes)
			}
			select {
			case <-side.exited:
			case <-ctx.Done():
				t.Fatalf("it does not leave; it said:\n%s", side.LastLines())
			}
			if side.exitErr != nil || side.keeper.ProcessState.ExitCode() != 0 {
				t.Errorf("the keeper ended with %v, want status 0; it said:\n%s", side.keeper.ProcessState, side.LastLines())
			}
			if _, err := os.Stat(fmt.Sprintf("/proc/%d", st.Worker.PID)); err == nil {
				t.Error("the worker is still there")
			}
			if killed < test.kills {
				t.Errorf("%d runners were killed, wanted %d", killed, test.kills)
			}
		})
	}
}

// killWhileLeaving kills one runner after the other, by what /proc shows: one that leaves need not answer any more.
func killWhileLeaving(ctx context.Context, side *Sidecar, rng *rand.Rand, kills int, pause time.Duration) (killed int) {
	for killed < kills && side.gone() == nil && ctx.Err() == nil {
		rest(ctx, time.Duration(rng.Int64N(int64(pause))))
		for _, pid := range side.children() {
			if side.isRunner(pid) && syscall.Kill(pid, syscall.SIGKILL) == nil {
				killed++
			}
		}
	}
	return killed
}

// A second SIGTERM hurries, also where the first one was heard by a runner that is dead.
func TestEndToEndASecondWordIsHeardByTheNextRunner(t *testing.T) {
	file := program(t, shipped)
	ctx := within(t, 40*time.Second)
	side := running(ctx, t, SidecarOptions{Program: file, Sim: []string{"--tokens-per-second", "50"}})
	st, err := side.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	load := StartLoad(ctx, LoadOptions{Address: side.Address, Rate: 50, Seed: 1, Groups: []Group{{Kind: Stream, Clients: 4, Tokens: [2]int{50_000, 50_000}}}})
	if _, err := load.WaitOpen(ctx, 4, 0); err != nil {
		t.Fatal(err)
	}
	for _, strike := range []func() error{
		func() error { return syscall.Kill(side.Keeper(), syscall.SIGTERM) },
		func() error { return Kill.Strike(st.Runner) },
		func() error { _, err := side.Successor(ctx, st.Runner); return err },
		func() error { return syscall.Kill(side.Keeper(), syscall.SIGTERM) },
	} {
		if err := strike(); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-side.exited:
	case <-ctx.Done():
		t.Fatalf("it does not hurry; it said:\n%s", side.LastLines())
	}
	load.Stop(ctx)
	if c := load.Tally.Counts(); side.exitErr != nil || c.Cut != 4 {
		t.Errorf("it ended with %v, want status 0 and four streams cut loudly: %s", side.keeper.ProcessState, c)
	}
}
