package gpu

import (
	"testing"
	"time"
)

// TestMoreContextsThanExpectedForTenMinutesRise: a reading every 10 seconds of two hours; the life has warmed up after 30 minutes,
// and is settled 15 minutes later.
func TestMoreContextsThanExpectedForTenMinutesRise(t *testing.T) {
	const gap = -1
	for what, c := range map[string]struct {
		count    func(m float64) int // by minute
		expected int
		rises    float64 // minute; 0: never
		since    float64
		ends     float64 // minute in which it is said no more; 0: never
	}{
		"as many as ever": {count: func(float64) int { return 4 }, expected: 4},
		"one more":        {count: from(60, 4, 5), expected: 4, rises: 70, since: 60},
		"fewer":           {count: from(60, 4, 2), expected: 4},
		"more while it warms up, and fewer then": {
			count: from(20, 9, 4), expected: 4,
		},
		"more while it settles": {count: from(40, 4, 6), expected: 6},
		"one more for 9 minutes": {
			count: func(m float64) int { return map[bool]int{true: 5, false: 4}[m >= 60 && m < 69] }, expected: 4,
		},
		"one more for 15 minutes": {
			count: func(m float64) int { return map[bool]int{true: 5, false: 4}[m >= 60 && m < 75] }, expected: 4,
			rises: 70, since: 60, ends: 75,
		},
		"one more, with a gap": {
			count: func(m float64) int {
				if m >= 62 && m < 68 {
					return gap
				}
				return from(60, 4, 5)(m)
			}, expected: 4, rises: 70, since: 60,
		},
		"one more, and then no more readings": {
			count: func(m float64) int {
				if m >= 65 {
					return gap
				}
				return from(60, 4, 5)(m)
			}, expected: 4,
		},
		"rising, and then a gap": {
			count: func(m float64) int {
				if m >= 80 && m < 90 {
					return gap
				}
				return from(60, 4, 5)(m)
			}, expected: 4, rises: 70, since: 60,
		},
		"as many more again and again as go": {
			count: func(m float64) int { return 4 + int(m)%2 }, expected: 5,
		},
		"it can't be seen while it settles": {
			count: func(m float64) int {
				if m < 50 {
					return gap
				}
				return from(80, 4, 5)(m)
			}, expected: 4, rises: 90, since: 80,
		},
	} {
		var contexts Contexts
		var rises, ends float64
		for s := 0; s < 2*60*60; s += 10 {
			m, stage := float64(s)/60, Warming
			if m >= 30 {
				stage = Watching
			}
			n := c.count(m)
			contexts.Take(time.Duration(s)*time.Second, n, stage, n != gap)
			expected, now, since, rising := contexts.Rising()
			if m < 45 && (expected != 0 || rising) {
				t.Errorf("%s: %d expected at minute %g, rising %v", what, expected, m, rising)
			}
			switch {
			case rising && rises == 0:
				rises = m
				if since.Minutes() != c.since || now <= expected {
					t.Errorf("%s: %d of %d since %v, want since minute %g", what, now, expected, since, c.since)
				}
			case !rising && rises != 0 && ends == 0:
				ends = m
			}
		}
		if expected, _, _, _ := contexts.Rising(); expected != c.expected || rises != c.rises || ends != c.ends {
			t.Errorf("%s: %d expected, rises at %g, ends at %g; want %d, %g, %g", what, expected, rises, ends, c.expected, c.rises, c.ends)
		}
	}
}

func from(minute float64, before, after int) func(float64) int {
	return func(m float64) int {
		if m < minute {
			return before
		}
		return after
	}
}
