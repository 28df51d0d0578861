package cli

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"autoglm-sidecar/supervisor/admin"

	"github.com/google/go-cmp/cmp"
)

var threeAM = time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)

// inService is the status of a sidecar that has nothing to complain of.
func inService() admin.Status {
	return admin.Status{
		Name: "default", Version: "1.2.0", Listen: "[::]:8000", Keeper: 100, Runner: 230, TakeOvers: 2,
		Since: threeAM.Add(-77 * time.Hour), Phase: "serving", State: "serving", Ready: true, Life: 3,
		Worker: admin.Worker{
			Driver: "child", PID: 4711, Upstream: "127.0.0.1:43210", Since: threeAM.Add(-2*time.Hour - 13*time.Minute),
		},
		Gate: admin.Gate{State: "open", InFlight: 212, LongestHoldMS: 2140},
		Streams: admin.Streams{
			Open: 212, OldestMS: 41_000,
			Outcomes: map[string]int64{"complete": 9001, "client_gone": 12, "refused": 0, "cut": 3},
			Cuts:     map[string]int64{"crash": 2, "deadline": 1, "abort": 0},
		},
		Restarts: 2, RestartOutcomes: map[admin.Outcome]int64{admin.Done: 1, admin.Postponed: 1}, Mode: "act",
		Ahead: admin.AheadOf(212, 41*time.Second, 2*time.Minute, 14*time.Second),
	}
}

func TestScreenOfASidecarInService(t *testing.T) {
	want := `default: all is well, life 3 serves

  front       [::]:8000, gate open, 212 in flight, none held (longest hold so far 2.1 s)
  worker      life 3, PID 4711 on 127.0.0.1:43210, serving for 2h13m
  streams     212 open, the oldest for 41 s
  ended       12 client_gone, 9,001 complete, 3 cut
  cut         2 by crash, 1 by deadline
  restarts    2 (1 done, 1 postponed); one now would hold new streams for about 55 s
  sidecar     1.2.0, keeper PID 100, runner PID 230, 2 take-overs, up for 3d5h
`
	if d := cmp.Diff(want, screen(inService(), "--name default", threeAM, nil)); d != "" {
		t.Errorf("screen (-want +got):\n%s", d)
	}
}

func TestScreenOfSeveralFronts(t *testing.T) {
	s := inService()
	s.Fronts = []admin.Front{{Listen: "[::]:8000", Connections: 300, Open: 200}, {Listen: "unix:/run/front.sock", Connections: 1, Open: 12}}
	want := `
  front       [::]:8000, gate open, 212 in flight, none held (longest hold so far 2.1 s)
              [::]:8000: 300 connections, 200 open
              unix:/run/front.sock: 1 connection, 12 open
  worker `
	if got := screen(s, "", threeAM, nil); !strings.Contains(got, want) {
		t.Errorf("got\n%s\nwant in it%s", got, want)
	}
}

func TestScreenOfASidecarThatGaveUp(t *testing.T) {
	s := admin.Status{
		Name: "gpu0", Version: "1.2.0", Listen: "[::]:8000", Runner: 230, Phase: "down", Life: 7,
		Halted:    "6 restarts within an hour",
		Worker:    admin.Worker{Driver: "child", LastExit: "life 6 exited 1 after 3 s"},
		Gate:      admin.Gate{State: "refusing"},
		LastError: "start life 7: exited 1 after 3 s:\nCUDA out of memory",
	}
	want := `gpu0: GIVEN UP, all streams are refused: 6 restarts within an hour. When the cause is mended: autoglm-sidecar restart --name gpu0

  front       [::]:8000, gate refusing, 0 in flight, none held
  worker      life 7, no process; before: life 6 exited 1 after 3 s
  streams     none open
  ended       none yet
  cut         none
  restarts    0
  sidecar     1.2.0, PID 230, WITHOUT a keeper: it won't survive its own death
  last error  start life 7: exited 1 after 3 s:
              CUDA out of memory
`
	if d := cmp.Diff(want, screen(s, "--name "+s.Name, threeAM, nil)); d != "" {
		t.Errorf("screen (-want +got):\n%s", d)
	}
}

func TestHeadlines(t *testing.T) {
	for _, c := range []struct {
		change func(*admin.Status)
		mood   mood
		want   string
	}{
		{func(*admin.Status) {}, well, "all is well, life 3 serves"},
		{func(s *admin.Status) {
			s.Phase, s.Gate = "draining", admin.Gate{State: "holding", InFlight: 1, Held: 5}
		}, waiting, "restarting; life 3 has 1 stream to end, 5 streams held"},
		{func(s *admin.Status) { s.Phase, s.Gate = "stopping", admin.Gate{State: "holding", Held: 1} }, waiting, "life 3 is being stopped, 1 stream held"},
		{func(s *admin.Status) { s.Phase, s.Gate = "starting", admin.Gate{State: "holding", Held: 2} }, waiting, "life 3 is getting ready, 2 streams held"},
		{func(s *admin.Status) {
			s.Phase, s.Worker.Progress, s.Gate = "starting", "answered 503", admin.Gate{State: "holding"}
		}, waiting, "life 3 is getting ready (answered 503), 0 streams held"},
		{func(s *admin.Status) {
			s.Phase, s.Worker.NextStart, s.Gate = "down", threeAM.Add(4*time.Second), admin.Gate{State: "holding", Held: 1}
		}, broken, "no worker serves, the next is started in 4 s, 1 stream held"},
		{func(s *admin.Status) { s.Phase, s.Gate = "down", admin.Gate{State: "holding", Held: 2} }, broken, "no worker serves (down), 2 streams held"},
		{func(s *admin.Status) { s.Mode = "observe" }, well, "all is well, life 3 serves, mode observe"},
		{func(s *admin.Status) {
			s.Frozen = &admin.Frozen{Standing: admin.Standing{By: "uid 0"}}
		}, well, "all is well, life 3 serves, FROZEN by uid 0"},
		{func(s *admin.Status) {
			s.Phase, s.State, s.Gate = "draining", "holding", admin.Gate{State: "holding", InFlight: 3, Held: 5}
			s.Drained = &admin.Standing{Since: threeAM.Add(-12 * time.Minute), By: "uid 0"}
		}, waiting, "DRAINED by uid 0 12m00s ago: life 3 stays and has 3 streams to end, 5 streams held. To let them in: autoglm-sidecar open --name default"},
		{func(s *admin.Status) {
			s.Phase, s.State, s.Gate = "draining", "draining", admin.Gate{State: "holding", InFlight: 3, Held: 5}
			s.Stopped = &admin.Standing{Since: threeAM.Add(-time.Minute), By: "uid 0"}
		}, waiting, "being stopped for good by uid 0: life 3 has 3 streams to end, 5 streams held. To take that back: autoglm-sidecar start --name default"},
		{func(s *admin.Status) {
			s.Phase, s.State, s.Gate = "stopped", "stopped", admin.Gate{State: "refusing"}
			s.Stopped = &admin.Standing{Since: threeAM.Add(-2 * time.Hour), By: "uid 0"}
		}, broken, "STOPPED by uid 0 2h00m ago, all streams are refused. To start it: autoglm-sidecar start --name default"},
		{func(s *admin.Status) {
			s.Phase, s.State, s.Gate = "down", "frozen", admin.Gate{State: "holding", Held: 5}
			s.Frozen = &admin.Frozen{Standing: admin.Standing{By: "uid 0"}, Until: threeAM.Add(time.Hour), All: true, Why: "a benchmark"}
		}, broken, "no worker serves, and the freeze of uid 0 keeps it down for another 1h00m, 5 streams held. To start it: autoglm-sidecar start --name default"},
		{func(s *admin.Status) { s.Health = sickly() }, waiting, "life 3 serves, but nobody listens where the worker should"},
		{func(s *admin.Status) { s.Gate.State = "leaving" }, waiting, "leaving; new streams are refused so that clients go elsewhere, 212 run on"},
		{func(s *admin.Status) { s.Halted = "x" }, broken, "GIVEN UP, all streams are refused: x. When the cause is mended: autoglm-sidecar restart --name default"},
	} {
		s := inService()
		c.change(&s)
		if m, got := headline(s, "--name default", threeAM); m != c.mood || got != c.want {
			t.Errorf("got mood %d, %q\nwant %d, %q", m, got, c.mood, c.want)
		}
	}
}

func TestScreenShowsWhatIsWithheldAndByWhom(t *testing.T) {
	s := inService()
	s.Mode, s.WouldRestart = "observe", map[string]int64{"hung": 2, "unhealthy": 1}
	s.Frozen = &admin.Frozen{Standing: admin.Standing{By: "uid 0"}, Until: threeAM.Add(118 * time.Minute), All: true, Why: "a benchmark"}
	s.Drained = &admin.Standing{By: "uid 1000", Since: threeAM.Add(-12 * time.Minute)}
	s.Gate.HoldMS = 1_020_000
	s.LastError, s.LastErrorAt = "life 2: exited 1 after 2h0m0s", threeAM.Add(-3*time.Hour)
	got := screen(s, "--name default", threeAM, nil)
	for _, want := range []string{
		"  mode        observe: restarts are decided on, counted and not done, but those by hand and after a crash; would have restarted: 2 hung, 1 unhealthy\n",
		"  frozen      by uid 0 for another 1h58m: a benchmark (--all: a worker that crashes stays down)\n",
		"  drained     by uid 1000 for 12m00s; each held stream waits at most 17m00s\n",
		"  last error  3h00m ago: life 2: exited 1 after 2h0m0s\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the screen lacks %q:\n%s", want, got)
		}
	}
}

// sickly is the health of a worker of which two things are wrong.
func sickly() admin.Health {
	return admin.Health{Verdict: "sick", Warnings: []admin.Warning{
		{Code: "worker_down", Title: "nobody listens where the worker should", Severity: "high", Since: threeAM.Add(-31 * time.Second), Text: "connection refused (after 1ms)"},
		{Code: "busy_not_sick", Title: "probes fail, but streams get bytes: busy, not sick", Severity: "low", Since: threeAM},
	}}
}

func TestScreenShowsWhatIsWrong(t *testing.T) {
	s := inService()
	s.Health = sickly()
	want := `
  health      sick
              nobody listens where the worker should, for 31 s: connection refused (after 1ms)
              probes fail, but streams get bytes: busy, not sick, for 0 ms
  streams `
	if got := screen(s, "--name default", threeAM, nil); !strings.Contains(got, want) {
		t.Errorf("no %q in\n%s", want, got)
	}
	s.Health = admin.Health{Verdict: "well"}
	if got := screen(s, "--name default", threeAM, nil); strings.Contains(got, "health") {
		t.Errorf("a well worker is worth no word:\n%s", got)
	}
}

func TestOnlyATerminalIsPainted(t *testing.T) {
	s := inService()
	plain := screen(s, "--name "+s.Name, threeAM, nil)
	painted := screen(s, "--name "+s.Name, threeAM, palette{well: "\x1b[1;32m"})
	if got := strings.NewReplacer("\x1b[1;32m", "", "\x1b[0m", "").Replace(painted); got != plain || painted == plain {
		t.Errorf("paint changes more than colours:\n%q\n%q", plain, painted)
	}
	if got := say(t, running(t, &fake{status: s}), "status"); got.code != exitDone || strings.Contains(got.out, "\x1b") {
		t.Errorf("status into a file is painted: %q", got.out)
	}
}

// Scripts and the demonstration go by these names.
func TestUpgradesAreShown(t *testing.T) {
	for _, test := range []struct {
		upgrades admin.Upgrades
		want     string
	}{
		{admin.Upgrades{}, "2 take-overs, up"},
		{admin.Upgrades{Tried: 1}, "2 take-overs, 1 upgrade, up"},
		{admin.Upgrades{Tried: 2, OnTrial: true, TrialLeftMS: 12_000}, "2 take-overs, 2 upgrades, on trial for another 12 s, up"},
		{admin.Upgrades{Tried: 3, Undone: 1, LastError: "its runner panicked"}, "2 take-overs, 3 upgrades (1 undone, the last one: its runner panicked), up"},
	} {
		s := inService()
		s.Upgrades = test.upgrades
		if got := sidecarWords(s, s.Since); !strings.Contains(got, test.want) {
			t.Errorf("%+v: %q, want %q in it", test.upgrades, got, test.want)
		}
	}
}

func TestNamesOfStatusJSON(t *testing.T) {
	got := say(t, running(t, &fake{status: inService()}), "status", "--json")
	if got.code != exitDone || got.errors != "" {
		t.Fatalf("status --json gives %d, %s", got.code, got.errors)
	}
	var all map[string]any
	if err := json.Unmarshal([]byte(got.out), &all); err != nil {
		t.Fatal(err)
	}
	for object, want := range map[string][]string{
		"": {
			"ahead", "fronts", "gate", "health", "keeper", "last_error", "life", "listen", "mode", "name", "phase", "ready", "restart_outcomes", "restarts", "runner",
			"since", "state", "streams", "take_overs", "upgrades", "version", "worker", "would_restart",
		},
		"worker":   {"driver", "last_exit", "pid", "since", "upstream"},
		"upgrades": {"last_error", "on_trial", "trial_left_ms", "tried", "undone"},
		"gate":     {"held", "hold_ms", "in_flight", "longest_hold_ms", "queued", "state"},
		"streams":  {"cuts", "oldest_ms", "open", "outcomes"},
		"ahead":    {"drain_ms", "oldest_ms", "start_ms", "streams", "wait_ms"},
	} {
		fields := all
		if object != "" {
			fields = all[object].(map[string]any)
		}
		if d := cmp.Diff(want, slices.Sorted(maps.Keys(fields))); d != "" {
			t.Errorf("names in %q (-want +got):\n%s", object, d)
		}
	}
	if all["take_overs"] != 2.0 || all["gate"].(map[string]any)["longest_hold_ms"] != 2140.0 {
		t.Errorf("values are not as they were given: %s", got.out)
	}
}
