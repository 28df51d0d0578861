package arena

import (
	"math"
	"slices"
	"testing"
	"time"
)

const (
	ms = int64(time.Millisecond)
	s  = int64(time.Second)
)

// scales are all that there are.
var scales = map[string]Scale{
	"gap": GapScale{}, "hold": HoldScale{}, "queue": QueueScale{}, "first": FirstScale{}, "connect": ConnectScale{},
}

func TestEachScaleAscendsAndFits(t *testing.T) {
	for name, scale := range scales {
		b := scale.bounds()
		if len(b) == 0 || len(b) > mostBounds || b[0] <= 0 {
			t.Errorf("%s: bounds %v", name, b)
		}
		for i := 1; i < len(b); i++ {
			if b[i] <= b[i-1] {
				t.Errorf("%s: %v comes after %v", name, time.Duration(b[i]), time.Duration(b[i-1]))
			}
		}
	}
}

func TestATimeIsCountedUpToItsBound(t *testing.T) {
	for _, test := range []struct {
		ns   int64
		want int // the bucket
	}{
		{-1, 0},
		{0, 0},
		{1 * ms, 0},
		{1*ms + 1, 1},
		{20 * ms, 4},
		{60 * s, 17},
		{60*s + 1, 18},
		{math.MaxInt64, 18},
	} {
		var h Histogram[GapScale]
		h.Observe(test.ns)
		var d Distribution
		h.AddTo(&d)
		if got := slices.Index(d.Counts, 1); got != test.want || d.Sum != max(test.ns, 0) {
			t.Errorf("%v is counted in bucket %d with sum %d, want bucket %d", time.Duration(test.ns), got, d.Sum, test.want)
		}
	}
}

func TestDistributionsOfSeveralLanesAddUp(t *testing.T) {
	a := OnHeap(1)
	a.Counters(0).Gaps.Observe(3 * ms)
	a.Counters(1).Gaps.Observe(3 * ms)
	a.Counters(1).Gaps.Observe(2 * s)
	var d Distribution
	for i := range MaxLoops {
		a.Counters(i).Gaps.AddTo(&d)
	}
	if d.Counts[2] != 2 || d.Counts[13] != 1 || d.Sum != 2*s+6*ms || len(d.Counts) != len(d.Bounds)+1 {
		t.Errorf("%+v", d)
	}
}

func BenchmarkObserve(b *testing.B) {
	a := OnHeap(1)
	h := &a.Counters(0).Gaps
	for b.Loop() {
		h.Observe(20 * ms)
	}
}
