// Package timetable says when a planned restart may happen: windows that open by a cron expression, by the clock of a time
// zone, each for a while. It has no clock of its own and changes nothing.
//
// Two rules hold where clocks change. A window opens whenever the zone's clock reads its start: in the night in which the
// clock reads an hour twice, twice. A start that the clock skips is at the moment of the change, so that no night goes
// without. How long it stays open is time that passes, whatever the clock reads.
package timetable

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	_ "time/tzdata" // the program runs in images that have no zones

	"github.com/robfig/cron/v3"
)

// Window is one window, as a person writes it.
type Window struct {
	Cron string        // when it opens: five fields, or @daily and the like
	For  time.Duration // how long it stays open
	Zone string        // whose clock Cron reads, as in Europe/Berlin; empty or Local: this machine's
}

// Bounds of how long a window may be open.
const (
	Shortest = time.Minute
	Longest  = 31 * 24 * time.Hour
)

// Local is the zone of this machine.
const Local = "Local"

// Timetable is when a planned restart may happen: while any window is open. Without any it may at any time.
type Timetable struct{ windows []window }

type window struct {
	// schedule is asked with clocks in UTC only: what a zone's clock reads, written as if it were UTC. So the change of
	// clocks is our business alone; what cron makes of it is another thing for each field.
	schedule cron.Schedule
	length   time.Duration
	zone     *time.Location
}

// Parse makes a timetable. The error names the window, from 0, and what of it is wrong.
func Parse(windows []Window) (Timetable, error) {
	var t Timetable
	for i, w := range windows {
		parsed, err := parse(w)
		if err != nil {
			return Timetable{}, fmt.Errorf("window %d: %w", i, err)
		}
		t.windows = append(t.windows, parsed)
	}
	return t, nil
}

func parse(w Window) (window, error) {
	schedule, err := parseCron(w.Cron)
	if err != nil {
		return window{}, fmt.Errorf("cron %q: %w", w.Cron, err)
	}
	if w.For < Shortest || w.For > Longest {
		return window{}, fmt.Errorf("for %v: must be between %v and %v, as in 2h", w.For, Shortest, Longest)
	}
	zone, err := parseZone(w.Zone)
	if err != nil {
		return window{}, fmt.Errorf("zone %q: %w", w.Zone, err)
	}
	return window{schedule: schedule, length: w.For, zone: zone}, nil
}

// CheckCron judges when a window opens.
func CheckCron(text string) error {
	_, err := parseCron(text)
	return err
}

// CheckZone judges a time zone's name.
func CheckZone(text string) error {
	_, err := parseZone(text)
	return err
}

func parseZone(name string) (*time.Location, error) {
	if name == "" || name == Local {
		return time.Local, nil
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, errors.New("is no time zone; write a name as in Europe/Berlin, UTC, or Local for this machine's")
	}
	return zone, nil
}

// fields are those of a cron expression. Each is judged by itself, since cron doesn't say which of them it objects to.
var fields = []struct {
	name   string
	values string
	parser cron.Parser
}{
	{"minute", "0 to 59", cron.NewParser(cron.Minute)},
	{"hour", "0 to 23", cron.NewParser(cron.Hour)},
	{"day of the month", "1 to 31", cron.NewParser(cron.Dom)},
	{"month", "1 to 12 or jan to dec", cron.NewParser(cron.Month)},
	{"day of the week", "0 to 6 or sun to sat", cron.NewParser(cron.Dow)},
}

var (
	parser = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)
	// entry is one entry of a field's list. cron itself reads *-5 as *, and a list's empty entries as nothing.
	entry = regexp.MustCompile(`^(\*|\?|[A-Za-z0-9]+(-[A-Za-z0-9]+)?)(/[0-9]+)?$`)
)

const example = "0 3 * * *" // in all that is said

func parseCron(text string) (cron.Schedule, error) {
	words := strings.Fields(text)
	switch {
	case len(words) == 0:
		return nil, fmt.Errorf("is missing: when the window opens, as in %s (each day at 3:00)", example)
	case strings.Contains(text, "TZ="): // cron would take the zone, and panic where nothing follows it
		return nil, fmt.Errorf("names a zone; write that as zone, and here only when, as in %s", example)
	case strings.HasPrefix(words[0], "@every"):
		return nil, fmt.Errorf("@every has no fixed time; write when, as in 0 */6 * * *")
	case strings.HasPrefix(words[0], "@"):
		schedule, err := parser.Parse(strings.Join(words, " "))
		if err != nil {
			return nil, errors.New("is no name that is known; write @hourly, @daily, @weekly, @monthly or @yearly, or five fields as in " + example)
		}
		return schedule, nil
	case len(words) != len(fields):
		return nil, fmt.Errorf("has %d fields, and must have five: minute, hour, day of the month, month, day of the week, as in %s", len(words), example)
	}
	for i, f := range fields {
		for one := range strings.SplitSeq(words[i], ",") {
			if _, err := f.parser.Parse(one); err != nil || !entry.MatchString(one) {
				return nil, fmt.Errorf("the %s %q must be %s, as in %s", f.name, words[i], f.values, exampleOf(i))
			}
		}
	}
	schedule, err := parser.Parse(strings.Join(words, " "))
	if err != nil { // all its fields are good
		return nil, errors.New("can't be read: " + err.Error())
	}
	// A leap year, so that all days there are come within the five years that cron looks ahead.
	if schedule.Next(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, fmt.Errorf("names a day that never comes (day of the month %s in month %s); write as in %s", words[2], words[3], example)
	}
	return schedule, nil
}

func exampleOf(field int) string {
	return [...]string{"0, */15 or 0,30", "3, 1-5 or */6", "1, 1-7 or *", "*, 6-8 or jan,jul", "*, 1-5 or sat,sun"}[field]
}

// Open reports whether a planned restart may begin at t.
func (t Timetable) Open(at time.Time) bool {
	if len(t.windows) == 0 {
		return true
	}
	for _, w := range t.windows {
		if !w.last(at).IsZero() {
			return true
		}
	}
	return false
}

// Next returns when one may begin next: at, if it may now; the zero time: never, as far as five years can be seen.
func (t Timetable) Next(at time.Time) time.Time {
	if t.Open(at) {
		return at
	}
	var first time.Time
	for _, w := range t.windows {
		if start := w.next(at); !start.IsZero() && (first.IsZero() || start.Before(first)) {
			first = start
		}
	}
	return first
}

// foreseen is how far Closes looks.
const foreseen = 7 * 24 * time.Hour

// Closes returns when the window that is open at a time, with all that overlap it or follow at once, is over. The zero
// time: none is open, or there is no end within a week.
func (t Timetable) Closes(at time.Time) time.Time {
	if len(t.windows) == 0 || !t.Open(at) {
		return time.Time{}
	}
	end := at
	for end.Sub(at) <= foreseen {
		longer := end
		for _, w := range t.windows {
			if start := w.last(end); !start.IsZero() && start.Add(w.length).After(longer) {
				longer = start.Add(w.length)
			}
		}
		if longer.Equal(end) {
			return end
		}
		end = longer
	}
	return time.Time{}
}

// last returns the last start by which the window is open at a time; the zero time: it is not.
func (w window) last(at time.Time) time.Time {
	var found time.Time
	// Of many starts the last is near. Where there are few, the way from one to the next is short.
	for back := Shortest; ; back = min(4*back, w.length) {
		for start := w.next(at.Add(-back)); !start.IsZero() && !start.After(at); start = w.next(start) {
			found = start
		}
		if !found.IsZero() || back == w.length {
			return found
		}
	}
}

// next returns the first start after a time; the zero time: there is none within five years.
func (w window) next(after time.Time) time.Time {
	after = after.Round(0) // it is of the wall's clock, which the other one doesn't follow
	for from := after; ; {
		_, end := from.In(w.zone).ZoneBounds() // until then the clock runs evenly
		clock := clockOf(from, w.zone)
		if !from.Equal(after) {
			clock = clock.Add(-1) // what it reads at the change itself counts
		}
		reads := w.schedule.Next(clock)
		if reads.IsZero() {
			return time.Time{}
		}
		start := from.Add(reads.Sub(clockOf(from, w.zone)))
		if end.IsZero() || start.Before(end) {
			return start.In(after.Location())
		}
		if !reads.After(clockOf(end, w.zone)) { // skipped
			return end.In(after.Location())
		}
		from = end
	}
}

// clockOf returns what a zone's clock reads, written as if it were UTC.
func clockOf(t time.Time, zone *time.Location) time.Time {
	_, offset := t.In(zone).Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}
