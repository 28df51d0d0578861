package gpu

import (
	"fmt"
	"time"
)

// Sizes, growths and times as people want to know them, the same in the ledger, the log and on the screen.

// String gives a size, as in "512 MiB" and "22.4 GiB".
func (b Bytes) String() string {
	switch {
	case b <= -MiB/2:
		return "-" + (-b).String()
	case b < GiB:
		return fmt.Sprintf("%d MiB", min((b+MiB/2)/MiB, 1023))
	default:
		return fmt.Sprintf("%.1f GiB", float64(b)/float64(GiB))
	}
}

// Rate is a growth in bytes a minute, as in "31 MiB/min".
func Rate(bytesPerMinute float64) string {
	mib := bytesPerMinute / float64(MiB)
	if mib < 9.95 && mib > -9.95 {
		return fmt.Sprintf("%.1f MiB/min", mib)
	}
	return fmt.Sprintf("%.0f MiB/min", mib)
}

// Far is a time that is hours or days away, as in "2 h 10 min".
func Far(d time.Duration) string {
	const day = 24 * time.Hour
	two := func(large, small time.Duration, first, second string) string {
		d := d.Round(small)
		if d%large < small {
			return fmt.Sprintf("%d %s", d/large, first)
		}
		return fmt.Sprintf("%d %s %d %s", d/large, first, d%large/small, second)
	}
	switch {
	case d < time.Minute:
		return "less than a minute"
	case d >= 100*day:
		return "more than 100 d"
	case d >= 48*time.Hour:
		return two(day, time.Hour, "d", "h")
	case d.Round(time.Minute) >= time.Hour:
		return two(time.Hour, time.Minute, "h", "min")
	}
	return fmt.Sprintf("%d min", d.Round(time.Minute)/time.Minute)
}
