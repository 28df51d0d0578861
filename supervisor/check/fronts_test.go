package check

import (
	"context"
	"path/filepath"
	"testing"
	"time"
)

// Streams that came by any of several fronts survive a death of the runner and a restart of the worker, and the file of a
// unix front goes with the sidecar.
func TestEndToEndSeveralFronts(t *testing.T) {
	file := program(t, shipped)
	ctx := within(t, time.Minute)
	second, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "front.sock")
	side, err := StartSidecar(ctx, SidecarOptions{
		Program: file, Unix: true, Run: []string{"--listen", second, "--listen", "unix:" + path}, Sim: []string{"--tokens-per-second", "50"},
	})
	if err != nil {
		t.Fatal(err)
	}
	ended := false
	stop := func() {
		if ended {
			return
		}
		ended = true
		if err := side.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)

	const clients = 8
	var loads []*Load
	for i, address := range []string{side.Address, second, "unix:" + path} {
		load := StartLoad(ctx, LoadOptions{Address: address, Rate: 50, Seed: uint64(i), Groups: []Group{
			{Kind: Stream, Clients: clients, Tokens: [2]int{150, 200}},
			{Kind: Slow, Clients: 1, Tokens: [2]int{400, 500}},
			{Kind: Upload, Clients: 1, Body: [2]int{300 << 10, 1 << 20}},
		}})
		if _, err := load.WaitOpen(ctx, clients, 0); err != nil {
			t.Fatal(err)
		}
		loads = append(loads, load)
	}
	for range 3 {
		st, err := side.ask(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for i, front := range st.Fronts {
			if front.Listen != loads[i].opts.Address || front.Open < clients/2 {
				t.Errorf("front %d is %+v, want %s with at least %d open streams", i, front, loads[i].opts.Address, clients/2)
			}
		}
		if len(st.Fronts) != len(loads) {
			t.Errorf("%d fronts, want %d", len(st.Fronts), len(loads))
		}
		if err := Kill.Strike(st.Runner); err != nil {
			t.Fatal(err)
		}
		for _, load := range loads {
			load.Visit(ctx, 1, nil) // who comes while nobody is there
		}
		if _, err := side.Successor(ctx, st.Runner); err != nil {
			t.Fatal(err)
		}
		rest(ctx, 300*time.Millisecond)
	}
	if _, err := side.Restart(ctx); err != nil {
		t.Error(err)
	}
	for i, load := range loads {
		load.Stop(ctx)
		if c := load.Tally.Counts(); c.Bad() > 0 || c.Complete < 2*clients || len(c.Nonces) != 2 {
			t.Errorf("front %d: %s, by %d lives; want all complete, by 2; %s", i, c, len(c.Nonces), c.Notes)
		} else {
			t.Logf("%s: %s", load.opts.Address, c)
		}
	}
	stop()
	if left, err := filepath.Glob(path); err != nil || left != nil {
		t.Errorf("the unix front's file is left behind: %v, %v", left, err)
	}
}
