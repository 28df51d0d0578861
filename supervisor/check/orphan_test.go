package check

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// Keeper and runner are killed together. Their streams are lost, but the worker has its model loaded: the next sidecar goes
// on with it, and from there on nothing is lost any more.
func TestEndToEndOrphan(t *testing.T) {
	file := program(t, shipped)
	for _, unix := range []bool{false, true} {
		opts := SidecarOptions{Program: file, Unix: unix, Sim: []string{"--start-delay", "2s", "--tokens-per-second", "50"}}
		t.Run(opts.workerName(), func(t *testing.T) {
			ctx := within(t, 2*time.Minute)
			side := running(ctx, t, opts)
			first, err := side.Status(ctx)
			if err != nil {
				t.Fatal(err)
			}
			open := underLoad(ctx, t, side, 8, func(load *Load) {
				if _, err := load.WaitOpen(ctx, 8, 0); err != nil {
					t.Fatal(err)
				}
				if err := side.KillBoth(ctx); err != nil {
					t.Fatal(err)
				}
				time.Sleep(100 * time.Millisecond) // refused clients, which is not what is judged here
			})
			if open.Cut == 0 {
				t.Errorf("no stream was cut by the death of both: nothing was tried; %s", open)
			}

			began := time.Now()
			if err := side.Again(ctx, opts); err != nil {
				t.Fatal(err)
			}
			t.Logf("the next sidecar serves after %v, the worker takes 2 s to start", time.Since(began).Round(time.Millisecond))
			again, err := side.Status(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if again.Worker.PID != first.Worker.PID || again.Life != first.Life || again.Worker.Upstream != first.Worker.Upstream || again.Keeper == first.Keeper {
				t.Errorf("the next sidecar has %+v, the one before had %+v: want the same worker", again, first)
			}
			counts := underLoad(ctx, t, side, 64, func(load *Load) {
				if _, err := load.WaitOpen(ctx, 48, 0); err != nil {
					t.Fatal(err)
				}
				if err := Kill.Strike(again.Runner); err != nil {
					t.Fatal(err)
				}
				if _, err := side.Successor(ctx, again.Runner); err != nil {
					t.Fatal(err)
				}
				if r, err := side.Restart(ctx); err != nil || r.ToLife != first.Life+1 {
					t.Errorf("a restart of the orphan: %+v, %v", r, err)
				}
			})
			if counts.Bad() > 0 || counts.Complete < 64 || len(counts.Nonces) != 2 {
				t.Errorf("after that, over a kill -9 and a restart: %s; lives %v; notes %s", counts, counts.Nonces, strings.Join(counts.Notes, "; "))
			}
			anotherCommandEndsIt(ctx, t, side, opts)
		})
	}
}

// underLoad lets clients ask while something is done, and returns what they counted.
func underLoad(ctx context.Context, t *testing.T, side *Sidecar, streams int, do func(*Load)) Counts {
	t.Helper()
	load := StartLoad(ctx, LoadOptions{
		Address: side.Address, Rate: 50, Seed: seed(t), Ramp: 200 * time.Millisecond,
		Groups: []Group{{Kind: Stream, Clients: streams, Tokens: [2]int{100, 150}}},
	})
	do(load)
	ending, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	load.Stop(ending)
	return load.Tally.Counts()
}

// anotherCommandEndsIt lets the next sidecar have another command: the orphan is gone before the new life is there.
func anotherCommandEndsIt(ctx context.Context, t *testing.T, side *Sidecar, opts SidecarOptions) {
	t.Helper()
	before, err := side.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := side.KillBoth(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", before.Worker.PID)); err != nil {
		t.Fatal("the worker did not outlive keeper and runner")
	}
	opts.Sim = append(opts.Sim, "--keep-alive", "7s")
	if err := side.Again(ctx, opts); err != nil {
		t.Fatal(err)
	}
	after, err := side.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", before.Worker.PID)); err == nil || after.Worker.PID == before.Worker.PID || after.Life != before.Life+1 {
		t.Errorf("before %+v, after %+v: want the old worker gone, and the next life", before, after)
	}
}
