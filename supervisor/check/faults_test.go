package check

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// ward is a sidecar with a worker that misbehaves, and a few innocent clients whose answers must be whole whatever happens
// to the others.
type ward struct {
	*testing.T
	side *Sidecar
	load *Load
}

const wardRate = 50

func openWard(t *testing.T, run, sim []string) *ward {
	t.Helper()
	file := program(t, shipped)
	t.Parallel()
	side, err := StartSidecar(within(t, 30*time.Second), SidecarOptions{
		Program: file, Run: run, Sim: append([]string{"--start-delay", "500ms", "--tokens-per-second", fmt.Sprint(wardRate)}, sim...),
	})
	if err != nil {
		t.Fatal(err)
	}
	w := &ward{T: t, side: side}
	t.Cleanup(func() {
		if err := side.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	w.load = StartLoad(t.Context(), LoadOptions{
		Address: side.Address, Rate: wardRate, Patience: 20 * time.Second,
		Groups: []Group{
			{Kind: Stream, Clients: 8, Tokens: [2]int{50, 150}},
			{Kind: Completion, Clients: 2, Tokens: [2]int{50, 150}},
			{Kind: Plain, Clients: 2, Tokens: [2]int{20, 50}},
		},
	})
	return w
}

// untouched ends the innocents and demands that all their answers were whole.
func (w *ward) untouched() {
	w.Helper()
	ending, cancel := context.WithTimeout(w.Context(), 30*time.Second)
	defer cancel()
	w.load.Stop(ending)
	c := w.load.Tally.Counts()
	if c.Complete == 0 || c.Bad() > 0 {
		w.Errorf("the innocents were touched: %s\n%s", c, strings.Join(c.Notes, "\n"))
	}
}

func (w *ward) status() Status {
	w.Helper()
	st, err := w.side.ask(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	return st
}

// cuts waits until the sidecar has counted n cut streams, and demands that it stays at that.
func (w *ward) cuts(n int64) {
	w.Helper()
	err := poll(within(w.T, 5*time.Second), 10*time.Millisecond, func() (bool, error) {
		return w.status().Streams.Outcomes["cut"] >= n, nil
	})
	if st := w.status(); err != nil || st.Streams.Outcomes["cut"] != n {
		w.Errorf("the sidecar counts %v and causes %v, wanted %d cut", st.Streams.Outcomes, st.Streams.Cuts, n)
	}
}

// TestEndToEndFaultsOfOneAnswer: what the worker does to one answer is kept from the client where it can be, is loud where
// not, and touches nobody else.
func TestEndToEndFaultsOfOneAnswer(t *testing.T) {
	w := openWard(t, []string{"--heartbeat", "400ms"}, nil)
	ctx := within(t, 2*time.Minute)
	cut := int64(0)
	for _, test := range []struct {
		sim  string
		kind Kind
		want Outcome
		says string // part of Answer.Why
	}{
		{sim: `{"prefill":"1500ms"}`, want: Complete},
		{sim: `{"framing":"length"}`, want: Complete},
		{sim: `{"framing":"close"}`, want: Complete},
		{sim: `{"framing":"http10"}`, want: Complete},
		{sim: `{"framing":"close"}`, kind: Plain, want: Complete},
		{sim: `{"framing":"chunked","trailers":true}`, kind: Plain, want: Complete},
		{sim: `{"framing":"chunked","trailers":true}`, want: Complete},
		{sim: `{"interim":[102,103]}`, want: Complete},
		{sim: `{"interim":[102,103]}`, kind: Upload, want: Complete},

		{sim: `{"fault":"mid_chunk","at_token":20}`, want: Cut},
		{sim: `{"fault":"mid_chunk","at_token":20,"framing":"close"}`, want: Cut},
		{sim: `{"fault":"mid_chunk"}`, kind: Plain, want: Cut},
		{sim: `{"fault":"reset","at_token":20}`, want: Cut},
		{sim: `{"fault":"fin","at_token":20}`, want: Cut},
		{sim: `{"fault":"fin","at_token":20,"framing":"close"}`, want: Cut},
		{sim: `{"fault":"fin","at_token":20,"framing":"length"}`, want: Cut},
		{sim: `{"fault":"early_end","at_token":20}`, want: Cut},
		{sim: `{"fault":"early_end","at_token":20}`, kind: Completion, want: Cut},
		{sim: `{"fault":"no_done"}`, want: Cut},
		{sim: `{"fault":"abort","at_token":20}`, want: Cut},
		{sim: `{"fault":"error_event","at_token":20}`, want: Cut},

		{sim: `{"early_status":429}`, want: Refused, says: "status 429"},
		{sim: `{"early_status":503}`, kind: Image, want: Refused, says: "status 503"},
		{sim: `{"malformed":"bare_lf"}`, want: Cut, says: "status 502"},
		{sim: `{"malformed":"length_and_chunks"}`, want: Cut, says: "status 502"},
		{sim: `{"malformed":"not_http"}`, want: Cut, says: "status 502"},

		// In these the worker sends an event that nobody asked for before it breaks off; the client must be told all the same.
		{sim: `{"malformed":"chunk_not_hex"}`, want: Corrupt, says: `{"error":`},
		{sim: `{"malformed":"chunk_too_long"}`, want: Corrupt, says: `{"error":`},
	} {
		t.Run(fmt.Sprintf("%s %s", test.kind, test.sim), func(t *testing.T) {
			a := w.load.Ask(ctx, Group{Kind: test.kind, Tokens: [2]int{40, 40}, Body: [2]int{1 << 20, 1 << 20}, Sim: test.sim})
			if a.Outcome != test.want || !strings.Contains(strings.ReplaceAll(a.Why, `\"`, `"`), test.says) {
				t.Errorf("want %s %s, got %s %s: %s", test.want, test.says, a.Outcome, a.Flaw, a.Why)
			}
			if strings.Contains(test.sim, "prefill") && a.Comments == 0 {
				t.Error("no heartbeat while the stream was silent")
			}
			if test.want == Cut || test.want == Corrupt {
				cut++
			}
		})
	}
	w.cuts(cut)
	w.untouched()
}

// TestEndToEndSilence: a stream whose worker falls silent is kept open, with heartbeats, for as long as the client likes.
func TestEndToEndSilence(t *testing.T) {
	w := openWard(t, []string{"--heartbeat", "300ms"}, nil)
	patient := &Load{opts: LoadOptions{Address: w.side.Address, Rate: wardRate, Patience: 2 * time.Second}}
	a := patient.Ask(t.Context(), Group{Kind: Stream, Tokens: [2]int{40, 40}, Sim: `{"fault":"silent","at_token":10}`})
	if a.Outcome != Cut || a.Why != errSilent.Error() || a.Comments < 3 || a.Tokens != 10 {
		t.Errorf("want 10 tokens, then heartbeats until the client has enough; got %s (%s), %d tokens, %d heartbeats", a.Outcome, a.Why, a.Tokens, a.Comments)
	}
	w.cuts(0)
	w.untouched()
}

// TestEndToEndCrashOfTheWorker: streams in flight are cut loudly, those that come while it is away are held, and the next
// life answers them.
func TestEndToEndCrashOfTheWorker(t *testing.T) {
	for name, exit := range map[string]string{"killed": "-1", "exit 0": "0", "exit 3": "3"} {
		t.Run(name, func(t *testing.T) {
			w := openWard(t, nil, []string{"--crash-exit", exit})
			ctx := within(t, time.Minute)
			if _, err := w.load.WaitOpen(ctx, 8, 0); err != nil {
				t.Fatal(err)
			}
			before := w.status()
			if err := w.side.setFaults(ctx, `{"crash_after_tokens":20}`); err != nil {
				t.Fatal(err)
			}
			if err := poll(ctx, 10*time.Millisecond, func() (bool, error) {
				st := w.status()
				return st.Life > before.Life && st.Phase == Serving, nil
			}); err != nil {
				t.Fatalf("no next life: %v; status %+v", err, w.status())
			}
			for range 5 {
				if a := w.load.Ask(ctx, Group{Kind: Stream, Tokens: [2]int{5, 5}}); a.Outcome != Complete {
					t.Errorf("on the next life: %s: %s", a.Outcome, a.Why)
				}
			}
			w.load.Stop(ctx)
			c := w.load.Tally.Counts()
			if c.Cut == 0 || c.Refused > 0 || c.Corrupt > 0 || c.Held == 0 || c.Cut > 12 {
				t.Errorf("want at most one cut stream a client, no other harm, and some held; got %s\n%s", c, strings.Join(c.Notes, "\n"))
			}
			w.cuts(c.Cut)
			if st := w.status(); st.Runner != before.Runner || st.Worker.PID == before.Worker.PID {
				t.Errorf("want the same runner and another worker, got %d and %d, before %d and %d", st.Runner, st.Worker.PID, before.Runner, before.Worker.PID)
			}
		})
	}
}

// TestEndToEndHungEngine: no token moves for a while; once they do, every answer is whole.
func TestEndToEndHungEngine(t *testing.T) {
	w := openWard(t, []string{"--heartbeat", "300ms"}, nil)
	ctx := within(t, time.Minute)
	if _, err := w.load.WaitOpen(ctx, 8, 0); err != nil {
		t.Fatal(err)
	}
	if err := w.side.setFaults(ctx, `{"hang":"engine"}`); err != nil {
		t.Fatal(err)
	}
	rest(ctx, 2*time.Second) // the hang itself
	if err := w.side.setFaults(ctx, `{"hang":""}`); err != nil {
		t.Fatal(err)
	}
	w.untouched()
	if longest := w.load.Tally.Gaps.Max(); longest < time.Second {
		t.Errorf("the longest pause was %v: the engine did not hang", longest)
	}
	w.cuts(0)
}

// TestEndToEndMannersOfLeaving: whatever the worker does on SIGTERM, a restart drains first and so cuts nothing.
func TestEndToEndMannersOfLeaving(t *testing.T) {
	for _, sim := range [][]string{
		{"--on-term", "cut"},
		{"--on-term", "abort"},
		{"--on-term", "finish"},
		{"--on-term", "drain"},
		{"--on-term", "ignore"},
		{"--children", "2", "--children-hold", "3s"},
		{"--children", "2", "--children-hold", "1m", "--children-setsid"}, // a signal to the group would miss them
		{"--listen-early", "--start-delay", "1s"},
	} {
		t.Run(strings.Join(sim, " "), func(t *testing.T) {
			w := openWard(t, []string{"--stop-grace", "1s", "--probe", "http:/health"}, sim)
			ctx := within(t, time.Minute)
			if _, err := w.load.WaitOpen(ctx, 8, 0); err != nil {
				t.Fatal(err)
			}
			if _, err := w.side.Restart(ctx); err != nil {
				t.Fatal(err)
			}
			// Orphans become children of the keeper.
			if left := w.side.children(); len(left) != 2 {
				t.Errorf("want runner and worker and nobody else below the keeper, got %v", left)
			}
			w.untouched()
			w.cuts(0)
		})
	}
}

// TestEndToEndRestartNow: --now cuts, loudly, also where the worker makes its cut look like an end.
func TestEndToEndRestartNow(t *testing.T) {
	for _, manner := range []string{"cut", "abort"} {
		t.Run(manner, func(t *testing.T) {
			w := openWard(t, nil, []string{"--on-term", manner})
			ctx := within(t, time.Minute)
			if _, err := w.load.WaitOpen(ctx, 8, 0); err != nil {
				t.Fatal(err)
			}
			if _, err := w.side.Restart(ctx, "--now"); err != nil {
				t.Fatal(err)
			}
			w.load.Stop(ctx)
			c := w.load.Tally.Counts()
			if c.Cut == 0 || c.Cut > 12 || c.Refused > 0 || c.Corrupt > 0 {
				t.Errorf("want some cut and nothing worse, got %s\n%s", c, strings.Join(c.Notes, "\n"))
			}
			w.cuts(c.Cut)
		})
	}
}
