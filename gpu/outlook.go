package gpu

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Rules are by what an outlook is made. Those without a Window are DefaultRules, with their own Limit.
type Rules struct {
	Limit   Bytes         // what the worker may use at most; 0: what the device has, less Spare
	Window  time.Duration // of floors that a trend is made of
	Horizon time.Duration // a worker whose memory is full sooner is to be replaced
	Hold    time.Duration // for so long without a break; 0: at once
	Every   time.Duration // between two trends
}

// DefaultRules are those that gpu/leaksim was run with: see its tables. The hold is as long as the window, so that one step, as of
// a new workspace, is out of the window before it is believed.
var DefaultRules = Rules{Window: time.Hour, Horizon: 10 * time.Hour, Hold: time.Hour, Every: 5 * time.Minute}

func (r Rules) orDefault() Rules {
	if r.Window == 0 {
		limit := r.Limit
		r = DefaultRules
		r.Limit = limit
	}
	r.Every = cmp.Or(r.Every, DefaultRules.Every)
	return r
}

const (
	// Spare is what stays free of a device: the driver and each new context need some.
	Spare = 256 * MiB
	// LeastAllowance is how much a worker has to be allowed to grow before anything is said of its growth. Below that, noise
	// and a late workspace would look like a leak.
	LeastAllowance = 512 * MiB

	// warmLeast and warmMost are how long a worker warms up after it is ready; warmLook and warmRise (a share) say when it
	// has: graphs are captured, kernels loaded and workspaces made with the first requests of each shape.
	warmLeast, warmMost, warmLook = 30, 240, 15 // minutes
	warmRise                      = 0.01
	// settled is of how many floors after that the plateau is made.
	settled = 15

	// soft and hard are shares of the allowance. The hard one is looked at in each sample: hardSamples in a row.
	soft, hard  = 0.80, 0.95
	hardSamples = 3

	// farsight is how many times as far ahead is looked as there is to look back on.
	farsight = 5
	// faded is the share of its mean since the warm-up to which a growth has come down that fades.
	faded = 0.7

	// steep is Mann-Kendall's z at a one-sided p of 0.001.
	steep = 3.09
)

// Stage is how far a life has come.
type Stage uint8

// The stages.
const (
	Warming  Stage = iota // nothing is said yet
	Settling              // the plateau is being made
	Watching
	Tight // there is less than LeastAllowance to grow into: nothing is said at all
)

func (s Stage) String() string { return [...]string{"warming", "settling", "watching", "tight"}[s] }

// Outlook is what the floors of one life say.
type Outlook struct {
	Stage     Stage
	Floor     Bytes // the latest
	Plateau   Bytes // what the worker uses when it has warmed up
	Limit     Bytes // what it may use at most
	Allowance Bytes // from the one to the other
	Trend     Trend
	Full      time.Duration // until the limit, by the trend's lower bound; 0: by that never

	Foreseen bool // Full is within the horizon, and has been for the whole hold
	Soft     bool // the floor has used up most of the allowance
}

// Forecast follows the memory of one life, from when it is ready.
type Forecast struct {
	rules    Rules
	capacity Bytes

	begun  bool
	first  int64   // minute
	floors []Floor // since the beginning; of the last window once the plateau is known
	warm   int64   // minute in which it had warmed up
	since  int64   // minute since which the memory is foreseen to be full within the horizon
	looked int64   // minute of the last trend
	soon   bool
	high   int   // samples in a row above the hard limit
	ready  Bytes // used when it became ready; 0: nobody has looked yet
	now    Outlook
}

// Memory is all that a Forecast has to remember over a death of ours: it goes on from it as if nothing had happened.
type Memory struct {
	Capacity, Ready            Bytes
	Begun, Soon                bool
	First, Warm, Since, Looked int64
	Floors                     []Floor
	Now                        Outlook
}

// Memory returns what is to be remembered.
func (f *Forecast) Memory() Memory {
	return Memory{f.capacity, f.ready, f.begun, f.soon, f.first, f.warm, f.since, f.looked, f.floors, f.now}
}

// Recall goes on from what an earlier runner remembered, by rules that may be others by now.
func Recall(r Rules, m Memory) *Forecast {
	f := NewForecast(r, m.Capacity)
	f.begun, f.soon, f.first, f.warm, f.since, f.looked = m.Begun, m.Soon, m.First, m.Warm, m.Since, m.Looked
	f.floors, f.now, f.ready = m.Floors, m.Now, m.Ready
	if f.now.Stage == Watching || f.now.Stage == Tight {
		f.limit()
	}
	return f
}

// NewForecast begins one. capacity is what the worker could use of the device if nobody else wanted any: total less reserved,
// and on a shared device less what the others use.
func NewForecast(r Rules, capacity Bytes) *Forecast {
	return &Forecast{rules: r.orDefault(), capacity: capacity}
}

// Outlook is what was said last.
func (f *Forecast) Outlook() Outlook { return f.now }

// Minute takes the next minute's floor.
func (f *Forecast) Minute(m Floor) Outlook {
	if !f.begun {
		f.begun, f.first = true, m.Minute
	}
	f.floors = append(f.floors, m)
	f.now.Floor = m.Bytes
	switch f.now.Stage {
	case Warming:
		f.warmUp(m)
	case Settling:
		f.settle()
	case Watching:
		f.watch(m)
	case Tight:
		f.floors = f.floors[:0]
	}
	return f.now
}

// warmUp waits until the worker has found its size.
func (f *Forecast) warmUp(m Floor) {
	age := m.Minute - f.first
	if age < warmLeast {
		return
	}
	before := f.floors[0]
	for _, b := range f.floors {
		if b.Minute > m.Minute-warmLook {
			break
		}
		before = b
	}
	if rise := float64(m.Bytes - before.Bytes); rise >= warmRise*float64(before.Bytes) && age < warmMost {
		return
	}
	f.now.Stage, f.floors, f.warm = Settling, []Floor{m}, m.Minute
}

// settle makes the plateau, and with it the allowance.
func (f *Forecast) settle() {
	if len(f.floors) < settled {
		return
	}
	values := make([]float64, len(f.floors))
	for i, b := range f.floors {
		values[i] = float64(b.Bytes)
	}
	slices.Sort(values)
	f.now.Plateau = Bytes(median(values))
	f.limit()
}

// limit is as far as the worker may grow from its plateau.
func (f *Forecast) limit() {
	n := &f.now
	n.Limit = f.most()
	n.Allowance = max(0, n.Limit-n.Plateau)
	if n.Stage = Watching; n.Allowance < LeastAllowance {
		n.Stage = Tight
	}
}

// most is what the worker may use at most.
func (f *Forecast) most() Bytes {
	most := f.capacity - Spare
	if f.rules.Limit > 0 {
		most = min(most, f.rules.Limit)
	}
	return most
}

// Fit says what the worker could use of the device by now, as neighbours come and go. It counts until the plateau is known.
func (f *Forecast) Fit(capacity Bytes) {
	if f.now.Stage < Watching {
		f.capacity = capacity
	}
}

// watch looks at the trend and at the limits.
func (f *Forecast) watch(m Floor) {
	n := &f.now
	for len(f.floors) > 0 && f.floors[0].Minute <= m.Minute-minutes(f.rules.Window) {
		f.floors = f.floors[1:]
	}
	n.Soft = m.Bytes > n.Plateau+Bytes(soft*float64(n.Allowance))
	if m.Minute-f.looked < minutes(f.rules.Every) {
		return
	}
	f.looked = m.Minute
	n.Full = 0
	if int64(len(f.floors)) < minutes(f.rules.Window)*3/4 {
		f.soon, n.Foreseen = false, false
		return
	}
	n.Trend = TrendOf(f.floors)
	age := m.Minute - f.warm
	if n.Trend.Z > steep && n.Trend.Lower > 0 && !f.fades(m, age) {
		left := float64(max(0, n.Limit-m.Bytes)) / n.Trend.Lower
		n.Full = max(time.Minute, time.Duration(min(left*float64(time.Minute), math.MaxInt64/2)))
	}
	horizon := min(f.rules.Horizon, time.Duration(farsight*age)*time.Minute)
	switch soon := n.Full > 0 && n.Full < horizon; {
	case !soon:
		f.soon, n.Foreseen = false, false
	case !f.soon:
		f.soon, f.since = true, m.Minute
	}
	n.Foreseen = f.soon && m.Minute-f.since >= minutes(f.rules.Hold)
}

// fades: the growth is slower by now than it was in the mean, and what is still to come of it fits. A warm-up that is not over
// grows like that, and so does an allocator that keeps its peak; both are taken to go on for as long again as they have lasted,
// at the most, and not for ever.
func (f *Forecast) fades(m Floor, age int64) bool {
	mean := float64(m.Bytes-f.now.Plateau) / float64(max(1, age))
	slope := f.now.Trend.Slope
	return slope < faded*mean && float64(m.Bytes)+slope*float64(age) < float64(f.now.Limit)
}

// Sample takes what is used now. It says whether the hard limit has been passed. While the plateau isn't known that is the limit
// itself, and only for a worker that has grown by as much as any has to be allowed to: one that was made to fill its device does so
// from the beginning.
func (f *Forecast) Sample(used Bytes) (passed bool) {
	n := &f.now
	if f.ready == 0 {
		f.ready = used
	}
	var above bool
	switch n.Stage {
	case Warming, Settling:
		above = used > f.most() && used-f.ready >= LeastAllowance
	case Watching:
		above = used > n.Plateau+Bytes(hard*float64(n.Allowance))
	case Tight:
	}
	if !above {
		f.high = 0
		return false
	}
	n.Limit = f.most()
	f.high++
	return f.high >= hardSamples
}

func minutes(d time.Duration) int64 { return int64(d / time.Minute) }
