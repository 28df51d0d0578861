package supervisor

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"autoglm-sidecar/health"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata/table.txt anew; then read it")

const tableFile = "testdata/table.txt"

// The table as people read it: what each event leads to in each state. What isn't listed changes nothing.
func TestTable(t *testing.T) {
	var b strings.Builder
	for s := range State(numStates) {
		for k := range EventKind(numEvents) {
			before := typical(s)
			now := max(before.Deadline, before.Since+time.Second)
			if k == EventThaw {
				now = max(now, before.Freeze.Until)
			}
			after, effects := Step(before, typicalEvent(k, &before), now)
			if after == before && effects == nil {
				continue
			}
			line := fmt.Sprintf("%-12v %-14v -> %-12v %s", s, k, after.State, told(effects))
			b.WriteString(strings.TrimRight(line, " ") + "\n")
		}
	}
	got := b.String()
	if *update {
		if err := os.WriteFile(tableFile, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(tableFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("the table is not the one in %s (-want +got):\n%s", tableFile, diff)
	}
}

// told are effects in a few words each.
func told(effects []Effect) string {
	var words []string
	for _, f := range effects {
		word := f.Kind.String()
		switch f.Kind {
		case EffectCut:
			word = fmt.Sprintf("cut{%v}", f.Cause)
		case EffectJournal:
			word = fmt.Sprintf("journal{%v}", f.Ended.Result)
		case EffectAnswer:
			word = "answer{taken}"
			if f.Withheld != NotWithheld {
				word = "answer{withheld}"
			} else if f.Why != "" {
				word = "answer{refused}"
			} else if f.Joined {
				word = "answer{joined}"
			}
		case EffectLaunch, EffectFind, EffectWatch, EffectAwait, EffectTerminate, EffectKill, EffectReclaim,
			EffectOpen, EffectHold, EffectRefuse, EffectLeave, EffectMark, EffectFinish, EffectRelease:
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// typical is a machine in a state as it mostly is there: a person's restart of life 3 is under way where one can be.
func typical(s State) Machine {
	m := Machine{
		State: s, Life: 3, PID: 103, Since: 2 * time.Hour, Served: time.Hour, Launched: time.Hour - time.Minute,
		Barrier: 1, Restarts: 4, Limits: DefaultLimits(), Seed: 1, Booted: true,
	}
	underway := Restart{ID: 4, Revision: 1, Reason: health.Operator, From: 3, Asked: m.Since}
	switch s {
	case Down:
		m = Machine{State: Down, Limits: m.Limits, Since: m.Since}
	case Finding:
		m.Noted = Serving
	case Launching:
		m.PID, m.Restart = 0, underway
	case Warming, Draining, Cutting, Terminating, Killing, Reclaiming, Purging:
		m.Restart, m.Deadline = underway, m.Since+time.Minute
	case BackingOff:
		m.PID, m.Restart, m.Deadline, m.Failed = 0, underway, m.Since+time.Second, true
	case Releasing:
		m.PID, m.Restart, m.Deadline, m.Reclaims = 0, underway, m.Since+time.Minute, true
	case Stopped:
		m.PID, m.Want, m.Stop = 0, WantStop, Word{m.Since, "uid 0"}
	case Left:
		m.PID, m.Want = 0, WantLeave
	case Holding:
		m.Drain = Word{m.Since, "uid 0"}
	case Frozen:
		m.PID, m.Restart, m.Failed = 0, underway, true
		m.Freeze = Freeze{Until: m.Since + time.Hour, At: m.Since, All: true, By: "uid 0", Why: "a benchmark"}
	case Serving:
	case Halted:
		m.PID, m.LastError = 0, "halted"
	}
	return m
}

// typicalEvent is an event about the machine's life. The restart is a person's, and the gate counts nothing in flight.
func typicalEvent(k EventKind, m *Machine) Event {
	e := Event{Kind: k, PID: 103, Barrier: m.Barrier, Why: "why", Exit: Exit{Known: true}}
	if wishes[k] == nil {
		e.Life = m.Life
	}
	if k == EventFreeze {
		e.For, e.By = time.Hour, "uid 0"
	}
	if k == EventRestart {
		e.Reason, e.By = health.Operator, "uid 0"
	}
	return e
}

func TestEveryNameIsThere(t *testing.T) {
	for what, names := range map[string][]string{
		"state": stateNames[:], "phase": phaseNames[:], "event": eventNames[:], "effect": effectNames[:], "result": resultNames[:],
	} {
		seen := map[string]bool{}
		for i, name := range names {
			if name == "" || seen[name] {
				t.Errorf("%s %d is called %q, like another or not at all", what, i, name)
			}
			seen[name] = true
		}
	}
}

// A fact has its place in the table, a wish is the same everywhere: never both.
func TestWishesAndFactsAreApart(t *testing.T) {
	for k := range EventKind(numEvents) {
		asFact := false
		for s := range State(numStates) {
			asFact = asFact || facts[s][k] != nil
		}
		if asFact == (wishes[k] != nil) {
			t.Errorf("%v is a fact: %v, and a wish: %v", k, asFact, wishes[k] != nil)
		}
		if asFact != (k >= EventTimer) {
			t.Errorf("%v stands among the wrong constants", k)
		}
	}
}
