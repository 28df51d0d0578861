package rules

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"autoglm-sidecar/gpu"
	"autoglm-sidecar/health"
	"autoglm-sidecar/health/timetable"
)

const (
	// nearFactor times the usual drain and start is how near a full memory may come.
	nearFactor = 2
	// watching is for how long is looked for a quieter moment before one of the quietest tenth of the last hour is taken.
	watching = 15 * time.Minute
	// closing is how long before a window's end one of the quieter half will do; closed, any.
	closing, closed = 10 * time.Minute, 2 * time.Minute
	// agePatience and forecastPatience are for how long windows stand open before one of the quieter half will do;
	// beyond that, later, any.
	agePatience, forecastPatience = 24 * time.Hour, 2 * time.Hour
	beyond                        = time.Hour

	quietest, quieter = 0.1, 0.5

	// again is after how long a wish is repeated of which nothing became; postponedFor, one whose drain took too long.
	again, postponedFor = time.Minute, 15 * time.Minute
	// longestLook is how much time a look stands for at the most: between others nobody looked.
	longestLook = 5 * time.Second

	// likewise and likewiseShare (of the growth) are by how much a new life's plateau has to be below where the one before
	// ended, for a restart to have given memory back.
	likewise, likewiseShare = 64 * gpu.MiB, 0.1
)

// PlanRules are what is planned by.
type PlanRules struct {
	Times    timetable.Timetable // when planned restarts may happen
	MaxAge   time.Duration       // of a life; 0: any
	Jitter   float64             // share of MaxAge by which a life's may be less or more, 0 to 1
	Seed     uint64              // of Jitter: this worker's own, and always the same
	Horizon  time.Duration       // within it at most one restart is made for a forecast
	Forecast Forecast
	Pace     float64 // how much faster than the clock Moment.Now goes by, in tests; 0: as fast
}

// Moment is how things are when the plan is looked at.
type Moment struct {
	Now     time.Duration // on a clock that never goes back; the same for all that Plan is told
	Wall    time.Time     // for windows
	Life    int64
	Age     time.Duration // since the life began to serve; 0: it doesn't serve
	Streams int           // open
	Devices []GPU         // of the worker; leave out one that hasn't been read for long, since what is known of it is old
	Busy    bool          // a restart is under way, of whatever reason: only a full memory is told to it
	Frozen  bool          // a person doesn't want any now
	Takes   time.Duration // usual drain and start
}

// Wish is a restart that is to be asked for; with NoReason none is.
type Wish struct {
	Reason health.Reason
	Why    string // a line for the ledger
	Hasty  bool   // its drain must be a short one
}

// Held is why a wish was not carried out.
type Held uint8

// What may become of a wish.
const (
	Observed  Held = iota // all restarts are only counted: not wished again within the horizon
	Frozen                // not wished again before the freeze is over, and then at once if it is still so
	Postponed             // streams were in its way for too long: not wished again for 15 minutes
)

// State is what has to outlive the sidecar. Times are on the clock of Moment.Now: where that begins anew, as at a boot, so does
// the state.
type State struct {
	Life                 int64
	Limit, Forecast, Age Want

	Forecasted time.Duration // when a restart was last made for a forecast; 0: never
	// Filled are the devices that were full in all but name when a restart was made, within the horizon; the oldest comes first.
	Filled []Filled
	// Made are the devices for whose memory the last restart was made, and of which isn't known yet whether it came back.
	Made    []Made
	Latched []Latch
}

// Want is how far it is with wishing for a restart for one reason, for the life of State.
type Want struct {
	Watched time.Duration // while it was wanted and might have been
	Until   time.Duration // it isn't wished again before
	Frozen  bool          // it isn't before a freeze is over
}

// Filled is a device whose full memory a restart was made for.
type Filled struct {
	Device string
	At     time.Duration
}

// mostFilled is how many restarts are made for one device's full memory within the horizon: more would only cut streams.
const mostFilled = 2

// Made is a device for whose memory a life was restarted.
type Made struct {
	Life           int64
	Device         string
	Plateau, Floor gpu.Bytes // of that life, when it ended
}

// Plan says when a planned restart is to be asked for. It is a value of one goroutine.
//
// A life whose memory is full in all but name is replaced at once. One whose memory will be full, or that has reached its age,
// waits for a quiet moment in a window. But memory that will be full waits only as long as it can: if it would be full before the
// next window has opened and a restart is made in it, then any time is a window; and if it will be full sooner than twice a usual
// restart takes, no moment is better than this one. An age never presses: outside windows it waits, for days if need be.
//
// What a quiet moment is: one at which no stream is open. Or, once windows have stood open for 15 minutes, one of the quietest
// tenth of the last hour's. Or one of the quieter half, when the window closes within 10 minutes or patience has ended (after 2 h or
// a quarter of the time until memory is full; after 24 h for an age). Or any, 2 minutes before the window closes or an hour after
// patience has ended.
//
// At most one restart is made for a forecast within the horizon. And if after a restart for memory the next life begins where
// the one before has ended, or its memory is full again before it has a plateau, or for the third time within the horizon, restarts don't
// help: there is none for that device's memory any more until a person says so (Unlatch).
type Plan struct {
	PlanRules

	state  State
	quiet  quiet
	looked time.Duration
	closes time.Time // cached: it can take long to find
	asked  time.Time // when that was
}

// NewPlan goes on with what an earlier plan's State was.
func NewPlan(r PlanRules, s State) *Plan { return &Plan{PlanRules: r, state: s.clone()} }

// State is what NewPlan can go on with. It is to be kept after Restarted, Withheld and Unlatch, and else each minute.
func (p *Plan) State() State { return p.state.clone() }

func (s State) clone() State {
	s.Made, s.Latched, s.Filled = slices.Clone(s.Made), slices.Clone(s.Latched), slices.Clone(s.Filled)
	return s
}

// Latched are the devices for whose memory no restart is made any more.
func (p *Plan) Latched() []Latch { return p.state.clone().Latched }

// Unlatch has restarts made for memory again: a person started or restarted the worker.
func (p *Plan) Unlatch() { p.state.Latched, p.state.Made, p.state.Filled = nil, nil, nil }

// MadeOf are the devices of a life that a restart for memory is made for, as they are now.
func MadeOf(life int64, devices []GPU) (made []Made) {
	for _, d := range devices {
		if o := d.Outlook; d.Hard || o.Foreseen || o.Soft {
			made = append(made, Made{life, d.Device, o.Plateau, o.Floor})
		}
	}
	return made
}

// Restarted says that a life was ended for a restart, whoever wished it, and of which devices' memory MadeOf said when it was given up
// that it was for them.
func (p *Plan) Restarted(reason health.Reason, now time.Duration, before []Made) {
	if reason.ByHand() {
		p.Unlatch()
	}
	if reason == health.MemoryForecast {
		p.state.Forecasted = now
	}
	if reason != health.MemoryForecast && reason != health.MemoryLimit {
		return
	}
	p.state.Filled = slices.DeleteFunc(p.state.Filled, func(f Filled) bool { return now-f.At >= p.Horizon })
	for _, m := range before {
		if reason == health.MemoryLimit {
			p.state.Filled = append(p.state.Filled, Filled{m.Device, now})
		}
		p.state.Made = slices.DeleteFunc(p.state.Made, func(o Made) bool { return o.Device == m.Device })
		p.state.Made = append(p.state.Made, m)
	}
}

// Withheld says that a wish of the life was not carried out, and why. Of one that is carried out nothing is to be said before
// Restarted: meanwhile Moment.Busy holds. Without a word a wish is repeated after a minute, if it is still so.
func (p *Plan) Withheld(w Wish, how Held, now time.Duration) {
	want := p.want(w.Reason)
	switch how {
	case Observed:
		want.Until = now + p.Horizon
	case Frozen:
		want.Until, want.Frozen = now, true
	case Postponed:
		want.Until = now + postponedFor
	}
}

// want is the reason's, of those that are planned.
func (p *Plan) want(r health.Reason) *Want {
	switch r {
	case health.MemoryLimit:
		return &p.state.Limit
	case health.MemoryForecast:
		return &p.state.Forecast
	case health.Age:
		return &p.state.Age
	case health.NoReason, health.Operator, health.Config, health.Unhealthy, health.Hung, health.Crashed, health.GPUFault:
	}
	return &Want{}
}

// Look says whether a restart is to be asked for now. It is meant to be called each second.
func (p *Plan) Look(m Moment) Wish {
	took := min(m.Now-p.looked, time.Duration(max(1, p.Pace)*float64(longestLook)))
	p.looked = m.Now
	if m.Age <= 0 {
		return Wish{}
	}
	if p.state.Life != m.Life {
		p.state.Life, p.state.Limit, p.state.Forecast, p.state.Age = m.Life, Want{}, Want{}, Want{}
	}
	p.compare(m)
	if !m.Busy { // else the gate may hold, and that is no lull
		p.quiet.take(m.Now, m.Streams)
	}
	for _, w := range []*Want{&p.state.Limit, &p.state.Forecast, &p.state.Age} {
		w.Frozen = w.Frozen && m.Frozen
	}
	for _, look := range []func(Moment, time.Duration) Wish{p.limit, p.forecast, p.age} {
		if w := look(m, took); w.Reason != health.NoReason {
			p.want(w.Reason).Until = m.Now + again
			return w
		}
	}
	return Wish{}
}

// due says that a wish may be repeated.
func (w *Want) due(now time.Duration) bool { return !w.Frozen && now >= w.Until }

// limit: the memory of a device is full in all but name.
func (p *Plan) limit(m Moment, _ time.Duration) Wish {
	for _, d := range m.Devices {
		if !d.Hard || p.Forecast != ForecastAct || !p.helps(d) || !p.state.Limit.due(m.Now) {
			continue
		}
		if p.inVain(d, m) {
			p.state.Latched = append(p.state.Latched, Latch{d.Device, d.Use.Used, d.Use.Used})
			continue
		}
		return Wish{health.MemoryLimit, nameOf(d, len(m.Devices)) + Full(d), true}
	}
	return Wish{}
}

// inVain says that the memory is full again though it was restarted for that: before the new life even had a plateau, or for the
// third time within the horizon.
func (p *Plan) inVain(d GPU, m Moment) bool {
	filled := 0
	for _, f := range p.state.Filled {
		if f.Device == d.Device && m.Now-f.At < p.Horizon {
			filled++
		}
	}
	return filled >= mostFilled || slices.ContainsFunc(p.state.Made, func(b Made) bool { return b.Device == d.Device && b.Life != m.Life })
}

// helps says that a restart may help a device's memory.
func (p *Plan) helps(d GPU) bool {
	return !slices.ContainsFunc(p.state.Latched, func(l Latch) bool { return l.Device == d.Device })
}

// forecast: the memory of a device will be full.
func (p *Plan) forecast(m Moment, took time.Duration) Wish {
	want := &p.state.Forecast
	d, is := p.filling(m.Devices)
	if !is || p.Forecast != ForecastAct {
		want.Watched = 0
		return Wish{}
	}
	if p.state.Forecasted > 0 && m.Now-p.state.Forecasted < p.Horizon {
		return Wish{}
	}
	why := nameOf(d, len(m.Devices)) + Filling(d.Outlook)
	near := nearFactor * m.Takes
	left, known := d.Outlook.Full, d.Outlook.Foreseen
	open, patience := p.Times.Open(m.Wall), forecastPatience
	if known {
		patience = min(patience, left/4)
	}
	switch {
	case known && left <= near:
		if m.Busy || !want.due(m.Now) {
			return Wish{}
		}
		return Wish{health.MemoryForecast, why + "; it can't wait", false}
	case known && !open:
		// A window serves if it has opened before the memory is too near.
		open = p.Times.Next(m.Wall).Sub(m.Wall) >= left-near
	}
	if how := p.quietly(m, want, took, open, patience); how != "" {
		return Wish{health.MemoryForecast, why + "; " + how, false}
	}
	return Wish{}
}

// filling is the device whose memory is full first, of those that a restart may help.
func (p *Plan) filling(devices []GPU) (first GPU, is bool) {
	for _, d := range devices {
		switch o := d.Outlook; {
		case !o.Foreseen && !o.Soft || !p.helps(d):
		case !is, o.Foreseen && (!first.Outlook.Foreseen || o.Full < first.Outlook.Full):
			first, is = d, true
		}
	}
	return first, is
}

// age: the life is as old as it may be.
func (p *Plan) age(m Moment, took time.Duration) Wish {
	most := p.AgeOf(m.Life)
	if most == 0 || m.Age < most {
		return Wish{}
	}
	if how := p.quietly(m, &p.state.Age, took, p.Times.Open(m.Wall), agePatience); how != "" {
		return Wish{health.Age, fmt.Sprintf("it has served for %s, and may for %s; %s", gpu.Far(m.Age), gpu.Far(most), how), false}
	}
	return Wish{}
}

// AgeOf is how old a life may be; 0: as old as it gets. It is another for each life, and always the same for the same.
func (p *Plan) AgeOf(life int64) time.Duration {
	if p.MaxAge <= 0 {
		return 0
	}
	chance := 2*rand.New(rand.NewPCG(p.Seed, uint64(life))).Float64() - 1
	return max(time.Minute, time.Duration(float64(p.MaxAge)*(1+p.Jitter*chance)))
}

// quietly says why this is the moment for a wish that would rather wait; empty: it isn't. While it may be, it has been watched.
func (p *Plan) quietly(m Moment, want *Want, took time.Duration, open bool, patience time.Duration) string {
	if !open {
		return ""
	}
	want.Watched += took
	if m.Busy || !want.due(m.Now) {
		return ""
	}
	if m.Streams == 0 {
		return "no stream is open"
	}
	ends := p.ends(m.Wall)
	within := func(d time.Duration) bool { return !ends.IsZero() && ends.Sub(m.Wall) <= d }
	if within(closed) {
		return "its window closes"
	}
	if want.Watched >= patience+beyond {
		return "no moment was quiet"
	}
	streams := "1 stream is open"
	if m.Streams != 1 {
		streams = fmt.Sprintf("%d streams are open", m.Streams)
	}
	few, minutes := p.quiet.share(quietest)
	half, _ := p.quiet.share(quieter)
	switch {
	case want.Watched >= watching && minutes >= int(watching/time.Minute) && m.Streams <= few:
		return "a quiet moment: " + streams
	case (within(closing) || want.Watched >= patience) && m.Streams <= half:
		return "quiet enough: " + streams
	}
	return ""
}

// ends is when the window that is open is over; the zero time: never, or none is.
func (p *Plan) ends(wall time.Time) time.Time {
	if since := wall.Sub(p.asked); since < 0 || since >= time.Minute || !p.closes.IsZero() && !wall.Before(p.closes) {
		p.closes, p.asked = p.Times.Closes(wall), wall
	}
	return p.closes
}

// compare looks whether the last restart for memory has given it back, as soon as the new life's plateau is known.
func (p *Plan) compare(m Moment) {
	for _, d := range m.Devices {
		i := slices.IndexFunc(p.state.Made, func(b Made) bool { return b.Device == d.Device })
		if i < 0 || p.state.Made[i].Life == m.Life || d.Outlook.Stage < gpu.Watching {
			continue
		}
		made := p.state.Made[i]
		p.state.Made = slices.Delete(p.state.Made, i, i+1)
		margin := max(likewise, gpu.Bytes(likewiseShare*float64(made.Floor-made.Plateau)))
		if d.Outlook.Plateau >= made.Floor-margin && p.helps(d) {
			p.state.Latched = append(p.state.Latched, Latch{d.Device, made.Floor, d.Outlook.Plateau})
		}
	}
}
