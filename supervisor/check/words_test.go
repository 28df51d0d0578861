package check

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"
)

// A person stops the worker under load and starts it again, and the runner is killed in each state on the way. Nothing that has
// begun is cut, the worker stays stopped until it is started, and it is one worker that serves then.
func TestEndToEndStopAndStartOverOurDeath(t *testing.T) {
	file := program(t, shipped)
	for _, unix := range []bool{false, true} {
		opts := SidecarOptions{Program: file, Unix: unix, Sim: []string{"--start-delay", "2s", "--tokens-per-second", "50"}}
		t.Run(opts.workerName(), func(t *testing.T) {
			ctx := within(t, 2*time.Minute)
			side := running(ctx, t, opts)
			before := killOne(ctx, t, side)
			counts := underLoad(ctx, t, side, 32, func(load *Load) {
				if _, err := load.WaitOpen(ctx, 24, time.Second); err != nil {
					t.Fatal(err)
				}
				say(ctx, t, side, "stop")
				if st := killOne(ctx, t, side); st.Phase != "draining" {
					t.Errorf("after the death of the runner in the drain of a stop it is %s", st.Phase)
				}
				if err := load.Rest(ctx); err != nil { // no more come: they would be refused
					t.Fatal(err)
				}
				say(ctx, t, side, "stop", "--wait")
			})
			if counts.Cut > 0 || counts.Corrupt > 0 || counts.Complete == 0 {
				t.Errorf("a stop under load: %s", counts)
			}
			for range 2 {
				if st := killOne(ctx, t, side); st.Phase != "stopped" || st.Worker.PID != 0 {
					t.Errorf("after the death of the runner a stopped worker is %s, PID %d", st.Phase, st.Worker.PID)
				}
			}
			if _, err := os.Stat(fmt.Sprintf("/proc/%d", before.Worker.PID)); err == nil {
				t.Errorf("worker %d is there after its stop", before.Worker.PID)
			}

			say(ctx, t, side, "drain")
			say(ctx, t, side, "start")
			err := poll(ctx, 5*time.Millisecond, func() (bool, error) { // else the next runner may find none, and starts another
				st, err := side.ask(ctx)
				return err == nil && st.Worker.PID != 0, side.gone()
			})
			if err != nil {
				t.Fatal(err)
			}
			if st := killOne(ctx, t, side); st.Phase != "starting" || st.Life != before.Life+1 {
				t.Errorf("after the death of the runner in a start it is %s, life %d; want starting, life %d", st.Phase, st.Life, before.Life+1)
			}
			say(ctx, t, side, "start", "--wait")
			if st := killOne(ctx, t, side); st.Phase != "draining" || st.Drained == nil || st.Life != before.Life+1 {
				t.Errorf("a worker that was started during a drain is %s, life %d; want draining, life %d", st.Phase, st.Life, before.Life+1)
			}
			say(ctx, t, side, "open")
			counts = underLoad(ctx, t, side, 32, func(load *Load) {
				if _, err := load.WaitOpen(ctx, 24, 0); err != nil {
					t.Fatal(err)
				}
			})
			if counts.Bad() > 0 || counts.Complete == 0 || len(counts.Nonces) != 1 {
				t.Errorf("after a start: %s, answered by %d lives", counts, len(counts.Nonces))
			}
		})
	}
}

func say(ctx context.Context, t *testing.T, side *Sidecar, words ...string) {
	t.Helper()
	if err := side.Say(ctx, words...); err != nil {
		t.Fatal(err)
	}
}

// killOne ends the runner and returns what the next one says, as soon as it knows how its worker is.
func killOne(ctx context.Context, t *testing.T, side *Sidecar) Status {
	t.Helper()
	st, err := side.ask(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := Kill.Strike(st.Runner); err != nil {
		t.Fatal(err)
	}
	next, err := side.Successor(ctx, st.Runner)
	if err != nil {
		t.Fatal(err)
	}
	return next
}
