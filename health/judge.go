package health

import (
	"fmt"
	"slices"
	"time"
)

// Level is what the Judge concludes.
type Level uint8

// The levels.
const (
	Well     Level = iota
	Degraded       // people should look; nobody is stopped for it
	Sick           // a restart is asked for, with reason unhealthy
	Stuck          // a restart is asked for, with reason hung
)

var levelNames = [...]string{Well: "well", Degraded: "degraded", Sick: "sick", Stuck: "hung"}

// String gives the level's name.
func (l Level) String() string {
	if int(l) < len(levelNames) {
		return levelNames[l]
	}
	return fmt.Sprintf("level(%d)", uint8(l))
}

// Verdict is what the Judge concludes of one life at one moment.
type Verdict struct {
	Life  int64
	Level Level
	Why   string // of Sick and Stuck, in one line
	// Vetoed says that it would be Sick or Stuck if no stream had got a byte of late.
	Vetoed bool
	// Suspect says that the life may hang: its Witness is to be asked.
	Suspect bool
	// Fault says that the GPU has a fault which explains whatever is wrong.
	Fault    bool
	Warnings []Warning // that people see, causes first
}

// Reason is why a restart is asked for; NoReason: none is.
func (v Verdict) Reason() Reason {
	switch {
	case v.Level <= Degraded:
		return NoReason
	case v.Fault:
		return GPUFault
	case v.Level == Stuck:
		return Hung
	}
	return Unhealthy
}

// Judge makes a verdict of signals. It is a value of one goroutine and knows no clock: each call is told the time, on a
// clock that never goes back.
type Judge struct {
	veto  time.Duration
	asked []Asked

	life  int64
	heard time.Duration // when a stream of the life last got a byte, or the life began
	wait  bool          // streams of the life wait for the worker
	state map[string]*condition
	codes map[Code]time.Duration // since when each is wrong
}

// condition is what the signals about one thing came to.
type condition struct {
	last   Signal
	run    int           // signals in a row like the last, Bad or not
	bad    bool          // Fall was reached, and Rise wasn't since
	passed bool          // Rise was reached once in this life
	since  time.Duration // of the run
}

// NewJudge returns a Judge of a life that nobody has seen yet. While any of its streams has got a byte within veto, the
// verdict stops nobody.
func NewJudge(veto time.Duration, asked ...Asked) *Judge {
	j := &Judge{veto: veto, asked: asked}
	j.Begin(0, 0)
	return j
}

// Ask adds what signals will be about, too, as of a device that has become known. What is known already stays as it is.
func (j *Judge) Ask(asked ...Asked) {
	for _, a := range asked {
		if j.state[a.About] == nil {
			j.asked = append(j.asked, a)
			j.state[a.About] = &condition{}
		}
	}
}

// Dismiss takes back that signals will be about something, as about a device that is not there any more, with all that was said of it.
func (j *Judge) Dismiss(abouts ...string) {
	for _, about := range abouts {
		delete(j.state, about)
		j.asked = slices.DeleteFunc(j.asked, func(a Asked) bool { return a.About == about })
	}
}

// Begin forgets all that was known, for a life that begins or that a new runner meets: what was counted before may be of
// another worker. The first veto's time counts as if a byte had just come, so nothing is concluded in haste. Of the
// probes in passed it is known that they have been well in this life.
func (j *Judge) Begin(life int64, now time.Duration, passed ...string) {
	j.life, j.heard, j.wait = life, now, false
	j.state = make(map[string]*condition, len(j.asked))
	for _, a := range j.asked {
		j.state[a.About] = &condition{passed: slices.Contains(passed, a.About)}
	}
	j.codes = map[Code]time.Duration{}
}

// Passed says whether a probe has been well in this life.
func (j *Judge) Passed(about string) bool {
	c, known := j.state[about]
	return known && c.passed
}

// Life is the life that is judged; 0: none.
func (j *Judge) Life() int64 { return j.life }

// Heard is told when a stream of a life last got a byte, and whether any waits for the worker now.
func (j *Judge) Heard(life int64, at time.Duration, wait bool) {
	if life == j.life {
		j.heard, j.wait = max(j.heard, at), wait
	}
}

// Hear takes a signal. One of another life, or about what nobody was to ask, says nothing.
func (j *Judge) Hear(s Signal, now time.Duration) {
	c, known := j.state[s.About]
	if !known || s.Life != j.life || j.life == 0 {
		return
	}
	asked := j.askedAbout(s.About)
	if c.run == 0 || c.last.Bad != s.Bad || c.last.Unfit != s.Unfit {
		c.run, c.since = 0, now
	}
	c.run++
	c.last = s
	switch {
	case s.Unfit:
		c.bad = false
	case s.Bad && c.run >= asked.Fall:
		c.bad = true
	case !s.Bad && c.run >= asked.Rise:
		c.bad, c.passed = false, true
	}
	if asked.Kind == Stall && s.Bad && c.run == 1 { // what the witness said before was about something else
		for _, w := range j.asked {
			if w.Kind == Witness {
				*j.state[w.About] = condition{}
			}
		}
	}
}

func (j *Judge) askedAbout(about string) Asked {
	for _, a := range j.asked {
		if a.About == about {
			return a
		}
	}
	return Asked{}
}

// Verdict concludes from all signals so far.
func (j *Judge) Verdict(now time.Duration) Verdict {
	v := Verdict{Life: j.life}
	if j.life == 0 {
		return v
	}
	wrong := map[Code]Warning{}
	found := findings{stall: j.any(Stall), passive: j.any(Passive), faults: j.all(Fault)}
	v.Suspect, v.Fault = found.stall != nil, len(found.faults) > 0
	for _, a := range j.asked {
		c := j.state[a.About]
		level := j.level(a, c, found)
		if level > v.Level {
			v.Level = level
		}
		if level > Degraded && (v.Why == "" || level == v.Level) {
			v.Why = j.why(a, c, found)
		}
		if level > Well {
			add(wrong, a.Kind, c.code(a, level), c.since, c.last.Text)
		}
	}
	if v.Level > Degraded && now-j.heard < j.veto {
		v.Vetoed, v.Level, v.Why = true, Degraded, ""
		add(wrong, Probe, BusyNotSick, now, "")
		delete(wrong, WorkerHung)
	}
	j.date(wrong, now)
	v.Warnings = visible(wrong, now)
	return v
}

// findings are the signals that bear on what others come to; nil: there is none.
type findings struct {
	stall, passive *condition
	faults         []*condition
}

// explain says that one failure of a probe is enough.
func (f findings) explain() bool { return f.passive != nil || len(f.faults) > 0 }

// onlyWarns says that signals of a kind stop nobody by themselves.
func (k Kind) onlyWarns() bool {
	switch k {
	case Probe, Token, Witness:
		return false
	case Stall, Passive, Fault, Notice:
	}
	return true
}

// level is what the signals about one thing come to, by themselves.
func (j *Judge) level(a Asked, c *condition, found findings) Level {
	switch {
	case c.run == 0:
		return Well
	case a.Kind.onlyWarns() && c.bad:
		return Degraded
	case a.Kind.onlyWarns():
		return Well
	case c.last.Unfit:
		return Degraded
	case a.Kind == Witness && found.stall != nil && c.bad:
		return Stuck
	case a.Kind == Witness:
		return Well
	case c.last.Bad && c.passed && (c.bad || found.explain()) && (a.Kind != Token || !j.wait):
		return Sick
	case c.bad: // it is on its way back; or it has never been well in this life, and a new one would hardly be better
		return Degraded
	}
	return Well
}

// code is what is wrong.
func (c *condition) code(a Asked, level Level) Code {
	switch {
	case c.last.Unfit:
		return ProbeUnfit
	case level == Stuck:
		return WorkerHung
	}
	return c.last.Code
}

// why is the line that the ledger keeps.
func (j *Judge) why(a Asked, c *condition, found findings) string {
	times := fmt.Sprintf("%d times in a row", c.run)
	if c.run == 1 {
		times = "once"
	}
	why := fmt.Sprintf("%s failed %s: %s", a.About, times, c.last.Text)
	switch {
	case a.Kind == Witness:
		why = found.stall.last.Text + "; " + why
	case found.passive != nil:
		why += "; " + found.passive.last.Text
	}
	for _, f := range found.faults {
		why += "; " + f.last.Text
	}
	return why
}

// any is the condition of that kind that is bad, nil for none.
func (j *Judge) any(kind Kind) *condition {
	if all := j.all(kind); len(all) > 0 {
		return all[0]
	}
	return nil
}

// all are the conditions of that kind that are bad.
func (j *Judge) all(kind Kind) []*condition {
	var all []*condition
	for _, a := range j.asked {
		if c := j.state[a.About]; a.Kind == kind && c.bad {
			all = append(all, c)
		}
	}
	return all
}

// add notes what is wrong. Of two that are wrong in the same way the older is kept; but what is told of each device of a
// worker is told of each.
func add(wrong map[Code]Warning, kind Kind, code Code, since time.Duration, text string) {
	w, known := WarnableOf(code)
	old, twice := wrong[code]
	switch {
	case !known:
		return
	case twice && (kind == Notice || kind == Fault):
		if old.Text != text {
			text = old.Text + "; " + text
		}
		since = min(since, old.Since)
	case twice && old.Since <= since:
		return
	}
	wrong[code] = Warning{Warnable: w, Since: since, Text: text}
}

// date gives each warning the time since which its code has been wrong, whoever said so.
func (j *Judge) date(wrong map[Code]Warning, now time.Duration) {
	for code := range j.codes {
		if _, still := wrong[code]; !still {
			delete(j.codes, code)
		}
	}
	for code, w := range wrong {
		since, known := j.codes[code]
		if !known {
			since = min(w.Since, now)
			j.codes[code] = since
		}
		w.Since = since
		wrong[code] = w
	}
}
