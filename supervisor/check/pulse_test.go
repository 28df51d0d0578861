package check

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// pulseFile has bounds that a test can wait for; what they are by default is in docs/health.md.
const pulseFile = `
pulse:
  hung: 3s
  veto: 2s
  prefill: 30s
  window: 10s
  probes:
    - {kind: tcp, interval: 200ms, timeout: 1s, rise: 1}
    - {kind: http, path: /health, interval: 200ms, timeout: 1s, rise: 1}
    - {kind: generate, interval: 500ms, timeout: 1s, rise: 1}
`

// settle is the time in which each probe passes, as it must have before its failure means anything.
const settle = 5 * time.Second

// pulsed is a sidecar whose worker's health is judged with the bounds of pulseFile.
func pulsed(t *testing.T, ctx context.Context, more string) *Sidecar {
	t.Helper()
	file := program(t, shipped)
	config := filepath.Join(t.TempDir(), "pulse.yaml")
	if err := os.WriteFile(config, []byte(pulseFile+more), 0o600); err != nil {
		t.Fatal(err)
	}
	side := running(ctx, t, SidecarOptions{Program: file, Run: []string{"--config", config}, Sim: []string{"--tokens-per-second", "50"}})
	return side
}

// turn changes the switches of the life that serves.
func turn(t *testing.T, ctx context.Context, side *Sidecar, switches string) {
	t.Helper()
	if err := side.setFaults(ctx, switches); err != nil {
		t.Fatalf("turn %s: %v", switches, err)
	}
}

// untilLife waits until a life after the first serves, and says how long that took.
func untilLife(t *testing.T, ctx context.Context, side *Sidecar, life int64) time.Duration {
	t.Helper()
	began := time.Now()
	err := poll(ctx, 20*time.Millisecond, func() (bool, error) {
		st, err := side.ask(ctx)
		return err == nil && st.Life >= life && st.Phase == Serving, side.gone()
	})
	if err != nil {
		t.Fatalf("life %d: %v; it said:\n%s", life, err, side.LastLines())
	}
	return time.Since(began)
}

// codes are those of the warnings.
func (s Status) codes() (all []string) {
	for _, w := range s.Health.Warnings {
		all = append(all, w.Code)
	}
	return all
}

// reasons are those of the restarts in the ledger, with who asked for them.
func reasons(t *testing.T, side *Sidecar) (all []string) {
	t.Helper()
	var text []byte
	if err := poll(within(t, 10*time.Second), 50*time.Millisecond, func() (bool, error) { // it is written when the next life serves
		var err error
		text, err = os.ReadFile(filepath.Join(side.dir, "state", "restarts.jsonl"))
		return len(text) > 0, err
	}); err != nil {
		t.Fatalf("wait for a line in the ledger: %v", err)
	}
	for line := range strings.Lines(string(text)) {
		var kept struct {
			Restart struct{ Reason, By string }
		}
		if err := json.Unmarshal([]byte(line), &kept); err != nil {
			t.Fatalf("the ledger has the line %q: %v", line, err)
		}
		all = append(all, kept.Restart.Reason+" by "+kept.Restart.By)
	}
	return all
}

// A saturated worker answers no probe, not even one that asks for a token, while its streams flow. It is never restarted; once
// its streams have ended, it is: so the probes did fail.
func TestEndToEndSaturated(t *testing.T) {
	t.Parallel() // nothing here measures a pause
	const streams, rate, before = 64, 50, 10
	during := time.Duration(size(t, "SATURATED", 20)) * time.Second
	ctx := within(t, during+2*time.Minute)
	side := pulsed(t, ctx, "drain: 5s\n")
	tokens := rate * (int(during/time.Second) + before)
	load := StartLoad(ctx, LoadOptions{
		Address: side.Address, Rate: rate, Seed: seed(t), Groups: []Group{{Kind: Stream, Clients: streams, Tokens: [2]int{tokens, tokens}}},
	})
	if _, err := load.WaitOpen(ctx, streams, time.Second); err != nil {
		t.Fatal(err)
	}
	rest(ctx, settle)
	turn(t, ctx, side, `{"saturated":true}`)
	rest(ctx, during)
	st, err := side.ask(ctx)
	if err != nil {
		t.Fatal(err)
	}
	open := load.Open(0)
	if st.Life != 1 || st.Restarts != 0 || open < streams {
		t.Errorf("after %v without an answer to any probe life %d serves, %d restarts, %d of %d streams are open; it said:\n%s",
			during, st.Life, st.Restarts, open, streams, side.LastLines())
	}
	if !slices.Contains(st.codes(), "busy_not_sick") {
		t.Errorf("status is to say why the worker is left alone; it says %+v", st.Health)
	}
	t.Logf("%d streams over %v, %d restarts: %+v", open, during, st.Restarts, st.Health)

	// The answers come to their end; whoever asks again waits for a place that never comes.
	took := untilLife(t, ctx, side, 2)
	load.Stop(ctx)
	if c := load.Tally.Counts(); c.Complete < streams || c.Corrupt > 0 {
		t.Errorf("%s; want the first %d complete, and none corrupt; %s", c, streams, c.Notes)
	}
	if got := reasons(t, side); !slices.Equal(got, []string{"unhealthy by pulse"}) && !slices.Equal(got, []string{"hung by pulse"}) {
		t.Errorf("the ledger tells of %q", got)
	}
	t.Logf("without a stream that flows it was replaced within %v", took)
}

// A worker whose engine hangs says that it is well. It is found within its bound and replaced, and its streams end loudly. A
// prompt that takes long is no hang.
func TestEndToEndHung(t *testing.T) {
	t.Parallel() // nothing here measures a pause
	ctx := within(t, 3*time.Minute)
	side := pulsed(t, ctx, "")
	long := StartLoad(ctx, LoadOptions{Address: side.Address, Rate: 50, Seed: seed(t)})
	a := long.Ask(ctx, Group{Kind: Stream, Tokens: [2]int{20, 20}, Sim: `{"prefill":"12s"}`})
	if st, err := side.ask(ctx); err != nil || a.Outcome != Complete || a.Took < 12*time.Second || st.Life != 1 || st.Restarts != 0 {
		t.Fatalf("a prompt of 12 s: %+v; then life %d, %d restarts, %v; it said:\n%s", a, st.Life, st.Restarts, err, side.LastLines())
	}

	const streams = 32
	load := StartLoad(ctx, LoadOptions{
		Address: side.Address, Rate: 50, Seed: seed(t), Groups: []Group{{Kind: Stream, Clients: streams, Tokens: [2]int{3000, 3000}}},
	})
	if _, err := load.WaitOpen(ctx, streams, time.Second); err != nil {
		t.Fatal(err)
	}
	turn(t, ctx, side, `{"hang":"engine"}`)
	took := untilLife(t, ctx, side, 2)
	// 3 s of silence, 3 answers that don't come within a second, a look a second, and the worker's own end and start.
	if took < 3*time.Second || took > 20*time.Second {
		t.Errorf("found and replaced within %v, want 3 to 20 s", took)
	}
	load.Lengths([2]int{20, 20})
	if _, err := load.WaitOpen(ctx, 1, 0); err != nil {
		t.Error(err)
	}
	load.Stop(ctx)
	if c := load.Tally.Counts(); c.Cut != streams || c.Corrupt > 0 || c.Refused > 0 {
		t.Errorf("%s; want %d cut loudly, and nothing else wrong; %s", c, streams, c.Notes)
	}
	if got := reasons(t, side); !slices.Equal(got, []string{"hung by pulse"}) {
		t.Errorf("the ledger tells of %q", got)
	}
	t.Logf("found and replaced within %v", took)
}

// A front that accepts and answers nothing is found without any traffic.
func TestEndToEndDeadPage(t *testing.T) {
	t.Parallel() // nothing here measures a pause
	ctx := within(t, 2*time.Minute)
	side := pulsed(t, ctx, "")
	rest(ctx, settle)
	turn(t, ctx, side, `{"hang":"server"}`)
	took := untilLife(t, ctx, side, 2)
	if took > 20*time.Second {
		t.Errorf("found and replaced within %v, want 20 s", took)
	}
	if got := reasons(t, side); !slices.Equal(got, []string{"unhealthy by pulse"}) {
		t.Errorf("the ledger tells of %q", got)
	}
	t.Logf("found and replaced within %v", took)
}

// In mode observe the same is decided, counted once, and not done.
func TestEndToEndObserve(t *testing.T) {
	t.Parallel() // nothing here measures a pause
	ctx := within(t, 2*time.Minute)
	side := pulsed(t, ctx, "mode: observe\n")
	rest(ctx, settle)
	turn(t, ctx, side, `{"hang":"server"}`)
	err := poll(ctx, 50*time.Millisecond, func() (bool, error) {
		st, err := side.ask(ctx)
		return err == nil && st.WouldRestart["unhealthy"] > 0, side.gone()
	})
	if err != nil {
		t.Fatalf("%v; it said:\n%s", err, side.LastLines())
	}
	rest(ctx, 5*time.Second)
	st, err := side.ask(ctx)
	if err != nil || st.Life != 1 || st.Restarts != 0 || st.WouldRestart["unhealthy"] != 1 || st.Health.Verdict != "sick" {
		t.Errorf("life %d, %d restarts, would %v, %+v, %v; want life 1, none, one, sick", st.Life, st.Restarts, st.WouldRestart, st.Health, err)
	}
}
