package gpu

import (
	"testing"
	"time"
)

func TestMinutes(t *testing.T) {
	var m Minutes
	var ended []Minute
	take := func(at time.Duration, mib Bytes, ok bool) {
		if minute, whole := m.Take(at, mib*MiB, ok); whole {
			ended = append(ended, minute)
		}
	}
	for s := range 60 { // a peak, and one low sample
		take(time.Duration(s)*time.Second, 100+Bytes(s%7), s != 30)
	}
	for s := range 60 { // too few good ones to believe
		take(time.Minute+time.Duration(s)*time.Second, 1, s < 29)
	}
	for s := range 30 { // as few as may be
		take(2*time.Minute+time.Duration(s)*time.Second, 200, true)
	}
	take(9*time.Minute, 300, true) // nobody looked in between
	take(10*time.Minute, 300, true)
	want := []Minute{
		{Floor: Floor{0, 100 * MiB}, Highest: 106 * MiB, Good: 59, Wanted: 60},
		{Floor: Floor{2, 200 * MiB}, Highest: 200 * MiB, Good: 30, Wanted: 60},
	}
	if len(ended) != len(want) || ended[0] != want[0] || ended[1] != want[1] {
		t.Errorf("got %+v, want %+v", ended, want)
	}
}

func TestMinutesOfSlowSamples(t *testing.T) {
	m := Minutes{Every: 5 * time.Second}
	for s := 0; s < 30; s += 5 {
		m.Take(time.Duration(s)*time.Second, MiB, true)
	}
	if minute, whole := m.Take(time.Minute, MiB, true); !whole || minute.Wanted != 12 {
		t.Errorf("%+v, whole %v: six of twelve are enough", minute, whole)
	}
}
