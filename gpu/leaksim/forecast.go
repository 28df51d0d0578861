package leaksim

import (
	"fmt"
	"time"

	"autoglm-sidecar/gpu"
)

// headroom is how much a run may grow above base, in MiB. A run reaches its limit when a floor is above that.
const (
	headroom = 2048
	limit    = (base + headroom) * gpu.MiB
)

// Result is what a forecast made of one run.
type Result struct {
	Reached  int // minute in which the run reached its limit, -1: not within the day
	Foreseen int // minute in which that was first foreseen, before or without it; -1: it wasn't
	Soft     int // minute in which the soft limit was passed, likewise
}

// False: an end was foreseen that didn't come. Missed: it came unforeseen.
func (r Result) False() bool  { return r.Foreseen >= 0 && r.Reached < 0 }
func (r Result) Missed() bool { return r.Foreseen < 0 && r.Reached >= 0 }

// Forecast is a way to foresee the end of a run.
type Forecast struct {
	Name   string
	Follow func() func(gpu.Floor) (foreseen, soft bool) // begins to follow a run
}

// Forecasts are those of the second table. The plain ones take the trend of the last window at its word.
var Forecasts = []Forecast{
	Ours,
	plain(60, 6*time.Hour, 0),
	plain(60, 6*time.Hour, 30),
	plain(120, 6*time.Hour, 30),
	plain(60, 12*time.Hour, 0),
}

// Ours is package gpu's, by its own rules.
var Ours = Forecast{Name: "gpu.Forecast", Follow: func() func(gpu.Floor) (bool, bool) {
	f := gpu.NewForecast(gpu.Rules{}, limit+gpu.Spare)
	return func(floor gpu.Floor) (bool, bool) {
		o := f.Minute(floor)
		return o.Foreseen, o.Soft
	}
}}

// plain: Mann-Kendall's p < .001, and the limit nearer than the horizon by Sen's lower bound, for as many minutes as hold.
func plain(window int, horizon time.Duration, hold int64) Forecast {
	follow := func() func(gpu.Floor) (bool, bool) {
		var floors []gpu.Floor
		soon, since := false, int64(0)
		return func(f gpu.Floor) (bool, bool) {
			if f.Minute >= skipped {
				floors = append(floors, f)
			}
			if len(floors) < window || f.Minute%lookStep != 0 {
				return false, false
			}
			floors = floors[len(floors)-window:]
			t := gpu.TrendOf(floors)
			left := float64(limit-f.Bytes) / t.Lower
			switch near := t.Z > 3.09 && t.Lower > 0 && left < horizon.Minutes(); {
			case !near:
				soon = false
			case !soon:
				soon, since = true, f.Minute
			}
			return soon && f.Minute-since >= hold, false
		}
	}
	return Forecast{Name: fmt.Sprintf("plain, window %d min, horizon %g h, held %d min", window, horizon.Hours(), hold), Follow: follow}
}

// Of lets a forecast follow one run to its end or its limit.
func (f Forecast) Of(run []gpu.Floor) Result {
	look := f.Follow()
	r := Result{-1, -1, -1}
	for minute, floor := range run {
		if floor.Bytes > limit {
			r.Reached = minute
			return r
		}
		foreseen, soft := look(floor)
		if foreseen && r.Foreseen < 0 {
			r.Foreseen = minute
		}
		if soft && r.Soft < 0 {
			r.Soft = minute
		}
	}
	return r
}
