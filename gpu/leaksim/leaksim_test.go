package leaksim

import (
	"math"
	"slices"
	"testing"
)

// golden is what make sim-gpu has counted, in the order of Shapes. `make test` looks at a few runs of each cell. Where they have a
// chance of less than rare by these counts, a rule or a shape has changed: the tables are to be made anew, and read.
var golden = map[string][]Count{
	"foreseen in vain":      {{0, 60}, {0, 60}, {0, 60}, {1, 37}, {6, 29}, {0, 60}, {0, 60}, {0, 0}, {0, 0}},
	"unforeseen":            {{0, 0}, {0, 0}, {0, 0}, {21, 23}, {2, 31}, {0, 0}, {0, 0}, {0, 60}, {0, 60}},
	"regression t > 1.65":   {{59, 60}, {60, 60}, {60, 60}, {60, 60}, {60, 60}, {60, 60}, {60, 60}, {60, 60}, {60, 60}},
	"Mann-Kendall p < .05":  {{59, 60}, {60, 60}, {60, 60}, {60, 60}, {60, 60}, {60, 60}, {60, 60}, {60, 60}, {60, 60}},
	"Mann-Kendall p < .001": {{9, 60}, {60, 60}, {60, 60}, {60, 60}, {60, 60}, {55, 60}, {60, 60}, {60, 60}, {60, 60}},
	"and Sen's lower bound, and quarters that rise": {{0, 60}, {60, 60}, {59, 60}, {60, 60}, {60, 60}, {49, 60}, {60, 60}, {60, 60}, {60, 60}},
	"the same, held 60 min":                         {{0, 60}, {3, 60}, {23, 60}, {6, 60}, {50, 60}, {2, 60}, {60, 60}, {60, 60}, {60, 60}},
	"the same, window 240, held 120 min":            {{0, 20}, {0, 20}, {17, 20}, {3, 20}, {16, 20}, {0, 20}, {20, 20}, {20, 20}, {19, 20}},
}

// goldenLeads are the medians of how long before its limit a run was foreseen to reach it, in minutes; 0: no run was.
var goldenLeads = []int{0, 0, 0, 765, 218, 0, 0, 330, 391}

const rare = 5e-3

// TestASampleOfTheTables: what is in them is still so.
func TestASampleOfTheTables(t *testing.T) {
	const runs = 6
	for i, o := range Foresee(Ours, runs) {
		for what, c := range map[string][2]Count{
			"foreseen in vain": {o.False, golden["foreseen in vain"][i]}, "unforeseen": {o.Missed, golden["unforeseen"][i]},
		} {
			if p := chance(c[0], c[1]); p < rare {
				t.Errorf("%s: %s %s; of %s that has a chance of %.2g", o.Shape, what, c[0], c[1], p)
			}
		}
		if want := goldenLeads[i]; Shapes[i].Leak && want > 0 && (o.Lead < want/2 || o.Lead > want*2) {
			t.Errorf("%s: foreseen by %d minutes, the table has %d", o.Shape, o.Lead, want)
		}
	}
	for _, d := range Detectors {
		if d.Hold == 0 && d.Name != Detectors[0].Name || d.Window > 120 {
			continue // dear, and made of the same parts
		}
		for i, c := range Detect(d, 2) {
			if p := chance(c, golden[d.Name][i]); p < rare {
				t.Errorf("%s, %s: %s; of %s that has a chance of %.2g", d.Name, Shapes[i].Name, c, golden[d.Name][i], p)
			}
		}
	}
}

// chance is how likely it is to see a count at least as odd as c where the share is as in known.
func chance(c, known Count) float64 {
	share := (float64(known.Of) + 0.5) / (float64(known.Runs) + 1)
	var below, above float64
	for k := range c.Runs + 1 {
		p := math.Exp(choose(c.Runs, k) + float64(k)*math.Log(share) + float64(c.Runs-k)*math.Log(1-share))
		if k <= c.Of {
			below += p
		}
		if k >= c.Of {
			above += p
		}
	}
	return min(1, 2*min(below, above))
}

// choose is the logarithm of the binomial coefficient.
func choose(n, k int) float64 {
	lg := func(n int) float64 { v, _ := math.Lgamma(float64(n + 1)); return v }
	return lg(n) - lg(k) - lg(n-k)
}

// TestTheSampleCanFail: a rule that alarms where the table has none is seen.
func TestTheSampleCanFail(t *testing.T) {
	if p := chance(Count{2, 6}, Count{0, 60}); p >= rare {
		t.Errorf("2 of 6 beside 0 of 60 has a chance of %g", p)
	}
	if p := chance(Count{4, 6}, Count{60, 60}); p >= rare {
		t.Errorf("4 of 6 beside 60 of 60 has a chance of %g", p)
	}
	if p := chance(Count{3, 6}, Count{28, 60}); p < 0.5 {
		t.Errorf("3 of 6 beside 28 of 60 has a chance of %g", p)
	}
}

// TestRunsAreTheSameForEverybody, and each is another.
func TestRunsAreTheSameForEverybody(t *testing.T) {
	for _, s := range Shapes {
		one, again, other := s.Floors(3), s.Floors(3), s.Floors(4)
		if len(one) != Day || !slices.Equal(one, again) || slices.Equal(one, other) {
			t.Errorf("%s: %d floors, the same again %v, the same as another %v", s.Name, len(one), slices.Equal(one, again), slices.Equal(one, other))
		}
	}
}
