package cli

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"autoglm-sidecar/supervisor/admin"

	"github.com/google/go-cmp/cmp"
)

func begun() admin.Restart {
	return admin.Restart{
		ID: 3, Revision: 1, Phase: "draining", FromLife: 3, Open: 2, OldestMS: 41_000,
		Ahead: inService().Ahead,
	}
}

// then returns a restart that has gone on.
func then(change func(*admin.Restart)) admin.Restart {
	r := begun()
	change(&r)
	return r
}

const ahead = "212 streams open, the oldest for 41 s; new ones will wait about 55 s: " +
	"until these have ended (at most 2m00s), and 14 s for the worker's start\n"

func TestRestart(t *testing.T) {
	f := &fake{status: inService(), begun: begun()}
	got := say(t, running(t, f), "restart")
	want := said{exitDone, ahead + "restart 3 has begun; autoglm-sidecar status --name default shows how far it is, restart --wait would have followed it\n", ""}
	if got != want {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	if len(f.asked) != 1 || f.asked[0].Now {
		t.Errorf("the sidecar was asked %+v, want one restart, not now", f.asked)
	}
}

func TestRestartIsFollowedWithWait(t *testing.T) {
	f := &fake{status: inService(), begun: begun(), steps: []admin.Restart{
		then(func(r *admin.Restart) { r.Open, r.OldestMS, r.Held = 1, 42_000, 4 }),
		then(func(r *admin.Restart) {
			r.Phase, r.Open, r.Held, r.LongestHoldMS, r.TookMS = "starting", 0, 9, 900, 1200
			r.Error = "start life 4: exited 1:\nno memory"
		}),
		then(func(r *admin.Restart) {
			r.Phase, r.Outcome, r.ToLife, r.TookMS, r.LongestHoldMS = "serving", admin.Done, 4, 15_400, 14_900
		}),
	}}
	got := say(t, running(t, f), "restart", "--wait")
	want := said{exitDone, ahead +
		"draining: 2 streams of life 3 open, the oldest for 41 s; 0 ms so far\n" +
		"starting; 9 held for up to 900 ms; 1.2 s so far; start life 4: exited 1: no memory\n" +
		"restart 3 is done after 15 s: life 4 serves, 0 streams cut, longest hold 14 s\n", ""}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(said{})); d != "" {
		t.Errorf("restart --wait (-want +got):\n%s", d)
	}
}

func TestARestartThatFailedFails(t *testing.T) {
	for outcome, want := range map[admin.Outcome]string{
		admin.GivenUp:   "restart 3 failed after 1m10s, no new life serves: start life 4: not found\n",
		admin.Overtaken: "restart 3 was overtaken after 1m10s: start life 4: not found\n",
	} {
		f := &fake{status: inService(), begun: begun(), steps: []admin.Restart{
			then(func(r *admin.Restart) { r.Outcome, r.Error, r.TookMS = outcome, "start life 4: not found", 70_000 }),
		}}
		got := say(t, running(t, f), "restart", "--wait")
		if got.code != exitFailed || got.errors != program+": "+want {
			t.Errorf("got %d %q, want %d %q", got.code, got.errors, exitFailed, want)
		}
	}
}

func TestAPostponedRestartNamesTheStreamsInTheWay(t *testing.T) {
	f := &fake{status: inService(), begun: begun(), steps: []admin.Restart{
		then(func(r *admin.Restart) {
			r.Outcome = admin.Postponed
			r.InTheWay = []admin.Stream{
				{ID: 17, RequestID: "req-a", Client: "10.0.0.7:5123", AgeMS: 192_000},
				{ID: 20, RequestID: "req-b", Client: "10.0.0.8:5124", AgeMS: 130_000},
			}
		}),
	}}
	got := say(t, running(t, f), "restart", "--wait")
	want := `autoglm-sidecar: restart 3 is postponed: 2 streams did not end within 2m00s, life 3 goes on; ask again later, or cut them with autoglm-sidecar restart --name default --now
  stream 17 of 10.0.0.7:5123, open for 3m12s, request req-a
  stream 20 of 10.0.0.8:5124, open for 2m10s, request req-b
`
	if got.code != exitPostponed || got.errors != want {
		t.Errorf("got %d\n%s\nwant %d\n%s", got.code, got.errors, exitPostponed, want)
	}
}

func TestARefusedRestartSaysWhy(t *testing.T) {
	s := inService()
	s.Worker.Driver = "none"
	f := &fake{status: s, refuse: &admin.Refusal{Code: admin.NoDriver, Message: "somebody else runs the worker; restart it there"}}
	got := say(t, running(t, f), "restart", "--wait")
	want := said{exitRefused, "", "autoglm-sidecar: ask for a restart: somebody else runs the worker; restart it there\n"}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestASidecarThatLeavesIsNotAskedForARestart(t *testing.T) {
	s := inService()
	s.Gate.State = "leaving"
	f := &fake{status: s, begun: begun()}
	got := say(t, running(t, f), "restart", "--wait")
	want := said{exitRefused, "", "autoglm-sidecar: no restart: sidecar default is leaving, its worker goes with it; " +
		"autoglm-sidecar status --name default shows how far it is\n"}
	if got != want || len(f.asked) != 0 {
		t.Errorf("got %+v, and it was asked %+v; want %+v, and nothing asked", got, f.asked, want)
	}
}

func TestHintsRepeatControl(t *testing.T) {
	f := &fake{status: inService(), begun: begun()}
	dir := running(t, f)
	socket := filepath.Join(dir, "autoglm-sidecar", "default.sock")
	expect := func(what, text, want string) {
		t.Helper()
		if want = strings.ReplaceAll(want, "SOCKET", socket); !strings.Contains(text, want) || strings.Contains(text, "--name") {
			t.Errorf("%s says\n%s\nand not %s", what, text, want)
		}
	}
	expect("restart", say(t, dir, "restart", "--control", socket).out, "; autoglm-sidecar status --control SOCKET shows")
	f.mu.Lock()
	f.steps = []admin.Restart{then(func(r *admin.Restart) { r.Outcome = admin.Postponed })}
	f.mu.Unlock()
	expect("a postponed one", say(t, dir, "restart", "--control", socket, "--wait").errors, "autoglm-sidecar restart --control SOCKET --now")
	f.mu.Lock()
	f.status.Halted = "x"
	f.mu.Unlock()
	expect("status of one that gave up", say(t, dir, "status", "--control", socket).out, "autoglm-sidecar restart --control SOCKET\n")
	f.mu.Lock()
	f.status.Halted, f.status.Gate.State = "", "leaving"
	f.mu.Unlock()
	expect("one that leaves", say(t, dir, "restart", "--control", socket).errors, "autoglm-sidecar status --control SOCKET shows")
	if got := (&target{control: "/a b"}).words(); got != "--control '/a b'" {
		t.Errorf("a path that a shell would split is written %s", got)
	}
}

// Follow does not tell how it was asked for.
func TestHowItWasAskedForIsKnownAtItsEnd(t *testing.T) {
	f := &fake{status: inService(), begun: then(func(r *admin.Restart) { r.Now = true }), steps: []admin.Restart{
		then(func(r *admin.Restart) { r.Outcome, r.Ahead = admin.Postponed, admin.Ahead{} }),
	}}
	got := say(t, running(t, f), "restart", "--wait", "--json")
	if !strings.Contains(got.out, `"now": true`) || !strings.Contains(got.out, `"drain_ms": 120000`) || !strings.Contains(got.errors, "within 2m00s") {
		t.Errorf("got %+v, want now, and a drain of two minutes", got)
	}
}

func TestARestartThatIsJoinedSaysSo(t *testing.T) {
	f := &fake{status: inService(), begun: then(func(r *admin.Restart) { r.Joined = true })}
	dir := running(t, f)
	got := say(t, dir, "restart")
	if want := "restart 3 was under way already (draining); joined\n"; got.code != exitDone || !strings.Contains(got.out, want) {
		t.Errorf("got %d %q, want it to contain %q", got.code, got.out, want)
	}
	f.mu.Lock()
	f.steps = []admin.Restart{then(func(r *admin.Restart) { r.Outcome = admin.Done })}
	f.mu.Unlock()
	if got := say(t, dir, "restart", "--wait", "--json"); !strings.Contains(got.out, `"joined": true`) {
		t.Errorf("at its end it is no longer known that it was joined: %s", got.out)
	}
}

func TestWhatLiesAheadIsToldForEachCase(t *testing.T) {
	f := &fake{status: inService(), begun: begun()}
	if got := say(t, running(t, f), "restart", "--now"); !strings.HasPrefix(got.out,
		"212 streams open, the oldest for 41 s, which --now cuts; new ones will wait about 14 s for the worker's start\n") {
		t.Errorf("--now does not say that it cuts: %q", got.out)
	}
	if len(f.asked) != 1 || !f.asked[0].Now {
		t.Errorf("the sidecar was asked %+v, want a restart now", f.asked)
	}
	f = &fake{begun: begun()}
	if got := say(t, running(t, f), "restart"); !strings.HasPrefix(got.out, "no streams are open; new ones will wait about the worker's start (not known yet)\n") {
		t.Errorf("an idle sidecar says %q", got.out)
	}
}

func TestRestartJSONIsOneObject(t *testing.T) {
	for _, c := range []struct {
		last admin.Restart
		args []string
		code int
	}{
		{begun(), []string{"restart", "--json"}, exitDone},
		{then(func(r *admin.Restart) { r.Outcome, r.ToLife = admin.Done, 4 }), []string{"restart", "--json", "--wait"}, exitDone},
		{then(func(r *admin.Restart) { r.Outcome, r.Error = admin.GivenUp, "x" }), []string{"restart", "--json", "--wait"}, exitFailed},
		{then(func(r *admin.Restart) { r.Outcome = admin.Postponed }), []string{"restart", "--json", "--wait"}, exitPostponed},
	} {
		got := say(t, running(t, &fake{status: inService(), begun: begun(), steps: []admin.Restart{c.last}}), c.args...)
		var r admin.Restart
		if err := json.Unmarshal([]byte(got.out), &r); err != nil {
			t.Errorf("%v prints %q: %v", c.args, got.out, err)
			continue
		}
		if got.code != c.code || r.ID != 3 || r.Outcome != c.last.Outcome || r.Ahead.Streams != 212 {
			t.Errorf("%v gives %d and %+v, want %d and outcome %q", c.args, got.code, r, c.code, c.last.Outcome)
		}
	}
}

func TestATerminalsLineIsDrawnAnew(t *testing.T) {
	var screen bytes.Buffer
	p := progress{line{w: &screen, redraw: true}}
	p.show(begun())
	p.show(then(func(r *admin.Restart) { r.Outcome = admin.Done }))
	p.clear()
	want := "\r\x1b[Kdraining: 2 streams of life 3 open, the oldest for 41 s; 0 ms so far\r\x1b[K"
	if got := screen.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
