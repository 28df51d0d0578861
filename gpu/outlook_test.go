package gpu

import (
	"testing"
	"time"
)

// day follows a life of 24 hours whose floor is given in MiB, on a device of so much that it could use, and returns all that
// was said.
func day(capacity Bytes, rules Rules, floor func(minute int) float64) []Outlook {
	f := NewForecast(rules, capacity)
	var all []Outlook
	for m := range 24 * 60 {
		all = append(all, f.Minute(Floor{int64(m), Bytes(floor(m) * float64(MiB))}))
	}
	return all
}

func first(all []Outlook, is func(Outlook) bool) int {
	for m, o := range all {
		if is(o) {
			return m
		}
	}
	return -1
}

func foreseen(o Outlook) bool { return o.Foreseen }
func tooHigh(o Outlook) bool  { return o.Soft }

// TestAPlateauIsNoLeak: an engine that was told to use 98 % of its device uses them, all day.
func TestAPlateauIsNoLeak(t *testing.T) {
	const device = 81_000
	for _, share := range []float64{0.80, 0.92, 0.96, 0.98} {
		all := day(device*MiB, Rules{}, func(int) float64 { return share * device })
		last := all[len(all)-1]
		if first(all, foreseen) >= 0 || first(all, tooHigh) >= 0 || last.Stage != Watching || last.Full != 0 {
			t.Errorf("at %g: %+v", share, last)
		}
	}
}

func TestALeakIsForeseen(t *testing.T) {
	all := day(74_304*MiB, Rules{}, func(m int) float64 { return 72_000 + 4*float64(m) })
	at := first(all, foreseen)
	if at < 0 || at > 240 {
		t.Fatalf("foreseen at minute %d, want within 4 hours", at)
	}
	o := all[at]
	left := time.Duration(float64(o.Limit-o.Floor)/float64(4*MiB)) * time.Minute
	if o.Limit != 74_048*MiB || (o.Full-left).Abs() > time.Minute || o.Soft {
		t.Errorf("%+v, want full in %v", o, left)
	}
	if soft := first(all, tooHigh); soft <= at || all[soft].Floor-o.Plateau < 8*o.Allowance/10 {
		t.Errorf("soft at %d: %+v", soft, all[max(0, soft)])
	}
}

// TestALimitBelowTheDevice: the setting counts where it is lower, and the device where that is.
func TestALimitBelowTheDevice(t *testing.T) {
	for limit, want := range map[Bytes]Bytes{0: 80_744 * MiB, 76_000 * MiB: 76_000 * MiB, 90_000 * MiB: 80_744 * MiB} {
		all := day(81_000*MiB, Rules{Limit: limit}, func(int) float64 { return 72_000 })
		if o := all[len(all)-1]; o.Limit != want || o.Allowance != want-72_000*MiB {
			t.Errorf("limit %d: %+v", limit/MiB, o)
		}
	}
}

func TestALittleAllowanceSaysNothing(t *testing.T) {
	all := day(73_000*MiB, Rules{}, func(m int) float64 { return 72_300 + 0.3*float64(m) })
	if o := all[len(all)-1]; o.Stage != Tight || o.Foreseen || o.Soft || o.Full != 0 {
		t.Errorf("%+v", o)
	}
	f := NewForecast(Rules{}, 73_000*MiB)
	for m := range 120 {
		f.Minute(Floor{int64(m), 72_300 * MiB})
	}
	for range 10 {
		if f.Sample(73_000 * MiB) {
			t.Error("the hard limit of no allowance was passed")
		}
	}
}

// TestAWarmUpIsNoLeak: what a worker takes with its first requests belongs to its plateau.
func TestAWarmUpIsNoLeak(t *testing.T) {
	all := day(81_000*MiB, Rules{}, func(m int) float64 { return 60_000 + 300*float64(min(m, 50)) })
	last := all[len(all)-1]
	if first(all, foreseen) >= 0 || first(all, tooHigh) >= 0 || last.Plateau != 75_000*MiB {
		t.Errorf("%+v", last)
	}
	if watching := first(all, func(o Outlook) bool { return o.Stage == Watching }); watching < 60 {
		t.Errorf("watched from minute %d on, while it warmed up", watching)
	}
}

// TestOneStepIsNoTrend, however large: the plain limits are there for it.
func TestOneStepIsNoTrend(t *testing.T) {
	for _, at := range []int{100, 300, 1000} {
		all := day(81_000*MiB, Rules{}, func(m int) float64 {
			if m < at {
				return 72_000
			}
			return 77_000
		})
		if m := first(all, foreseen); m >= 0 {
			t.Errorf("a step at %d was taken for a leak at %d: %+v", at, m, all[m])
		}
	}
}

func TestGapsAreNoFloors(t *testing.T) {
	f := NewForecast(Rules{}, 81_000*MiB)
	for m := range 600 {
		if m > 120 && m%60 > 20 { // too few to say anything of
			continue
		}
		if o := f.Minute(Floor{int64(m), Bytes(72_000+m) * MiB}); m > 200 && (o.Foreseen || o.Full != 0) {
			t.Fatalf("minute %d, with a third of the floors: %+v", m, o)
		}
	}
}

// TestTheHardLimit takes three samples in a row.
func TestTheHardLimit(t *testing.T) {
	f := NewForecast(Rules{}, 74_304*MiB) // allowance 2,048
	if f.Sample(80_000 * MiB) {
		t.Error("passed before anything is known")
	}
	for m := range 60 {
		f.Minute(Floor{int64(m), 72_000 * MiB})
	}
	for i, test := range []struct {
		mib  Bytes
		want bool
	}{{73_990, false}, {73_990, false}, {72_000, false}, {73_990, false}, {73_990, false}, {73_990, true}, {73_990, true}, {73_940, false}} {
		if got := f.Sample(test.mib * MiB); got != test.want {
			t.Errorf("sample %d, %d MiB: %v", i, test.mib, got)
		}
	}
}

// TestAForecastGoesOnAfterADeath of ours as if nothing had happened, wherever that comes.
func TestAForecastGoesOnAfterADeath(t *testing.T) {
	floor := func(m int) Floor { return Floor{int64(m), Bytes(72_000+4*m) * MiB} }
	whole := NewForecast(Rules{}, 74_304*MiB)
	broken := NewForecast(Rules{}, 74_304*MiB)
	for m := range 500 {
		broken = Recall(Rules{}, broken.Memory())
		if a, b := whole.Minute(floor(m)), broken.Minute(floor(m)); a != b {
			t.Fatalf("minute %d: %+v, and after a death %+v", m, a, b)
		}
	}
	if !whole.Outlook().Foreseen {
		t.Error("no leak was foreseen: nothing was shown")
	}
	lower := Recall(Rules{Limit: 73_000 * MiB}, broken.Memory())
	if o := lower.Outlook(); o.Limit != 73_000*MiB || o.Allowance != 73_000*MiB-o.Plateau {
		t.Errorf("a limit that was lowered since: %+v", o)
	}
}
