package cli

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"autoglm-sidecar/supervisor/admin"
)

// like returns the status of a sidecar in service, changed.
func like(change func(*admin.Status)) admin.Status {
	s := inService()
	change(&s)
	return s
}

func drained(inFlight, held int) admin.Status {
	return like(func(s *admin.Status) {
		s.Phase, s.State = "draining", "holding"
		s.Gate = admin.Gate{State: "holding", InFlight: inFlight, Held: held, HoldMS: 1_020_000}
		s.Drained = &admin.Standing{By: "uid 0", Since: threeAM}
	})
}

func stopping(phase string, inFlight int) admin.Status {
	return like(func(s *admin.Status) {
		s.Phase, s.State = phase, phase
		s.Gate = admin.Gate{State: "holding", InFlight: inFlight, Held: 4, HoldMS: 1_020_000}
		s.Stopped = &admin.Standing{By: "uid 0", Since: threeAM}
	})
}

func TestWordsSayWhatTheyDo(t *testing.T) {
	already := admin.Taken{Already: true, Life: 3}
	for _, c := range []struct {
		line   string
		before admin.Status
		taken  admin.Taken
		want   string
	}{
		{
			line: "drain", before: inService(),
			want: "new streams are held from here on, 212 streams open, the oldest for 41 s; the worker stays. To take that back: autoglm-sidecar open --name default\n",
		},
		{
			line: "drain", before: drained(1, 2), taken: already,
			want: "drained already: 1 stream open, the oldest for 41 s, 2 held (each for at most 17m00s)\n",
		},
		{line: "open", before: drained(0, 12), want: "open: life 3 serves, 12 held streams let in\n"},
		{line: "open", before: inService(), taken: already, want: "it was not drained; nothing has changed\n"},
		{
			line: "open", before: like(func(s *admin.Status) { s.Phase, s.State, s.Drained = "starting", "warming", &admin.Standing{} }),
			want: "the drain is taken back; the gate opens as soon as the worker serves (it is starting)\n",
		},
		{
			line: "open", before: stopping("stopped", 0),
			want: "the drain is taken back, but the worker is stopped; to start it: autoglm-sidecar start --name default\n",
		},
		{
			line: "stop", before: inService(),
			want: "212 streams open, the oldest for 41 s; when they have ended the worker is stopped, and streams are refused; " +
				"autoglm-sidecar status --name default shows how far it is\n",
		},
		{
			line: "stop --now", before: inService(),
			want: "212 streams open, the oldest for 41 s, which --now cuts; then the worker is stopped\n",
		},
		{
			line: "stop", before: stopping("draining", 1), taken: already,
			want: "being stopped already: 1 stream open, the oldest for 41 s, 4 held (each for at most 17m00s)\n",
		},
		{line: "stop", before: stopping("stopped", 0), taken: already, want: "stopped already; to start it: autoglm-sidecar start --name default\n"},
		{
			line: "start", before: stopping("stopped", 0),
			want: "the worker is being started, which took 14 s the last time; autoglm-sidecar status --name default shows how far it is\n",
		},
		{
			line: "start", before: stopping("draining", 3),
			want: "the stop is taken back: life 3 goes on; autoglm-sidecar status --name default shows how far it is\n",
		},
		{line: "start", before: inService(), taken: already, want: "it serves already; nothing has changed\n"},
		{
			line: "start", before: drained(0, 0), taken: already,
			want: "it is draining already; nothing has changed; streams stay held, uid 0 drained: autoglm-sidecar open --name default\n",
		},
		{line: "unfreeze", before: inService(), taken: already, want: "it was not frozen; nothing has changed\n"},
		{
			line: "unfreeze", before: like(func(s *admin.Status) {
				s.Frozen = &admin.Frozen{Standing: admin.Standing{By: "uid 7"}, Why: "a benchmark"}
			}),
			want: "the freeze of uid 7 (a benchmark) is over\n",
		},
	} {
		f := &fake{status: c.before, taken: c.taken}
		got := say(t, running(t, f), strings.Fields(c.line)...)
		if got != (said{exitDone, c.want, ""}) {
			t.Errorf("%s\n got %+v\nwant %q", c.line, got, c.want)
		}
		verb, _, now := strings.Cut(c.line, " --now")
		if len(f.said) != 1 || f.said[0].Verb != admin.Verb(verb) || f.said[0].Now != now {
			t.Errorf("%s: the sidecar was told %+v", c.line, f.said)
		}
	}
}

func TestFreezeNeedsATimeAndAReason(t *testing.T) {
	for line, want := range map[string]string{
		"freeze":                      "--for 0s: a freeze lasts more than 0 and at most 168h0m0s; type: autoglm-sidecar freeze --for 2h --why TEXT",
		"freeze --why x":              "--for 0s: a freeze lasts more than 0 and at most 168h0m0s; type: autoglm-sidecar freeze --for 2h --why TEXT",
		"freeze --for 169h --why x":   "--for 169h0m0s: a freeze lasts more than 0 and at most 168h0m0s; type: autoglm-sidecar freeze --for 2h --why TEXT",
		"freeze --for 2h":             "--why is missing: those who meet the freeze will want to know; type: autoglm-sidecar freeze --for 2h --why TEXT",
		"freeze --for 2 --why x":      "invalid argument \"2\" for \"--for\" flag: time: missing unit in duration \"2\"; see autoglm-sidecar freeze --help",
		"unfreeze now":                "unknown command \"now\" for \"autoglm-sidecar unfreeze\"; see autoglm-sidecar unfreeze --help",
		"drain --now":                 "unknown flag: --now; see autoglm-sidecar drain --help",
		"history x":                   "\"x\" is no ID of a restart; autoglm-sidecar history lists them",
		"history --last 0":            "--last 0: must be between 1 and 1000",
		"history --since yesterday":   "--since \"yesterday\": write a time ago as in 24h or 7d, or a date as in 2026-11-24",
		"history 1 2":                 "accepts at most 1 arg(s), received 2; see autoglm-sidecar history --help",
		"history --since 2026-13-24 ": "--since \"2026-13-24\": write a time ago as in 24h or 7d, or a date as in 2026-11-24",
	} {
		if got := say(t, "/nowhere", strings.Fields(line)...); got.code != exitUsage || got.errors != program+": "+want+"\n" || got.out != "" {
			t.Errorf("%s\n got %d %q\nwant %d %q", line, got.code, got.errors, exitUsage, want)
		}
	}
	f := &fake{status: inService()}
	got := say(t, running(t, f), "freeze", "--for", "90m", "--why", "a benchmark", "--all")
	if got.code != exitDone || !strings.HasPrefix(got.out, "frozen for 1h30m, until ") ||
		!strings.HasSuffix(got.out, ": nobody restarts or stops the worker, and if it crashes it stays down\n") {
		t.Errorf("freeze says %+v", got)
	}
	want := admin.FreezeRequest{For: admin.Span(90 * time.Minute), Why: "a benchmark", All: true}
	if len(f.said) != 1 || f.said[0].FreezeRequest != want {
		t.Errorf("the sidecar was told %+v, want %+v", f.said, want)
	}
}

func TestWhatAFreezeRefusesNamesTheWayOut(t *testing.T) {
	f := &fake{status: inService(), refuse: &admin.Refusal{Code: admin.FrozenNow, Message: "frozen by uid 7 for another 50m0s: a benchmark"}}
	dir := running(t, f)
	for verb, asked := range map[string]string{"stop": "ask to stop", "restart": "ask for a restart"} {
		want := "autoglm-sidecar: " + asked + ": frozen by uid 7 for another 50m0s: a benchmark; to take that back: autoglm-sidecar unfreeze --name default\n"
		if got := say(t, dir, verb); got.code != exitRefused || got.errors != want {
			t.Errorf("%s: %d %q, want %d %q", verb, got.code, got.errors, exitRefused, want)
		}
	}
}

func TestDrainAndStopAreFollowedWithWait(t *testing.T) {
	for _, c := range []struct {
		line string
		then []admin.Status
		code int
		out  string // after the first line
		err  string
	}{
		{
			line: "drain --wait", then: []admin.Status{drained(7, 0), drained(0, 3)}, code: exitDone,
			out: "7 streams open, the oldest for 41 s, 0 held (each for at most 17m00s); SPAN so far\n" +
				"drained after SPAN: no stream is open, 3 held (each for at most 17m00s)\n",
		},
		{
			line: "drain --wait", then: []admin.Status{inService()}, code: exitFailed,
			err: "autoglm-sidecar: no longer drained: somebody has taken it back\n",
		},
		{
			line: "drain --wait", then: []admin.Status{like(func(s *admin.Status) { *s = drained(3, 1); s.Ahead.DrainMS = -1 })}, code: exitPostponed,
			err: "autoglm-sidecar: not drained within -1 ms: 3 streams open, the oldest for 41 s; the gate goes on holding. " +
				"Wait on with autoglm-sidecar drain --wait --name default, or take it back with autoglm-sidecar open --name default\n",
		},
		{
			line: "stop --wait", then: []admin.Status{stopping("draining", 7), stopping("stopping", 0), stopping("stopped", 0)}, code: exitDone,
			out: "draining: 7 streams open, the oldest for 41 s, 4 held (each for at most 17m00s); SPAN so far\n" +
				"stopping: no stream is open, 4 held (each for at most 17m00s); SPAN so far\n" +
				"stopped after SPAN: streams are refused. To start it: autoglm-sidecar start --name default\n",
		},
		{
			line: "stop --wait", then: []admin.Status{like(func(s *admin.Status) { *s = stopping("draining", 3); s.Ahead.DrainMS = -1 })}, code: exitPostponed,
			err: "autoglm-sidecar: not stopped within -1 ms: 3 streams open, the oldest for 41 s; the stop goes on waiting for them. " +
				"Cut them with autoglm-sidecar stop --now --name default, or take it back with autoglm-sidecar start --name default\n",
		},
		{
			line: "start --wait", then: []admin.Status{
				like(func(s *admin.Status) { s.Phase, s.Worker.Progress = "starting", "answered 503" }), inService(),
			}, code: exitDone,
			out: "starting: answered 503, 0 held; SPAN so far\nlife 3 serves after SPAN\n",
		},
		{
			line: "start --wait", then: []admin.Status{like(func(s *admin.Status) { s.Phase, s.Halted = "halted", "21 crashes" })}, code: exitFailed,
			err: "autoglm-sidecar: it was given up after SPAN: 21 crashes\n",
		},
	} {
		f := &fake{status: inService(), then: c.then}
		got := say(t, running(t, f), strings.Fields(c.line)...)
		_, out, _ := strings.Cut(got.out, "\n")
		if got.code != c.code || !sameButSpans(out, c.out) || !sameButSpans(got.errors, c.err) {
			t.Errorf("%s\n got %d %q %q\nwant %d %q %q", c.line, got.code, out, got.errors, c.code, c.out, c.err)
		}
	}
}

// sameButSpans compares where SPAN stands for some milliseconds or seconds.
func sameButSpans(got, want string) bool {
	for part := range strings.SplitSeq(want, "SPAN") {
		i := strings.Index(got, part)
		if i < 0 || i > len("999 ms") {
			return false
		}
		got = got[i+len(part):]
	}
	return got == ""
}

func TestWordsPrintOneJSONObject(t *testing.T) {
	f := &fake{status: inService(), taken: admin.Taken{Life: 3}, then: []admin.Status{drained(7, 0), drained(0, 3)}}
	got := say(t, running(t, f), "drain", "--wait", "--json")
	var all struct {
		Already *bool
		Life    int
		Status  admin.Status
	}
	if err := json.Unmarshal([]byte(got.out), &all); err != nil || got.code != exitDone {
		t.Fatalf("drain --wait --json gives %+v: %v", got, err)
	}
	if all.Already == nil || all.Life != 3 || all.Status.Gate.Held != 3 || all.Status.Drained.By != "uid 0" {
		t.Errorf("it prints %s", got.out)
	}
}
