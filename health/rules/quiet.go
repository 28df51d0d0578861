package rules

import (
	"slices"
	"time"
)

// quietMinutes is of how many minutes the counts of open streams are kept.
const quietMinutes = 60

// quiet knows how many streams were open in the last hour: of each minute the lowest count, since a restart needs a moment
// and no minute.
type quiet struct{ minutes []lull } // oldest first

type lull struct {
	minute  int64
	streams int
}

// take adds a count.
func (q *quiet) take(now time.Duration, streams int) {
	minute := int64(now / time.Minute)
	if n := len(q.minutes); n > 0 && q.minutes[n-1].minute == minute {
		q.minutes[n-1].streams = min(q.minutes[n-1].streams, streams)
		return
	}
	q.minutes = slices.DeleteFunc(q.minutes, func(l lull) bool { return minute-l.minute >= quietMinutes })
	q.minutes = append(q.minutes, lull{minute, streams})
}

// share returns the count that a share of the minutes didn't exceed, and of how many minutes that is.
func (q *quiet) share(share float64) (streams, minutes int) {
	n := len(q.minutes)
	if n == 0 {
		return 0, 0
	}
	counts := make([]int, n)
	for i, l := range q.minutes {
		counts[i] = l.streams
	}
	slices.Sort(counts)
	return counts[int(share*float64(n-1))], n
}
