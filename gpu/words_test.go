package gpu

import (
	"testing"
	"time"
)

func TestUnitsAreThosePeopleCountIn(t *testing.T) {
	const day = 24 * time.Hour
	for d, want := range map[time.Duration]string{
		0:                               "less than a minute",
		59 * time.Second:                "less than a minute",
		time.Minute:                     "1 min",
		89 * time.Second:                "1 min",
		59*time.Minute + 29*time.Second: "59 min",
		59*time.Minute + 31*time.Second: "1 h",
		130 * time.Minute:               "2 h 10 min",
		3*time.Hour - 1:                 "3 h",
		47*time.Hour + 59*time.Minute:   "47 h 59 min",
		2 * day:                         "2 d",
		76 * time.Hour:                  "3 d 4 h",
		99*day + 23*time.Hour:           "99 d 23 h",
		100 * day:                       "more than 100 d",
	} {
		if got := Far(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
	for mibs, want := range map[float64]string{0: "0.0 MiB/min", -12.4: "-12 MiB/min", 0.44: "0.4 MiB/min", 9.94: "9.9 MiB/min", 9.96: "10 MiB/min", 31.4: "31 MiB/min"} {
		if got := Rate(mibs * float64(MiB)); got != want {
			t.Errorf("%v is %q, want %q", mibs, got, want)
		}
	}
	for size, want := range map[Bytes]string{0: "0 MiB", -1: "0 MiB", -5 * MiB: "-5 MiB", GiB - 1: "1023 MiB", GiB: "1.0 GiB", 78 * GiB: "78.0 GiB"} {
		if got := size.String(); got != want {
			t.Errorf("%d is %q, want %q", size, got, want)
		}
	}
}
