package check

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestEndToEndNothingCanBeKept: where the state directory can't be, everything goes on, and it is said in the log, in status
// and in the metrics; when there is room again, the next restart is kept.
func TestEndToEndNothingCanBeKept(t *testing.T) {
	file := program(t, shipped)
	ctx := within(t, time.Minute)
	obstacle := filepath.Join(t.TempDir(), "obstacle") // a file: root may write into any directory
	if err := os.WriteFile(obstacle, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	target, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	side := running(ctx, t, SidecarOptions{
		Program: file, Run: []string{"--http", target, "--state", filepath.Join(obstacle, "state")}, Sim: []string{"--tokens-per-second", "50"},
	})
	load := StartLoad(ctx, LoadOptions{Address: side.Address, Rate: 50, Seed: 1, Groups: []Group{{Kind: Stream, Clients: 8, Tokens: [2]int{20, 40}}}})
	restart := func() (stateError, metrics string) {
		t.Helper()
		if _, err := side.Restart(ctx); err != nil {
			t.Fatal(err)
		}
		raw, err := side.Command(ctx, "status", "--json")
		if err != nil {
			t.Fatal(err)
		}
		var st struct {
			StateError string `json:"state_error"`
		}
		if err := json.Unmarshal(raw, &st); err != nil {
			t.Fatal(err)
		}
		r, err := http.Get("http://" + target + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		text, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return st.StateError, string(text)
	}

	why, metrics := restart()
	if !strings.Contains(why, obstacle) || !strings.Contains(metrics, "\nautoglm_sidecar_state_writable 0\n") {
		t.Errorf("status says %q; want the directory's error, and the metric to be 0", why)
	}
	if said, err := os.ReadFile(side.log.Name()); err != nil || !strings.Contains(string(said), "can't be recorded") {
		t.Errorf("the log does not say so: %v\n%s", err, said)
	}
	if err := os.Remove(obstacle); err != nil {
		t.Fatal(err)
	}
	if why, metrics = restart(); why != "" || !strings.Contains(metrics, "\nautoglm_sidecar_state_writable 1\n") || strings.Contains(metrics, "\nautoglm_sidecar_state_errors_total 0\n") {
		t.Errorf("with room again status says %q; want no error, the metric to be 1 and the errors counted", why)
	}
	if out, err := side.Command(ctx, "history", "2"); err != nil {
		t.Errorf("the second restart is not in the history: %v\n%s", err, out)
	}
	load.Stop(ctx)
	if c := load.Tally.Counts(); c.Bad() > 0 || c.Complete == 0 {
		t.Errorf("clients: %s; %s", c, c.Notes)
	}
}
