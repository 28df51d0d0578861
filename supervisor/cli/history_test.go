package cli

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"autoglm-sidecar/supervisor/admin"

	"github.com/google/go-cmp/cmp"
)

func someHistory() []admin.Past {
	return []admin.Past{
		{
			ID: 17, Reason: "crashed", Why: "life 3: exited 137 after 2h0m0s: CUDA out of memory. Tried to allocate 2.00 GiB on a very full device",
			Began: threeAM.Add(-90 * time.Minute), TookMS: 41_000, Outcome: admin.Done, FromLife: 3, ToLife: 5, Starts: 2,
			PhasesMS: map[string]int64{"starting": 39_000, "reclaiming": 900, "down": 1100}, Open: 212, Held: 1214, LongestHoldMS: 40_000,
			LongestGapMS: 1200, Cut: 208, Error: "start life 4: no such file",
		},
		{
			ID: 16, Reason: "operator", By: "uid 1000", Began: threeAM.Add(-26 * time.Hour), TookMS: 120_000, Outcome: admin.Postponed,
			FromLife: 3, Joined: 1, PhasesMS: map[string]int64{"draining": 120_000}, Open: 40, InTheWay: 2, Held: 12, LongestHoldMS: 119_000,
			Error: "2 streams were still open after 2m0s",
		},
		{
			ID: 15, Reason: "unhealthy", By: "pulse", Why: "3 probes timed out", Began: threeAM.AddDate(-1, 0, 0), TookMS: 9000, Outcome: admin.GivenUp,
			ToLife: 3, Starts: 1, Refused: 7,
		},
	}
}

func TestHistoryIsOneLineARestart(t *testing.T) {
	want := `ID  WHEN                 REASON     BY        LIFE    TOOK   OPEN  HELD   LONGEST  CUT  RESULT     WHY
17  01:30:00             crashed    -         3 -> 5  41 s   212   1,214  40 s     208  done       life 3: exited 137 after 2h0m0s: CUDA out of memory. Tried to allocat…
16  Nov 22 01:00:00      operator   uid 1000  3       2m00s  40    12     1m59s    0    postponed  2 streams were still open after 2m0s
15  2025-11-23 03:00:00  unhealthy  pulse     -> 3    9 s    0     0      0 ms     0    given_up   3 probes timed out
`
	if d := cmp.Diff(want, table(someHistory(), threeAM)); d != "" {
		t.Errorf("table (-want +got):\n%s", d)
	}
	if got := table(nil, threeAM); got != "no restart is recorded\n" {
		t.Errorf("of no restart it says %q", got)
	}
}

func TestHistoryExplainsOne(t *testing.T) {
	want := `restart 17: done, life 5 serves

  began       Mon 2026-11-23 01:30:00 (1h30m ago), took 41 s
  reason      crashed
  why         life 3: exited 137 after 2h0m0s: CUDA out of memory. Tried to allocate 2.00 GiB on a very full device
  life        3 -> 5, 2 starts
  phases      reclaiming 900 ms, down 1.1 s, starting 39 s
  streams     212 open when it began, 208 cut, 0 refused
  held        1,214, the longest for 40 s
  gap         1.2 s at most between two pieces of an answer
  remark      start life 4: no such file
`
	if d := cmp.Diff(want, explain(someHistory()[0], threeAM)); d != "" {
		t.Errorf("explained (-want +got):\n%s", d)
	}
	got := explain(someHistory()[1], threeAM)
	for _, want := range []string{"restart 16: postponed, 2 streams in the way\n", "operator, asked for by uid 1000; 1 more joined\n", "phases      draining 2m00s\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("it lacks %q:\n%s", want, got)
		}
	}
}

func TestHistoryAsksTheSidecar(t *testing.T) {
	f := &fake{past: someHistory()}
	dir := running(t, f)
	if got := say(t, dir, "history", "--last", "1"); got.code != exitDone || strings.Count(got.out, "\n") != 2 || !strings.Contains(got.out, "17  ") {
		t.Errorf("--last 1 gives %+v", got)
	}
	if got := say(t, dir, "history", "16"); got.code != exitDone || !strings.HasPrefix(got.out, "restart 16: postponed") {
		t.Errorf("16 gives %+v", got)
	}
	if got := say(t, dir, "history", "99"); got.code != exitFailed || got.errors != "autoglm-sidecar: restart 99 is not in the ledger; autoglm-sidecar history --name default lists those that are\n" {
		t.Errorf("99 gives %+v", got)
	}
	got := say(t, dir, "history", "--since", "2026-11-22", "--json")
	var h admin.History
	if err := json.Unmarshal([]byte(got.out), &h); err != nil || got.code != exitDone || len(h.Restarts) != 2 {
		t.Errorf("--since gives %+v: %v", got, err)
	}
	if d := cmp.Diff(someHistory()[:2], h.Restarts); d != "" {
		t.Errorf("the restarts (-kept +printed):\n%s", d)
	}
	if f.query.Limit != admin.MostHistory {
		t.Errorf("with --since at most %d are asked for, want %d", f.query.Limit, admin.MostHistory)
	}
}

func TestSince(t *testing.T) {
	for text, want := range map[string]time.Time{
		"":                    {},
		"24h":                 threeAM.Add(-24 * time.Hour),
		"90m":                 threeAM.Add(-90 * time.Minute),
		"7d":                  threeAM.AddDate(0, 0, -7),
		"2026-11-20":          time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC),
		"2026-11-20 13:05":    time.Date(2026, 11, 20, 13, 5, 0, 0, time.UTC),
		"2026-11-20 13:05:07": time.Date(2026, 11, 20, 13, 5, 7, 0, time.UTC),
	} {
		if got, err := sinceOf(text, threeAM); err != nil || !got.Equal(want) {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"0", "-1h", "-1d", "0d", "d", "99999999d", "2026-02-30", "now"} {
		if got, err := sinceOf(text, threeAM); err == nil {
			t.Errorf("%q is %v, want an error", text, got)
		}
	}
}

// A line as the ledger writes it; its sum is of the object in it.
const aLine = `{"sum":"SUM","restart":{"id":4,"revision":9,"reason":"operator","by":"uid 0","from":3,"to":4,"starts":1,"joined":0,"begun":"2026-11-23T01:30:00Z","took_ns":41000000000,"spent_ns":{"draining":5000000000},"open":212,"result":"done","cut":0,"held":3,"refused":0,"longest_hold_ns":40000000000,"longest_gap_ns":0}}` + "\n"

func TestHistoryReadsTheLedgerWhereNoSidecarRuns(t *testing.T) {
	home := t.TempDir()
	if got := say(t, home, "history"); got.code != exitNotRunning {
		t.Errorf("without a ledger: %+v", got)
	}
	state := filepath.Join(home, ".local", "state", "autoglm-sidecar", "default")
	if err := os.MkdirAll(state, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(state, "restarts.jsonl"), []byte(withSum(aLine)+"torn"), 0o640); err != nil {
		t.Fatal(err)
	}
	got := say(t, home, "history", "4")
	if got.code != exitDone || !strings.HasPrefix(got.out, "restart 4: done, life 4 serves\n") ||
		got.errors != "autoglm-sidecar: no sidecar is running; this is the ledger in "+state+"\n" {
		t.Errorf("it gives %+v", got)
	}
	if got := say(t, "/nowhere", "history", "--state", state, "--json"); got.code != exitDone || !strings.Contains(got.out, `"id": 4`) || got.errors != "" {
		t.Errorf("--state gives %+v", got)
	}
	entries, err := os.ReadDir(state)
	if err != nil || len(entries) != 1 {
		t.Errorf("reading has left %v in the directory, %v", entries, err)
	}
	if text, _ := os.ReadFile(filepath.Join(state, "restarts.jsonl")); !strings.HasSuffix(string(text), "torn") {
		t.Error("reading has changed the ledger")
	}
}

// withSum puts the line's checksum in.
func withSum(text string) string {
	_, restart, _ := strings.Cut(strings.TrimSuffix(text, "}\n"), `"restart":`)
	return strings.Replace(text, "SUM", fmt.Sprintf("%08x", crc32.Checksum([]byte(restart), crc32.MakeTable(crc32.Castagnoli))), 1)
}
