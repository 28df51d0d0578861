package check

import (
	"testing"
	"time"
)

func TestHistogramQuantilesAreAtMostASixteenthTooHigh(t *testing.T) {
	var h Histogram
	for i := 1; i <= 100_000; i++ {
		h.Record(time.Duration(i) * time.Microsecond)
	}
	for q, exact := range map[float64]time.Duration{0: 1, .5: 50_001, .9: 90_001, .99: 99_001} {
		exact *= time.Microsecond
		if got := h.Quantile(q); got < exact || got > exact+exact/bucketsPerOctave {
			t.Errorf("quantile %g: want %v or a little more, got %v", q, exact, got)
		}
	}
	if h.Max() != 100*time.Millisecond || h.Quantile(1) != h.Max() || h.Count() != 100_000 {
		t.Errorf("want 100000 records up to 100ms, got %d up to %v", h.Count(), h.Max())
	}
}

func TestEveryDurationHasABucketThatHoldsIt(t *testing.T) {
	for us := uint64(0); us < 1<<40; us += us/7 + 1 {
		i := bucketOf(us)
		if us > bucketEnd(i) || i > 0 && us <= bucketEnd(i-1) {
			t.Fatalf("%d µs is in bucket %d, which goes from %d to %d", us, i, bucketEnd(i-1)+1, bucketEnd(i))
		}
	}
}

func TestAnEmptyHistogram(t *testing.T) {
	var h Histogram
	if h.String() != "none" || h.Max() != 0 || h.Quantile(.5) != 0 {
		t.Errorf("got %s, %v, %v", &h, h.Max(), h.Quantile(.5))
	}
}
