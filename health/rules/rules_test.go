package rules

import (
	"errors"
	"testing"
	"time"

	"autoglm-sidecar/health"
	"autoglm-sidecar/health/probe"
)

func TestAsked(t *testing.T) {
	for _, test := range []struct {
		kind  string
		err   error
		code  health.Code
		bad   bool
		unfit bool
		text  string
	}{
		{HTTP, nil, health.HTTPFailed, false, false, ""},
		{HTTP, probe.ErrNoAnswer, health.HTTPFailed, true, false, "no answer in time (after 5s)"},
		{HTTP, &probe.StatusError{Code: 503}, health.HTTPFailed, true, false, "answered 503 (after 5s)"},
		{HTTP, &probe.StatusError{Code: 404}, health.HTTPFailed, true, false, "answered 404 (after 5s)"},
		{HTTP, probe.ErrRefused, health.WorkerDown, true, false, "connection refused (after 5s)"},
		{TCP, probe.ErrRefused, health.WorkerDown, true, false, "connection refused (after 5s)"},
		{TCP, probe.ErrUnconnected, health.TCPFailed, true, false, "not connected in time (after 5s)"},
		{HTTP, probe.ErrUnconnected, health.TCPFailed, true, false, "not connected in time (after 5s)"},
		{Exec, &probe.ExitError{How: "exited 1"}, health.ExecFailed, true, false, "exited 1 (after 5s)"},
		{Exec, errors.New("not run: no such file"), health.ExecFailed, true, false, "not run: no such file (after 5s)"},
		{Generate, probe.ErrNoAnswer, health.GenerateFailed, true, false, "no answer in time (after 5s)"},
		{Generate, &probe.StatusError{Code: 500}, health.GenerateFailed, true, false, "answered 500 (after 5s)"},
		{Generate, &probe.StatusError{Code: 401}, health.GenerateFailed, false, true, "answered 401 (after 5s)"},
		{Generate, &probe.StatusError{Code: 404}, health.GenerateFailed, false, true, "answered 404 (after 5s)"},
	} {
		got := Asked(7, "it", test.kind, probe.Result{Err: test.err, Took: 5 * time.Second})
		want := health.Signal{Life: 7, About: "it", Code: test.code, Bad: test.bad, Unfit: test.unfit, Text: test.text}
		if got != want {
			t.Errorf("%s, %v:\n got %+v\nwant %+v", test.kind, test.err, got, want)
		}
	}
}

func TestStall(t *testing.T) {
	const hung = 2 * time.Minute
	for _, test := range []struct {
		name string
		p    Progress
		hung time.Duration
		text string // empty: it is none
	}{
		{"nobody is there", Progress{Silence: time.Hour}, hung, ""},
		{"streams answer", Progress{Answering: 5, Silence: hung - 1}, hung, ""},
		{"none has got a byte for as long", Progress{Answering: 5, Silence: hung}, hung, "5 streams are open and none got a byte for 2m0s"},
		{"all prompts are being processed", Progress{Waiting: 9, Silence: time.Hour}, hung, ""},
		{"one takes longer than a prompt may", Progress{Waiting: 9, Overdue: 1, Silence: 6 * time.Minute}, hung, "1 stream is open and got no byte for 6m0s, 8 more wait for their first"},
		{"some answer and others get bytes", Progress{Answering: 3, Waiting: 2, Overdue: 1, Silence: time.Second}, hung, ""},
		{"it was turned off", Progress{Answering: 5, Silence: time.Hour}, 0, ""},
	} {
		test.p.Life = 7
		got := Stall("streams", test.p, test.hung)
		want := health.Signal{Life: 7, About: "streams", Code: health.WorkerSilent, Bad: test.text != "", Text: test.text}
		if got != want {
			t.Errorf("%s:\n got %+v\nwant %+v", test.name, got, want)
		}
	}
}

func TestWindow(t *testing.T) {
	w := Window{About: "answers", Length: time.Minute, Share: 0.5}
	var all Ends
	look := func(at time.Duration, what string, more Ends, want string) {
		t.Helper()
		all = Ends{all.Whole + more.Whole, all.Refused + more.Refused, all.Broken + more.Broken, all.Errors + more.Errors}
		got := w.Look(7, all, at)
		if got != (health.Signal{Life: 7, About: "answers", Code: health.AnswersFail, Bad: want != "", Text: want}) {
			t.Errorf("%s: got %+v, want %q", what, got, want)
		}
	}
	all = Ends{Errors: 1000} // of lives before
	look(1*time.Second, "what was before is none of its affairs", Ends{}, "")
	look(2*time.Second, "four failures mean nothing", Ends{Errors: 4}, "")
	look(3*time.Second, "five of nine do", Ends{Whole: 4, Broken: 1}, "of the last 9 answers 5 failed: 1 broken off, 4 status 5xx")
	look(4*time.Second, "half of them is not too many", Ends{Whole: 1}, "")
	look(5*time.Second, "connections count too", Ends{Refused: 2}, "of the last 12 answers 7 failed: 2 not connected, 1 broken off, 4 status 5xx")
	look(62*time.Second, "what is older than the window counts no more", Ends{}, "")
	look(64*time.Second, "the refused are left", Ends{Refused: 3}, "of the last 5 answers 5 failed: 5 not connected")
	look(200*time.Second, "nothing has happened for long", Ends{}, "")
	if len(w.samples) > 2 {
		t.Errorf("%d samples are kept of a window in which two count", len(w.samples))
	}
	if got := w.Look(8, all, 201*time.Second); got.Bad || got.Life != 8 {
		t.Errorf("life 8 begins with %+v", got)
	}
}

func TestWindowForgetsTheLifeBefore(t *testing.T) {
	w := Window{Length: time.Minute, Share: 0}
	w.Look(1, Ends{}, 1*time.Second)
	if got := w.Look(1, Ends{Errors: 9}, 2*time.Second); !got.Bad {
		t.Error("nine errors and nothing else, and that was well")
	}
	if got := w.Look(2, Ends{Errors: 9}, 3*time.Second); got.Bad {
		t.Errorf("life 2 pays for life 1: %+v", got)
	}
}
