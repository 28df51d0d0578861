package arena

import (
	"math"
	"sync/atomic"
	"time"
)

// Histogram counts times by their length, and outlives us. Several may write it at once; to note one time costs two
// atomic additions. A value that was counted and whose time is not yet in the sum is no harm: neither ever falls.
type Histogram[S Scale] struct {
	counts [mostBounds + 1]atomic.Int64 // of the times up to each bound and above the one before; the last: beyond all
	sum    atomic.Int64                 // ns
}

// Scale is what a histogram's times are sorted by. It is a type, so that whoever notes and whoever reads can't differ,
// and nothing of it lies in the arena.
type Scale interface {
	// bounds are ascending, in nanoseconds, at most mostBounds.
	bounds() []int64
}

const mostBounds = 20

// The scales, each for what it measures.
type (
	GapScale     struct{} // between two tokens: a fast model's, to a stall that a person sees
	HoldScale    struct{} // at the gate: a worker's restart lasts from a moment to many minutes
	QueueScale   struct{} // for a free place at the worker
	FirstScale   struct{} // to the first byte of an answer: with the hold, and a long prompt's prefill
	ConnectScale struct{} // of a connection to a worker, which is on this machine
)

var (
	gapBounds     = seconds(.001, .002, .005, .01, .02, .035, .05, .075, .1, .15, .25, .5, 1, 2, 5, 10, 20, 60)
	holdBounds    = seconds(.01, .05, .1, .25, .5, 1, 2, 5, 10, 20, 30, 60, 120, 180, 300, 600, 900, 1200)
	queueBounds   = seconds(.001, .005, .01, .025, .05, .1, .25, .5, 1, 2, 5, 10, 20, 30, 60, 120, 300)
	firstBounds   = seconds(.001, .005, .01, .025, .05, .1, .25, .5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200)
	connectBounds = seconds(.00005, .0001, .00025, .0005, .001, .002, .005, .01, .025, .05, .1, .25, .5, 1, 2, 5, 10)
)

func seconds(all ...float64) (ns []int64) {
	for _, s := range all {
		ns = append(ns, int64(math.Round(s*float64(time.Second))))
	}
	return ns
}

func (GapScale) bounds() []int64     { return gapBounds }
func (HoldScale) bounds() []int64    { return holdBounds }
func (QueueScale) bounds() []int64   { return queueBounds }
func (FirstScale) bounds() []int64   { return firstBounds }
func (ConnectScale) bounds() []int64 { return connectBounds }

// Observe notes a time in nanoseconds. One below 0, of a clock that a dead runner read a moment later, is 0.
func (h *Histogram[S]) Observe(ns int64) {
	ns = max(ns, 0)
	var scale S
	bounds := scale.bounds()
	i := 0
	for i < len(bounds) && ns > bounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(ns)
}

// Distribution is what a histogram has counted, or several of one scale.
type Distribution struct {
	Bounds []int64 // ns, ascending; nobody's to change
	Counts []int64 // of the times up to each bound and above the one before; one more: beyond all
	Sum    int64   // ns
}

// AddTo adds what was counted so far to d; an empty d takes the scale.
func (h *Histogram[S]) AddTo(d *Distribution) {
	if d.Counts == nil {
		var scale S
		d.Bounds = scale.bounds()
		d.Counts = make([]int64, len(d.Bounds)+1)
	}
	d.Sum += h.sum.Load()
	for i := range d.Counts {
		d.Counts[i] += h.counts[i].Load()
	}
}
