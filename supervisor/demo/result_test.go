package demo

import (
	"bytes"
	"strings"
	"testing"
)

// good is a result that passes.
func good() Result {
	return Result{Streams: 960, Completed: 960, Held: 700, Lives: 5, Restarts: 4, SidecarKills: 2, Upgrades: 1, Leaks: 1, LongestHold: 7600, LongestGap: 41}
}

func TestOnlyAWholeDemonstrationPasses(t *testing.T) {
	r := good()
	if r.judge(nil); !r.Passed {
		t.Errorf("a good one fails: %v", r.Failures)
	}
	for name, harm := range map[string]func(*Result){
		"nothing came":           func(r *Result) { r.Completed = 0 },
		"one answer was cut":     func(r *Result) { r.Cut = 1 },
		"one byte was wrong":     func(r *Result) { r.Corrupt = 1 },
		"one was refused":        func(r *Result) { r.Refused = 1 },
		"none was held":          func(r *Result) { r.Held = 0 },
		"a life is missing":      func(r *Result) { r.Lives-- },
		"there was one too many": func(r *Result) { r.Lives++ },
	} {
		r := good()
		harm(&r)
		if r.judge([]string{"a note"}); r.Passed || r.failure() == nil {
			t.Errorf("it passes although %s", name)
		}
	}
}

func TestTheLineForMachines(t *testing.T) {
	var out bytes.Buffer
	r := good()
	if err := r.write(&out); err != nil {
		t.Fatal(err)
	}
	want := "\nRESULT streams=960 completed=960 cut=0 held=700 refused=0 restarts=4 sidecar_kills=2 upgrades=1 leaks=1 longest_hold_ms=7600 longest_token_gap_ms=41\n"
	if !strings.HasSuffix(out.String(), want) {
		t.Errorf("want the output to end with %q, got\n%s", want, out.String())
	}
}

func TestAScreenThatIsNoTerminalGetsPlainLines(t *testing.T) {
	var out bytes.Buffer
	s := newScreen(&out)
	s.begin("restart", func() string { return "never shown" })
	s.step(Step{Name: "restart", Open: 180, Held: 7, TookMS: 7600, What: "life 1 -> 2"})
	s.end()
	if want := "ok restart                           7.6 s  180 open, 7 held; life 1 -> 2\n"; out.String() != want {
		t.Errorf("want %q, got %q", want, out.String())
	}
}
