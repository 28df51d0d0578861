package gpu

import (
	"math"
	"testing"
)

func series(mib ...float64) []Floor {
	floors := make([]Floor, len(mib))
	for i, v := range mib {
		floors[i] = Floor{Minute: int64(i), Bytes: Bytes(v * float64(MiB))}
	}
	return floors
}

// TestTrend's figures are worked out by hand from the formulas.
func TestTrend(t *testing.T) {
	for _, test := range []struct {
		name            string
		floors          []Floor
		z, slope, lower float64
	}{
		{"nothing", nil, 0, 0, 0},
		{"one floor", series(7), 0, 0, 0},
		{"constant", series(5, 5, 5, 5, 5, 5, 5, 5, 5, 5), 0, 0, 0},
		// S = 45, variance 10·9·25/18 = 125.
		{"strictly rising", series(0, 1, 2, 3, 4, 5, 6, 7, 8, 9), 44 / math.Sqrt(125), 1, 1},
		{"strictly falling", series(9, 8, 7, 6, 5, 4, 3, 2, 1, 0), -44 / math.Sqrt(125), -1, -1},
		// S = 8 of 10 pairs, two of them tied; variance (5·4·15 - 2·2·1·9)/18 = 264/18.
		{"two ties", series(1, 1, 2, 2, 3), 7 / math.Sqrt(264.0/18), 0.5, 0},
		// One odd minute: 8 pairs rise and 2 fall, S = 6, variance 5·4·15/18; the lower end's rank is below the first of ten slopes.
		{"an odd minute", series(1, 2, 99, 4, 5), 5 / math.Sqrt(300.0/18), 1, -95},
	} {
		got := TrendOf(test.floors)
		if math.Abs(got.Z-test.z) > 1e-9 || math.Abs(got.Slope/float64(MiB)-test.slope) > 1e-9 || math.Abs(got.Lower/float64(MiB)-test.lower) > 1e-9 {
			t.Errorf("%s: %+v (slopes in bytes), want z %g, slope %g, lower %g MiB", test.name, got, test.z, test.slope, test.lower)
		}
	}
}

// TestTrendOverAGap: time is what the minutes say, not how many there are.
func TestTrendOverAGap(t *testing.T) {
	floors := series(0, 4, 8, 12, 16, 20, 24, 28, 32, 36)
	for i := range floors[5:] {
		floors[5+i].Minute += 100
		floors[5+i].Bytes += 400 * MiB
	}
	if got := TrendOf(floors); got.Slope != float64(4*MiB) || got.Lower != float64(4*MiB) {
		t.Errorf("%+v, want 4 MiB a minute", got)
	}
}

func FuzzTrend(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5})
	f.Add([]byte{0, 0, 0, 255})
	f.Fuzz(func(t *testing.T, values []byte) {
		if len(values) > 200 {
			return
		}
		floors := make([]Floor, len(values))
		for i, v := range values {
			floors[i] = Floor{Minute: int64(i), Bytes: Bytes(v) * MiB}
		}
		got := TrendOf(floors)
		for i := range floors {
			floors[i].Bytes = -floors[i].Bytes
		}
		turned := TrendOf(floors)
		if got.Z != -turned.Z || math.Abs(got.Slope+turned.Slope) > 1e-6 || got.Lower > got.Slope {
			t.Errorf("%v: %+v, upside down %+v", values, got, turned)
		}
	})
}
