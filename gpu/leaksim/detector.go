package leaksim

import (
	"math"
	"slices"

	"autoglm-sidecar/gpu"
)

// Detector is a rule that looks at the floors of its window alone, as they are used elsewhere. None is good enough to restart a
// worker by: that is what the first table is for.
type Detector struct {
	Name   string
	Window int // floors
	Hold   int // minutes for which it must have said so without a break
	Rises  func([]gpu.Floor) bool
}

const (
	skipped  = 60 // minutes at the start of a run that no detector sees
	lookStep = 5  // minutes between two looks
)

// Detectors are those of the first table.
var Detectors = []Detector{
	{"regression t > 1.65", 120, 0, func(w []gpu.Floor) bool { return regressionT(w) > 1.65 }},
	{"Mann-Kendall p < .05", 120, 0, func(w []gpu.Floor) bool { return gpu.TrendOf(w).Z > 1.645 }},
	{"Mann-Kendall p < .001", 120, 0, func(w []gpu.Floor) bool { return gpu.TrendOf(w).Z > 3.09 }},
	{"and Sen's lower bound, and quarters that rise", 120, 0, steadily},
	{"the same, held 60 min", 120, 60, steadily},
	{"the same, window 240, held 120 min", 240, 120, steadily},
}

// Alarm is the minute at which the detector first says that a run leaks, -1 for never.
func (d Detector) Alarm(run []gpu.Floor) int {
	since := -1
	for at := skipped + d.Window; at <= len(run); at += lookStep {
		if !d.Rises(run[at-d.Window : at]) {
			since = -1
			continue
		}
		if since < 0 {
			since = at
		}
		if at-since >= d.Hold {
			return at
		}
	}
	return -1
}

// steadily: significant, by more than 0.25 MiB a minute at the least, and the lowest floor of each quarter above that of the
// quarter before.
func steadily(w []gpu.Floor) bool {
	t := gpu.TrendOf(w)
	if t.Z <= 3.09 || t.Lower <= 0.25*float64(gpu.MiB) {
		return false
	}
	quarter := len(w) / 4
	for i := range 3 {
		if lowest(w[i*quarter:(i+1)*quarter]) >= lowest(w[(i+1)*quarter:(i+2)*quarter]) {
			return false
		}
	}
	return true
}

func lowest(w []gpu.Floor) gpu.Bytes {
	return slices.MinFunc(w, func(a, b gpu.Floor) int { return int(a.Bytes - b.Bytes) }).Bytes
}

// regressionT is the t statistic of the slope of a straight line through the floors.
func regressionT(w []gpu.Floor) float64 {
	n := float64(len(w))
	var meanX, meanY float64
	for _, f := range w {
		meanX += float64(f.Minute) / n
		meanY += float64(f.Bytes) / n
	}
	var xx, xy, yy float64
	for _, f := range w {
		x, y := float64(f.Minute)-meanX, float64(f.Bytes)-meanY
		xx, xy, yy = xx+x*x, xy+x*y, yy+y*y
	}
	slope := xy / xx
	rest := max(0, yy-slope*xy)
	if rest == 0 {
		return 0
	}
	return slope / math.Sqrt(rest/(n-2)/xx)
}
