package check

import (
	"context"
	"fmt"
	"math/bits"
	"sync/atomic"
	"time"
)

// Each power of two of microseconds is cut into this many equal buckets, so that a quantile is read at most 1/16 too high.
const bucketsPerOctave = 16

// Histogram counts durations from 1 µs to centuries in buckets that grow with them. Any number of goroutines may record
// and read at once; a reader sees each record at most once, and may miss the newest. The zero value is empty.
type Histogram struct {
	buckets [64 * bucketsPerOctave]atomic.Int64
	count   atomic.Int64
	longest atomic.Int64 // microseconds
}

// Record counts d; negative durations count as 0.
func (h *Histogram) Record(d time.Duration) {
	us := max(0, d.Microseconds())
	h.buckets[bucketOf(uint64(us))].Add(1)
	h.count.Add(1)
	for {
		old := h.longest.Load()
		if us <= old || h.longest.CompareAndSwap(old, us) {
			return
		}
	}
}

// Count is how many durations were recorded.
func (h *Histogram) Count() int64 { return h.count.Load() }

// WaitCount waits until at least n durations were recorded.
func (h *Histogram) WaitCount(ctx context.Context, n int64) error {
	return poll(ctx, 5*time.Millisecond, func() (bool, error) { return h.Count() >= n, nil })
}

// Max is the longest duration recorded, exact to the microsecond; 0 when there is none.
func (h *Histogram) Max() time.Duration { return time.Duration(h.longest.Load()) * time.Microsecond }

// Quantile is the duration below which the share q (0..1) of the records lies, rounded up to the end of its bucket and
// never above Max; 0 when there is none.
func (h *Histogram) Quantile(q float64) time.Duration {
	rank := int64(q * float64(h.Count()))
	seen := int64(0)
	for i := range h.buckets {
		seen += h.buckets[i].Load()
		if seen > rank {
			return min(h.Max(), time.Duration(bucketEnd(i))*time.Microsecond)
		}
	}
	return h.Max()
}

// String is what a report prints: p50, p99 and the longest in milliseconds, and of how many.
func (h *Histogram) String() string {
	if h.Count() == 0 {
		return "none"
	}
	return fmt.Sprintf("p50 %s  p99 %s  max %s ms (%d)", millis(h.Quantile(.5)), millis(h.Quantile(.99)), millis(h.Max()), h.Count())
}

// millis prints a duration in milliseconds with one digit after the point.
func millis(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/float64(time.Millisecond)) }

// bucketOf is linear below 2 octaves of buckets and logarithmic above.
func bucketOf(us uint64) int {
	if us < 2*bucketsPerOctave {
		return int(us)
	}
	shift := bits.Len64(us) - bits.Len64(2*bucketsPerOctave-1)
	return shift*bucketsPerOctave + int(us>>shift)
}

// bucketEnd is the largest number of microseconds that bucket i counts.
func bucketEnd(i int) uint64 {
	if i < 2*bucketsPerOctave {
		return uint64(i)
	}
	shift := i/bucketsPerOctave - 1
	return uint64(i-shift*bucketsPerOctave+1)<<shift - 1
}
