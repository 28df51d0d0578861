package cli

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"autoglm-sidecar/supervisor/admin"
	"autoglm-sidecar/supervisor/config"
)

// mood is how the first line of a screen is to be taken.
type mood int

const (
	well mood = iota
	waiting
	broken
)

// palette paints a line; the empty one leaves it as it is.
type palette map[mood]string

func (p palette) paint(m mood, text string) string {
	if p[m] == "" {
		return text
	}
	return p[m] + text + "\x1b[0m"
}

// colours returns a palette for a person at a terminal who did not forbid it (no-color.org).
func colours(w io.Writer, h config.Host) palette {
	if !isTerminal(w) || h.Getenv("NO_COLOR") != "" {
		return nil
	}
	return palette{well: "\x1b[1;32m", waiting: "\x1b[1;33m", broken: "\x1b[1;31m"}
}

// screen writes a status for somebody who was woken by it: first how things are and what to do, then the facts, one
// a line, in the order in which a stream meets them. sidecar is what to type to mean this one again.
func screen(s admin.Status, sidecar string, now time.Time, p palette) string {
	var b strings.Builder
	m, text := headline(s, sidecar, now)
	b.WriteString(p.paint(m, s.Name+": "+text) + "\n\n")
	line := func(label, format string, args ...any) {
		fmt.Fprintf(&b, "  %-10s  %s\n", label, fmt.Sprintf(format, args...))
	}

	line("front", "%s, gate %s, %d in flight, %s", s.Listen, s.Gate.State, s.Gate.InFlight, heldWords(s.Gate))
	if len(s.Fronts) > 1 {
		for _, f := range s.Fronts {
			line("", "%s: %s, %d open", f.Listen, count(int64(f.Connections), "connection"), f.Open)
		}
	}
	line("worker", "%s", workerWords(s, now))
	if s.Barred != "" && !strings.Contains(text, s.Barred) {
		line("barred", "no life may be started after this one: %s", s.Barred)
	}
	if words := healthWords(s.Health, now); len(words) > 0 {
		line("health", "%s", strings.Join(words, "\n              "))
	}
	if s.Streams.Open == 0 {
		line("streams", "none open")
	} else {
		line("streams", "%s open, the oldest for %s", number(int64(s.Streams.Open)), spanMS(s.Streams.OldestMS))
	}
	line("ended", "%s", cmp.Or(tally(s.Streams.Outcomes, ""), "none yet"))
	line("cut", "%s", cmp.Or(tally(s.Streams.Cuts, "by "), "none"))
	line("restarts", "%s", restartWords(s))
	if words := modeWords(s); words != "" {
		line("mode", "%s", words)
	}
	if f := s.Frozen; f != nil {
		line("frozen", "%s", frozenWords(f, now))
	}
	if s.Drained != nil {
		line("drained", "by %s for %s; each held stream waits at most %s", s.Drained.By, span(now.Sub(s.Drained.Since)), spanMS(s.Gate.HoldMS))
	}
	if s.GPUReader != nil {
		line("gpus", "%s", readerWords(s.GPUReader, now))
		if s.GPUReader.Error != "" {
			line("", "%s; see %s config show", s.GPUReader.Error, program)
		}
	}
	for i := range s.GPUs {
		line(fmt.Sprintf("gpu %d", s.GPUs[i].Index), "%s", strings.Join(gpuWords(&s.GPUs[i], sidecar), "\n              "))
	}
	if s.Planned != nil {
		if words := plannedWords(&s, now); len(words) > 0 {
			line("planned", "%s", strings.Join(words, "\n              "))
		}
	}
	line("sidecar", "%s", sidecarWords(s, now))
	if s.LastError != "" {
		words := s.LastError
		if !s.LastErrorAt.IsZero() {
			words = span(max(0, now.Sub(s.LastErrorAt))) + " ago: " + words
		}
		line("last error", "%s", strings.ReplaceAll(words, "\n", "\n              "))
	}
	return b.String()
}

// headline says in one sentence how things are and, where somebody must act, what to do.
func headline(s admin.Status, sidecar string, now time.Time) (mood, string) {
	held := count(int64(s.Gate.Held), "stream") + " held"
	switch {
	case s.Gate.State == "leaving":
		return waiting, fmt.Sprintf("leaving; new streams are refused so that clients go elsewhere, %d run on", s.Streams.Open)
	case s.Stopped != nil && s.Phase == "stopped":
		return broken, fmt.Sprintf("STOPPED by %s %s ago, all streams are refused. To start it: %s start %s",
			s.Stopped.By, span(now.Sub(s.Stopped.Since)), program, sidecar)
	case s.Stopped != nil:
		return waiting, fmt.Sprintf("being stopped for good by %s: life %d has %s to end, %s. To take that back: %s start %s",
			s.Stopped.By, s.Life, count(int64(s.Gate.InFlight), "stream"), held, program, sidecar)
	case s.Barred != "" && (s.Phase == "down" || s.Phase == "halted") && s.Gate.State == "refusing":
		return broken, "BARRED, no life may be started and all streams are refused: " + s.Barred
	case s.Barred != "" && (s.Phase == "down" || s.Phase == "halted"):
		return broken, fmt.Sprintf("BARRED, no life may be started, %s: %s", held, s.Barred)
	case s.Halted != "":
		return broken, fmt.Sprintf("GIVEN UP, all streams are refused: %s. When the cause is mended: %s restart %s",
			s.Halted, program, sidecar)
	case s.State == "holding" && s.Drained != nil:
		return waiting, fmt.Sprintf("DRAINED by %s %s ago: life %d stays and has %s to end, %s. To let them in: %s open %s",
			s.Drained.By, span(now.Sub(s.Drained.Since)), s.Life, count(int64(s.Gate.InFlight), "stream"), held, program, sidecar)
	case s.State == "frozen" && s.Frozen != nil:
		return broken, fmt.Sprintf("no worker serves, and the freeze of %s keeps it down for another %s, %s. To start it: %s start %s",
			s.Frozen.By, span(max(0, s.Frozen.Until.Sub(now))), held, program, sidecar)
	case s.Phase == "serving" && s.Gate.State == "open" && s.Barred != "":
		return waiting, fmt.Sprintf("life %d serves, but NONE may be started after it: %s", s.Life, s.Barred)
	case s.Phase == "serving" && s.Gate.State == "open" && len(s.Health.Warnings) > 0:
		return waiting, fmt.Sprintf("life %d serves, but %s", s.Life, s.Health.Warnings[0].Title)
	case s.Phase == "serving" && s.Gate.State == "open":
		return well, fmt.Sprintf("all is well, life %d serves%s", s.Life, caution(s))
	case s.Phase == "draining":
		return waiting, fmt.Sprintf("restarting; life %d has %s to end, %s", s.Life, count(int64(s.Gate.InFlight), "stream"), held)
	case s.State == "releasing" && s.Worker.Progress != "":
		return waiting, fmt.Sprintf("life %d has ended; %s, %s", s.Life, s.Worker.Progress, held)
	case s.Phase == "stopping" || s.Phase == "reclaiming":
		return waiting, fmt.Sprintf("life %d is being stopped, %s", s.Life, held)
	case s.Phase == "starting" && s.Worker.Progress != "":
		return waiting, fmt.Sprintf("life %d is getting ready (%s), %s", s.Life, s.Worker.Progress, held)
	case s.Phase == "starting":
		return waiting, fmt.Sprintf("life %d is getting ready, %s", s.Life, held)
	case !s.Worker.NextStart.IsZero():
		return broken, fmt.Sprintf("no worker serves, the next is started in %s, %s", span(max(0, s.Worker.NextStart.Sub(now))), held)
	default:
		return broken, fmt.Sprintf("no worker serves (%s), %s", s.Phase, held)
	}
}

// healthWords are the lines about the worker's health: the verdict, and each thing that is wrong. All is well in none.
func healthWords(h admin.Health, now time.Time) []string {
	if len(h.Warnings) == 0 && (h.Verdict == "well" || h.Verdict == "") {
		return nil
	}
	lines := []string{h.Verdict}
	for _, w := range h.Warnings {
		words := fmt.Sprintf("%s, for %s", w.Title, span(max(0, now.Sub(w.Since))))
		if w.Text != "" {
			words += ": " + w.Text
		}
		lines = append(lines, words)
	}
	return lines
}

func heldWords(g admin.Gate) string {
	held := "none held"
	if g.Held > 0 {
		held = fmt.Sprintf("%d held", g.Held)
	}
	if g.LongestHoldMS > 0 {
		held += " (longest hold so far " + spanMS(g.LongestHoldMS) + ")"
	}
	if g.Queued > 0 {
		held += fmt.Sprintf(", %d queued", g.Queued)
	}
	return held
}

func workerWords(s admin.Status, now time.Time) string {
	w := s.Worker
	words := fmt.Sprintf("life %d", s.Life)
	if w.Driver == "none" {
		words = "run by somebody else"
	} else if w.PID != 0 {
		words += fmt.Sprintf(", PID %d", w.PID)
	} else {
		words += ", no process"
	}
	if w.Upstream != "" {
		words += " on " + w.Upstream
	}
	if !w.Since.IsZero() {
		words += ", serving for " + span(now.Sub(w.Since))
	}
	if w.LastExit != "" {
		words += "; before: " + w.LastExit
	}
	return words
}

func restartWords(s admin.Status) string {
	words := number(s.Restarts)
	if how := outcomesWords(s.RestartOutcomes); how != "" {
		words += " (" + how + ")"
	}
	if s.Worker.Driver == "none" || s.Phase != "serving" || s.Frozen != nil {
		return words
	}
	return words + "; one now would hold new streams for about " + spanMS(s.Ahead.WaitMS)
}

func sidecarWords(s admin.Status, now time.Time) string {
	words := s.Version
	if s.Keeper == 0 {
		words += fmt.Sprintf(", PID %d, WITHOUT a keeper: it won't survive its own death", s.Runner)
	} else {
		words += fmt.Sprintf(", keeper PID %d, runner PID %d, %s", s.Keeper, s.Runner, count(s.TakeOvers, "take-over")) + upgradeWords(s.Upgrades)
	}
	if !s.Since.IsZero() {
		words += ", up for " + span(now.Sub(s.Since))
	}
	return words
}

func upgradeWords(u admin.Upgrades) string {
	if u.Tried == 0 {
		return ""
	}
	words := ", " + count(u.Tried, "upgrade")
	if u.Undone > 0 {
		words += fmt.Sprintf(" (%s undone, the last one: %s)", number(u.Undone), u.LastError)
	}
	if u.OnTrial {
		words += ", on trial for another " + spanMS(u.TrialLeftMS)
	}
	return words
}

// caution is what a person should know before touching a sidecar that is well.
func caution(s admin.Status) string {
	switch {
	case s.Frozen != nil:
		return ", FROZEN by " + s.Frozen.By
	case s.Mode == "observe":
		return ", mode observe"
	}
	return ""
}

// modeWords tells of mode observe, and of what was decided on and withheld.
func modeWords(s admin.Status) string {
	words := ""
	if s.Mode == "observe" {
		words = "observe: restarts are decided on, counted and not done, but those by hand and after a crash"
	}
	if would := tally(s.WouldRestart, ""); would != "" {
		words = strings.TrimPrefix(words+"; would have restarted: "+would, "; ")
	}
	return words
}

func frozenWords(f *admin.Frozen, now time.Time) string {
	words := fmt.Sprintf("by %s for another %s: %s", f.By, span(max(0, f.Until.Sub(now))), f.Why)
	if f.All {
		words += " (--all: a worker that crashes stays down)"
	}
	return words
}

func outcomesWords(of map[admin.Outcome]int64) string {
	var words []string
	for _, o := range []admin.Outcome{admin.Done, admin.Postponed, admin.Overtaken, admin.GivenUp} {
		if of[o] != 0 {
			words = append(words, number(of[o])+" "+strings.ReplaceAll(string(o), "_", " "))
		}
	}
	return strings.Join(words, ", ")
}

// tally writes the counts that are not 0, in the order of their names.
func tally(counts map[string]int64, preposition string) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		if counts[name] != 0 {
			words = append(words, number(counts[name])+" "+preposition+name)
		}
	}
	return strings.Join(words, ", ")
}
