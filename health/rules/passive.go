package rules

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"autoglm-sidecar/health"
)

// fewest is how many failures within the window mean anything: of three answers one may well fail.
const fewest = 5

// Ends counts how connections and answers have ended since some beginning.
type Ends struct {
	Whole   int64 // answers that came to a good end, or to one that nobody can judge
	Refused int64 // connections that the worker didn't take, in time or at all
	Broken  int64 // answers that the worker's connection broke, or that came to no end
	Errors  int64 // answers that were an error of the worker's own: status 500 and above
}

// failed are those that didn't end well.
func (e Ends) failed() int64 { return e.Refused + e.Broken + e.Errors }

func (e Ends) since(before Ends) Ends {
	return Ends{e.Whole - before.Whole, e.Refused - before.Refused, e.Broken - before.Broken, e.Errors - before.Errors}
}

// Window looks at the ends of the last while.
type Window struct {
	About  string
	Length time.Duration
	Share  float64 // of all ends that may fail; 0 or less: none may, 1 or more: all may

	life    int64
	samples []sample // oldest first; the first is the newest that is at least Length old
}

type sample struct {
	at   time.Duration
	ends Ends
}

// Look takes the counts as they are at now and says whether too many of the window's answers have failed. What was
// before a life began is none of its affairs.
func (w *Window) Look(life int64, ends Ends, now time.Duration) health.Signal {
	if w.life != life {
		w.life, w.samples = life, nil
	}
	w.samples = append(w.samples, sample{now, ends})
	old := 0
	for old+1 < len(w.samples) && now-w.samples[old+1].at >= w.Length {
		old++
	}
	w.samples = slices.Delete(w.samples, 0, old)

	s := health.Signal{Life: life, About: w.About, Code: health.AnswersFail}
	in := ends.since(w.samples[0].ends)
	if failed := in.failed(); failed >= fewest && float64(failed) > w.Share*float64(failed+in.Whole) {
		s.Bad = true
		s.Text = fmt.Sprintf("of the last %d answers %d failed: %s", failed+in.Whole, failed, in.words())
	}
	return s
}

// words name the failures that there were.
func (e Ends) words() string {
	var words []string
	for _, f := range []struct {
		n    int64
		what string
	}{{e.Refused, "not connected"}, {e.Broken, "broken off"}, {e.Errors, "status 5xx"}} {
		if f.n > 0 {
			words = append(words, fmt.Sprintf("%d %s", f.n, f.what))
		}
	}
	return strings.Join(words, ", ")
}
