// Package watch follows the devices of a worker through its lives: how much of each is the worker's, whether that grows, what the
// driver says of faults, and, when a life has ended, whether its memory is free for the next. It takes the lines of a reader and is
// told when lives begin and end; it asks nobody, and knows no clock: each call is told the time.
//
// What it knows outlives the sidecar (Append, Restore), so that no leak is forgotten with us.
package watch

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"autoglm-sidecar/gpu"
)

// Sharing is whether others use the worker's devices, too.
type Sharing uint8

// What may be known of that.
const (
	SeeForYourself Sharing = iota // by what the driver lists
	Shared
	Exclusive
)

// Options are how devices are watched. The zero value is.
type Options struct {
	Rules     gpu.Rules
	Share     float64 // of a device that the worker may use at most; 0: all. With Rules.Limit the lower one counts
	Sharing   Sharing
	Overrides gpu.Overrides
	Need      gpu.Bytes // of each device, that a life needs to start; 0: as was seen of the one before
	// Every is how often a sample comes, 0 for each second.
	Every time.Duration
}

// lostAfter is for how many samples in a row a device has to be lost or to want a reset, for it not to be a moment of the driver's.
const lostAfter = 3

// CurveKept is how many minutes of a life's memory are kept to explain it later.
const CurveKept = 60

// Watch is all that is known. It belongs to one goroutine, or to who holds a lock.
type Watch struct {
	Options
	life    int64
	serves  bool
	served  bool // the life does, or did
	devices []*device
	// absent are those that it used and that are not listed now: the reader hasn't spoken yet, or the driver has lost them. The one that
	// is gone for the longest comes first; mostAbsent at the most.
	absent []*device
}

const (
	// BlindWait is what a driver gets for a process's end where nobody can see how far it is.
	BlindWait = 10 * time.Second
	roomWait  = 30 * time.Second
)

// mostAbsent bounds what is kept of devices that may never come back, as instances that were divided anew.
const mostAbsent = 16

// device is one device of the worker.
type device struct {
	gpu.Device
	sample    gpu.Sample
	sampled   time.Duration // when; 0: never
	processes gpu.Processes
	listed    time.Duration // when; 0: never
	condition gpu.Condition

	set      gpu.Set
	minutes  gpu.Minutes
	forecast *gpu.Forecast // nil: the life doesn't serve yet
	hard     bool
	contexts gpu.Contexts
	faults   *gpu.Faults
	lost     int // samples in a row

	use      gpu.Use
	baseline gpu.Bytes // -1: not known
	highest  gpu.Bytes // of the life, until its plateau is known
	need     gpu.Bytes
	pids     map[int]bool // that the driver listed of the life
	curve    []gpu.Minute
}

// New returns a Watch that knows of no device.
func New(o Options) *Watch { return &Watch{Options: o} }

// Uses says which devices the worker uses, from now on. What is known of those that it used before stays, and they bar a life as
// before: that a device isn't listed any more doesn't make it a good one. See Forget.
func (w *Watch) Uses(devices []gpu.Device) {
	old := append(slices.Clone(w.absent), w.devices...)
	w.devices = nil
	for _, d := range devices {
		i := slices.IndexFunc(old, func(o *device) bool { return o.UUID == d.UUID })
		var it *device
		if i >= 0 {
			it = old[i]
			old = slices.Delete(old, i, i+1)
		} else {
			it = w.fresh(d)
		}
		it.Device, it.set.Device, it.faults.GPUs = d, d, len(devices)
		w.devices = append(w.devices, it)
	}
	w.absent = old[max(0, len(old)-mostAbsent):]
}

// Forget drops what is known of devices that the worker doesn't use after all.
func (w *Watch) Forget(is func(uuid string) bool) {
	w.absent = slices.DeleteFunc(w.absent, func(d *device) bool { return is(d.UUID) })
}

func (w *Watch) fresh(d gpu.Device) *device {
	return &device{
		Device: d, baseline: -1, faults: gpu.NewFaults(w.faultRules(d)), pids: map[int]bool{},
		set: gpu.Set{Device: d, Exclusive: w.Sharing == Exclusive}, minutes: gpu.Minutes{Every: w.Every},
	}
}

func (w *Watch) faultRules(d gpu.Device) gpu.FaultRules {
	return gpu.FaultRules{Device: d.UUID, Overrides: w.Overrides, Shared: w.Sharing == Shared}
}

// all are the devices that it uses or used.
func (w *Watch) all() []*device { return slices.Concat(w.devices, w.absent) }

// Launch is the moment before a life's first process: what the devices use now is not its own. fresh says that they have been looked at
// just now; else it isn't known what they use.
func (w *Watch) Launch(life int64, fresh bool) {
	if life == w.life {
		return
	}
	w.life, w.serves, w.served = life, false, false
	for _, d := range w.devices {
		d.launch(w.Sharing == Exclusive)
		if !fresh {
			d.baseline = -1
		}
	}
	for _, d := range w.absent { // nobody has looked at them
		d.launch(w.Sharing == Exclusive)
		d.baseline = -1
	}
}

func (d *device) launch(exclusive bool) {
	before := d.baseline
	switch {
	case d.sampled == 0 || d.sample.Trouble != gpu.NoTrouble:
		d.baseline = -1
	case before >= 0 && len(d.processes.Processes) == 0:
		d.baseline = min(before, d.sample.Used) // what was slack then must not add up
	default:
		d.baseline = d.sample.Used
	}
	d.need = d.needed(0)
	d.set = gpu.Set{Device: d.Device, Exclusive: exclusive}
	d.minutes, d.forecast, d.hard, d.contexts = gpu.Minutes{Every: d.minutes.Every}, nil, false, gpu.Contexts{}
	d.use, d.highest, d.pids, d.curve = gpu.Use{}, 0, map[int]bool{}, nil
}

// Serves is when a life has become ready, or is met by a new runner: from here on its memory is judged. Of a life that was never
// launched under our eyes it isn't known what the devices used before it.
func (w *Watch) Serves(life int64) {
	if life != w.life {
		w.Launch(life, false)
	}
	w.serves, w.served = true, true
}

// Ends is when a life is over or on its way out: its memory is not judged any more.
func (w *Watch) Ends(life int64) {
	if life == w.life {
		w.serves = false
	}
}

// Kills is when we kill processes of the worker, of which the driver will tell.
func (w *Watch) Kills(now time.Duration) {
	for _, d := range w.all() {
		d.faults.OwnKill(now)
	}
}

// Clears is a person's word that what kept a worker from its devices is over.
func (w *Watch) Clears(now time.Duration) {
	for _, d := range w.all() {
		d.faults.Clear(now)
		d.lost = 0
	}
}

// Take takes a line of the reader. mine says whether a PID, as the driver gives it, is of the worker.
func (w *Watch) Take(line gpu.Line, now time.Duration, mine func(pid int) bool) {
	switch {
	case line.Sample != nil:
		if d := w.device(line.Sample.Device); d != nil {
			w.takeSample(d, *line.Sample, now, mine)
		}
	case line.Processes != nil:
		if d := w.device(line.Processes.Device); d != nil {
			w.takeProcesses(d, *line.Processes, now, mine)
		}
	case line.Condition != nil:
		if d := w.device(line.Condition.Device); d != nil {
			d.condition = *line.Condition
			d.faults.Condition(*line.Condition, now)
			if line.Condition.Trouble == gpu.NoTrouble {
				d.faults.Readable(now)
			}
		}
	case line.Event != nil:
		for _, d := range w.all() { // an event is of a GPU, and may concern all its instances
			if d.UUID == line.Event.Device || d.Parent == line.Event.Device {
				if line.Event.Xid != 0 {
					d.faults.Event(line.Event.Xid, now)
				}
			}
		}
	}
}

func (w *Watch) device(uuid string) *device {
	for _, d := range w.devices {
		if d.UUID == uuid {
			return d
		}
	}
	return nil
}

func (w *Watch) takeSample(d *device, s gpu.Sample, now time.Duration, mine func(int) bool) {
	d.sample, d.sampled = s, now
	d.faults.Tick(now)
	if s.Trouble == gpu.Lost || s.Trouble == gpu.ResetRequired {
		d.lost++
	} else if s.Trouble == gpu.NoTrouble {
		d.lost = 0
	}
	if w.life == 0 {
		return
	}
	w.measure(d, now, mine)
}

// measure is one look at what the life uses.
func (w *Watch) measure(d *device, now time.Duration, mine func(int) bool) {
	d.use = d.set.Look(d.sample, d.processes, max(0, d.baseline), mine)
	if d.use.Mode == gpu.ByDevice && d.baseline < 0 {
		d.use = gpu.Use{Mode: gpu.Blind, Contexts: d.use.Contexts}
	}
	ended, whole := d.minutes.Take(now, d.use.Used, d.use.OK)
	if whole {
		d.curve = append(d.curve, ended)
		d.curve = d.curve[max(0, len(d.curve)-CurveKept):]
	}
	if !w.served {
		d.highest = max(d.highest, d.use.Used)
	}
	if !w.serves {
		return
	}
	if d.forecast == nil {
		if !d.use.OK {
			return // of a gap nobody knows what the worker could use
		}
		d.forecast = gpu.NewForecast(w.rulesOf(d), d.capacity())
	}
	if d.use.OK {
		d.forecast.Fit(d.capacity())
	}
	if whole {
		d.forecast.Minute(ended.Floor)
	}
	if d.use.OK {
		d.hard = d.forecast.Sample(d.use.Used)
	}
	if d.forecast.Outlook().Stage < gpu.Watching {
		d.highest = max(d.highest, d.use.Used)
	}
}

// capacity is what the life could use of the device if it had all that nobody else has now.
func (d *device) capacity() gpu.Bytes { return d.sample.Total - d.sample.Reserved - d.use.Others }

func (w *Watch) rulesOf(d *device) gpu.Rules {
	r := w.Rules
	if w.Share > 0 {
		share := gpu.Bytes(w.Share * float64(d.sample.Total))
		if r.Limit == 0 || share < r.Limit {
			r.Limit = share
		}
	}
	return r
}

func (w *Watch) takeProcesses(d *device, p gpu.Processes, now time.Duration, mine func(int) bool) {
	switch p.Trouble {
	case gpu.NoTrouble:
	case gpu.Unpermitted, gpu.Unsupported: // there is none to be had
		p.Processes = nil
		d.faults.Shared = w.Sharing != Exclusive // nobody knows who else is there
		d.processes, d.listed = p, now
		return
	default:
		return // the last list is better than none
	}
	d.processes, d.listed = p, now
	foreign := false
	for _, one := range p.Processes {
		if mine(one.PID) {
			d.pids[one.PID] = true
		} else {
			foreign = true
		}
	}
	if w.Sharing == SeeForYourself {
		d.faults.Shared = foreign && d.use.Mode != gpu.ByDevice
	}
	if w.life == 0 || !w.serves || d.sampled == 0 {
		return
	}
	stage := gpu.Warming
	if d.forecast != nil {
		stage = d.forecast.Outlook().Stage
	}
	d.contexts.Take(now, d.use.Contexts, stage, d.use.Contexts > 0)
}

// needed is what a life needs of the device to start: what the user says, or the highest use seen of one before its plateau, and a
// little more. Until this life has found its plateau it may be what the one before needed.
func (d *device) needed(said gpu.Bytes) gpu.Bytes {
	seen := d.highest + d.highest/20
	switch {
	case said > 0:
		return said
	case d.forecast != nil && d.forecast.Outlook().Stage >= gpu.Watching:
		return seen
	default:
		return max(d.need, seen)
	}
}

// Free says whether the memory of the life that has ended is free for the next on all devices, by looks that are younger than since; or
// who holds it. name gives a process's name, "" if it has none. waited is for how long that was asked: after BlindWait a
// device that can't be read isn't waited for any longer, after roomWait it has to be enough that the next life has room.
func (w *Watch) Free(since, waited time.Duration, name func(pid int) string) (free bool, held string) {
	var all []string
	for _, d := range w.devices {
		if d.sampled >= since && d.blind() {
			if waited < BlindWait {
				all = append(all, fmt.Sprintf("GPU %d can't be read (%s): a fixed time is waited", d.Index, d.sample.Trouble))
			}
			continue
		}
		if d.sampled < since || d.sample.Trouble == gpu.NoTrouble && d.listed < since {
			all = append(all, fmt.Sprintf("GPU %d hasn't been looked at since", d.Index))
			continue
		}
		if until, is := d.faults.Undecided(); is && d.sampled < until {
			all = append(all, fmt.Sprintf("GPU %d: whether its memory's error was contained is seen within %v", d.Index, (until-d.sampled).Round(time.Second)))
			continue
		}
		left := gpu.Left{
			Device: d.Device, Sample: d.sample, Processes: d.processes, Baseline: d.baseline, Need: d.needed(w.Need),
			Shared: w.Sharing == Shared, Patient: waited >= roomWait, Name: name, Mine: func(pid int) bool { return d.pids[pid] },
		}
		if free, held := left.Free(); !free {
			all = append(all, held)
		}
	}
	return len(all) == 0, strings.Join(all, "; ")
}

// blind says that the device's memory can't be read, though nothing is wrong with it.
func (d *device) blind() bool {
	return d.sample.Trouble == gpu.Unpermitted || d.sample.Trouble == gpu.Unsupported || d.sample.Trouble == gpu.Unreadable
}

// Rebase takes what the devices use now for what they use without a worker: a person says so, who was told who has it.
func (w *Watch) Rebase() {
	for _, d := range w.devices {
		mine := slices.ContainsFunc(d.processes.Processes, func(p gpu.Process) bool { return d.pids[p.PID] })
		if d.sampled != 0 && d.sample.Trouble == gpu.NoTrouble && !mine {
			d.baseline, d.need, d.highest = d.sample.Used, 0, 0
		}
	}
}

// MayHold says whether the life may have left memory on a device: it was seen to have some, or nobody could see.
func (w *Watch) MayHold() bool {
	return slices.ContainsFunc(w.all(), func(d *device) bool { return d.highest > 0 || len(d.pids) > 0 || !d.use.Unused })
}

// Bar is why no life may be started on the devices; empty: one may.
func (w *Watch) Bar(now time.Duration) string {
	for _, d := range w.all() {
		if f, is := d.halt(now); is {
			return fmt.Sprintf("GPU %d: %s: not restarting onto it", d.Index, f.Text)
		}
	}
	return ""
}

// halt is what of a device forbids a life on it.
func (d *device) halt(now time.Duration) (gpu.Finding, bool) {
	d.faults.Tick(now)
	if f, is := d.faults.Halt(); is {
		return f, true
	}
	if d.lost < lostAfter {
		return gpu.Finding{}, false
	}
	text := "the driver has lost it; reboot the machine"
	if d.sample.Trouble == gpu.ResetRequired {
		text = "it needs a reset; reset the GPU"
	}
	return gpu.Finding{Device: d.UUID, Action: gpu.Halt, Text: text, Since: d.sampled}, true
}

// Look is what is known of one device.
type Look struct {
	gpu.Device
	Sample    gpu.Sample
	Sampled   time.Duration // 0: never
	Processes gpu.Processes
	Condition gpu.Condition
	Use       gpu.Use
	Looked    bool        // at a life's use of it: Use says something
	Outlook   gpu.Outlook // if Judged
	Judged    bool        // the life serves, and has been looked at
	Hard      bool        // its memory is at the limit in all but name
	Baseline  gpu.Bytes   // used before the life began; -1: not known
	Need      gpu.Bytes   // of a start; 0: not known
	Contexts  gpu.Contexts
	Curve     []gpu.Minute // of the life's last hour, oldest first

	Halt     gpu.Finding // Xid and Text are zero if there is none
	Halted   bool
	Explains gpu.Finding
	Explain  bool
	Notes    []gpu.Finding
	Xids     map[uint64]int
}

// Looks returns what is known of each device, in the order of their indices.
func (w *Watch) Looks(now time.Duration) []Look {
	var all []Look
	for _, d := range w.devices {
		l := Look{
			Device: d.Device, Sample: d.sample, Sampled: d.sampled, Processes: d.processes, Condition: d.condition, Use: d.use, Hard: d.hard && w.serves,
			Baseline: d.baseline, Need: d.needed(w.Need), Contexts: d.contexts, Curve: slices.Clone(d.curve), Notes: d.faults.Notes(), Xids: d.faults.Counts(),
		}
		l.Looked = w.life != 0 && d.sampled != 0
		if d.forecast != nil && w.serves {
			l.Outlook, l.Judged = d.forecast.Outlook(), true
		}
		l.Halt, l.Halted = d.halt(now)
		l.Explains, l.Explain = d.faults.Explains(now)
		all = append(all, l)
	}
	slices.SortStableFunc(all, func(a, b Look) int { return cmp.Compare(a.Index, b.Index) })
	return all
}

// Listed are the PIDs that the driver listed last of a device: by them the next sample of it is judged.
func (w *Watch) Listed(uuid string) []int {
	if d := w.device(uuid); d != nil {
		return d.listedPIDs()
	}
	return nil
}

// ListedOfAll are those of all devices.
func (w *Watch) ListedOfAll() (pids []int) {
	for _, d := range w.devices {
		pids = append(pids, d.listedPIDs()...)
	}
	return pids
}

func (d *device) listedPIDs() (pids []int) {
	for _, p := range d.processes.Processes {
		pids = append(pids, p.PID)
	}
	return pids
}

// Life is the one that was launched last.
func (w *Watch) Life() int64 { return w.life }
