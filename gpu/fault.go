package gpu

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Action is what is done about an Xid.
type Action uint8

// The actions. Those behind Halt depend on what else happens, and can't be configured.
const (
	Ignore  Action = iota // counted
	Note                  // people are told
	Restart               // the worker, but only if it is sick or has ended: the Xid explains that, and may be a neighbour's
	Halt                  // no worker is started on this GPU until it has been repaired

	IfSick    // 43: Restart, but never a sign that the GPU is broken
	Cleanup   // 45: nothing where we killed a process ourselves, else Note
	Contained // 48: wait for what follows; 94 makes it Restart, all else and nothing Halt
	Twice     // 109: Restart; a second time within an hour Halt
	Link      // 74, 144 to 150: Note where the worker uses one GPU, Halt where more
	Obey      // 154, 999 and those that we don't know: Note; the recovery action that the driver wants decides
)

var actions = [...]string{"ignore", "note", "restart", "halt", "if sick", "cleanup", "contained", "twice", "link", "obey"}

func (a Action) String() string { return actions[a] }

// ParseAction reads a word of the configuration.
func ParseAction(word string) (Action, error) {
	words := actions[:Halt+1]
	if i := slices.Index(words, word); i >= 0 {
		return Action(i), nil
	}
	return 0, fmt.Errorf("unknown action %q: want one of %s", word, strings.Join(words, ", "))
}

// Fault is what is known of an Xid.
type Fault struct {
	Xid     uint64
	Meaning string // goes on behind "Xid 79: "
	Action  Action
	Source  string // of Action
	Remedy  string // "" for a reset, or a reboot if that doesn't help
}

// FaultOf returns what is known of an Xid, or that nothing is.
func FaultOf(xid uint64) (f Fault, known bool) {
	i, known := slices.BinarySearchFunc(faults, xid, func(f Fault, x uint64) int { return cmp.Compare(f.Xid, x) })
	if !known {
		return Fault{Xid: xid, Meaning: "unknown to this program", Action: Obey, Source: "none"}, false
	}
	return faults[i], true
}

// Overrides are the user's actions, by Xid: Ignore, Note, Restart or Halt.
type Overrides map[uint64]Action

const (
	// ownKill is for how long after a kill of ours Xid 45 is expected; ownKillLate is by how much the driver may be faster than we.
	ownKill, ownKillLate = time.Minute, 10 * time.Second
	// contained is how long Xid 94 or 95 may follow, or come before, 48.
	contained = 30 * time.Second
	// explains is for how long an Xid explains that a worker fails.
	explains = 5 * time.Minute
	// often times within repeats, the same Xid that a restart is the remedy for says that it is none. One fault has the driver tell
	// several at once: those within burst are one.
	often, repeats, burst = 3, time.Hour, time.Minute
	// noted is how long people are told.
	noted = 24 * time.Hour
	// mostXids is how many Xids are told apart; all other unknown ones are counted as 999.
	mostXids = 200
)

// unknownXid is the driver's own number for an Xid that has none.
const unknownXid = 999

// FaultRules are what is done about the Xids of one device.
type FaultRules struct {
	Device    string // UUID
	Overrides Overrides
	GPUs      int // that the worker uses
	// Shared says that others use the device too. Xids of applications (13, 31, 43, 45) may then be theirs, since the driver
	// doesn't tell whose they are: they never count towards Halt.
	Shared bool
}

// Finding is something that was found out about a device.
type Finding struct {
	Xid    uint64 // 0: none
	Device string
	Action Action // Note, Restart or Halt; of what Event returns also Ignore
	Text   string // for people: what it is, and what to do
	Since  time.Duration
}

// cause is why there is a halt. The numbers are part of what Append writes.
type cause uint8

const (
	noHalt      cause = iota
	byXid             // the table or the user says so
	byRepeat          // a restart was not the remedy
	uncontained       // 48 without 94
	byRecovery        // the driver wants it
	byRows            // remapping failed

	causes
)

type halt struct {
	cause cause
	xid   uint64
	since time.Duration
}

// seen is what was told of one Xid.
type seen struct {
	count     int
	last      time.Duration
	incidents []time.Duration // of the last hour, bursts told once; often at the most
	noted     bool            // people are told
	restarts  bool            // it explains a failure
}

// Faults follows one device: what its Xids, its recovery action and its remapped rows say of whether a worker may be started on it.
//
// All times are since one beginning, and never go back. What Append writes is good for as long as that beginning is the machine's
// boot: after another boot throw it away, it ends each halt.
//
// Events may be lost, so the driver is also asked how the device is: call Recovery and Condition at the start, each minute, and after
// each event.
type Faults struct {
	FaultRules

	now      time.Duration
	xids     map[uint64]*seen
	halt     halt
	recovery Recovery
	pending  time.Duration // when a row began to wait for a reset; -1: none does
	failed   bool          // to remap a row
	obeyed   bool          // the recovery action was another than none during this halt
	none     bool          // and is none again
	killed   time.Duration // last kill of ours; -1: never
	deadline time.Duration // for Xid 94 to come; -1: not waiting
	waiting  uint64        // the Xid that waits
}

// NewFaults begins with a device of which nothing bad is known.
func NewFaults(r FaultRules) *Faults {
	return &Faults{FaultRules: r, xids: map[uint64]*seen{}, pending: -1, killed: -1, deadline: -1}
}

// Event takes an Xid and returns what is done about it.
func (f *Faults) Event(xid uint64, now time.Duration) Finding {
	now = f.Tick(now)
	fault, known := FaultOf(xid)
	if override, ok := f.Overrides[xid]; ok {
		fault.Action = override
	}
	if fault.Action == Cleanup && f.killed >= 0 && now-f.killed <= ownKill {
		return Finding{xid, f.Device, Ignore, f.text(xid, "expected after a kill of ours"), now}
	}
	if _, has := f.xids[xid]; !has && !known && len(f.xids) >= mostXids {
		xid = unknownXid
	}
	s := f.xids[xid]
	if s == nil {
		s = &seen{}
		f.xids[xid] = s
	}
	s.count++
	s.last = now
	s.incident(now)
	if xid == 94 {
		f.deadline = -1 // this is what 48 waited for
	}
	action := f.resolve(xid, fault.Action, s)
	switch action {
	case Note:
		s.noted = true
	case Restart:
		s.restarts = true
	default:
	}
	return Finding{xid, f.Device, action, f.text(xid, ""), now}
}

// resolve says what an action comes to now.
func (f *Faults) resolve(xid uint64, a Action, s *seen) Action {
	again := func(times int) Action {
		if len(s.incidents) < times || f.Shared && ofApplication(xid) {
			return Restart
		}
		f.stop(byRepeat, xid)
		return Halt
	}
	if f.overridden(xid, a) {
		f.stop(byRecovery, xid)
		return Halt
	}
	switch a {
	case Ignore:
		return Ignore
	case Note, Cleanup, Obey:
		return Note
	case IfSick:
		return Restart
	case Restart:
		return again(often)
	case Twice:
		return again(2)
	case Contained:
		if c := f.xids[94]; c != nil && f.now-c.last <= contained {
			return Restart
		}
		if f.deadline < 0 {
			f.deadline, f.waiting = f.now+contained, xid
		}
		return Restart
	case Link:
		if f.GPUs <= 1 {
			return Note
		}
	case Halt:
	}
	f.stop(byXid, xid)
	return Halt
}

// overridden: the driver wants the device repaired, so that a restart is not enough. 154 only says that this is another than before.
func (f *Faults) overridden(xid uint64, a Action) bool {
	if f.recovery == RecoverNone || f.Shared && ofApplication(xid) {
		return false
	}
	switch a {
	case IfSick, Restart, Twice, Contained:
		return true
	case Obey:
		return xid != 154
	case Ignore, Note, Halt, Cleanup, Link:
	}
	return false
}

func ofApplication(xid uint64) bool { return xid == 13 || xid == 31 || xid == 43 || xid == 45 }

// incident adds one, unless it is of the same burst as the last.
func (s *seen) incident(now time.Duration) {
	s.forget(now)
	if n := len(s.incidents); n > 0 && now-s.incidents[n-1] <= burst {
		return
	}
	s.incidents = append(s.incidents, now)
	if len(s.incidents) > often {
		s.incidents = s.incidents[1:]
	}
}

func (s *seen) forget(now time.Duration) {
	s.incidents = slices.DeleteFunc(s.incidents, func(i time.Duration) bool { return now-i > repeats })
}

// stop begins a halt. The first cause stays, since others follow from it, unless more is to be done about a later one.
func (f *Faults) stop(c cause, xid uint64) {
	f.deadline = -1
	f.obeyed, f.none = f.recovery != RecoverNone, false
	before, _ := FaultOf(f.halt.xid)
	now, _ := FaultOf(xid)
	switch {
	case f.halt.cause == noHalt:
		f.halt = halt{c, xid, f.now}
	case c == byXid && now.Remedy == reboot && before.Remedy != reboot:
		f.halt.cause, f.halt.xid = c, xid
	}
}

// Recovery takes what the driver wants done with the device. Leave it out where the driver doesn't know this.
func (f *Faults) Recovery(r Recovery, now time.Duration) {
	f.Tick(now)
	if r < RecoverNone || r > recoverOther {
		r = recoverOther
	}
	changed := r != f.recovery
	f.recovery = r
	switch {
	case r == RecoverNone:
		f.none = f.obeyed
	case changed:
		// One that was there when the operator cleared the halt doesn't begin it again.
		xid := uint64(0)
		if f.deadline >= 0 {
			xid = f.waiting
		}
		f.stop(byRecovery, xid)
	}
}

// Condition takes how the device's remapped rows are; what isn't known in it changes nothing. Its recovery action is taken too.
func (f *Faults) Condition(c Condition, now time.Duration) {
	now = f.Tick(now)
	if c.RowsPending != nil {
		switch {
		case !*c.RowsPending:
			f.pending = -1
		case f.pending < 0:
			f.pending = now
		}
	}
	if c.RowsFailed != nil {
		if *c.RowsFailed && !f.failed {
			f.stop(byRows, 0)
		}
		f.failed = *c.RowsFailed
	}
	if c.Recovery != nil {
		f.Recovery(*c.Recovery, now)
	}
}

// Readable says that the device could be read through a fresh handle. If the driver wanted something done with it, and wants nothing
// any more, this ends the halt.
func (f *Faults) Readable(now time.Duration) {
	now = f.Tick(now)
	if f.halt.cause == noHalt || !f.none {
		return
	}
	f.Clear(now)
	if f.failed {
		f.stop(byRows, 0)
	}
}

// Clear ends a halt, and forgets what led to it: the operator says so. It begins again only with something new.
func (f *Faults) Clear(now time.Duration) {
	f.Tick(now)
	f.halt, f.deadline, f.obeyed, f.none = halt{}, -1, false, false
	for _, s := range f.xids {
		s.incidents, s.noted, s.restarts = nil, false, false
	}
}

// OwnKill says that we kill processes on the device now, at which the driver tells Xid 45.
func (f *Faults) OwnKill(now time.Duration) {
	now = f.Tick(now)
	f.killed = now
	if s := f.xids[45]; s != nil && s.noted && now-s.last <= ownKillLate {
		s.noted = false // it was told before we came to say so
	}
}

// Tick lets time go by: what waits for another Xid waits no longer than that. It returns the time.
func (f *Faults) Tick(now time.Duration) time.Duration {
	f.now = max(f.now, now.Truncate(time.Millisecond))
	if f.deadline >= 0 && f.now > f.deadline {
		f.stop(uncontained, f.waiting)
	}
	return f.now
}

// Undecided says until when it isn't known whether there is to be a halt: a worker that has ended is better not started before.
func (f *Faults) Undecided() (until time.Duration, undecided bool) {
	return f.deadline, f.deadline >= 0
}

// Halt says why no worker is to be started on the device. One that lives may go on.
func (f *Faults) Halt() (Finding, bool) {
	h := f.halt
	var what string
	switch h.cause {
	case noHalt, causes:
		return Finding{}, false
	case byXid:
		what = f.text(h.xid, "")
	case byRepeat:
		what = f.text(h.xid, "again within an hour, so a restart is no remedy")
	case uncontained:
		what = f.text(h.xid, "it was not contained")
	case byRecovery:
		what = "the driver wants the GPU to be repaired"
		if h.xid != 0 {
			what = f.text(h.xid, "")
		}
	case byRows:
		what = "a bad row of the GPU's memory could not be remapped"
	}
	fault, _ := FaultOf(h.xid)
	remedy := cmp.Or(recoveries[f.recovery], fault.Remedy, "reset the GPU, or reboot the machine if that doesn't help")
	return Finding{h.xid, f.Device, Halt, what + "; " + remedy + ", then `autoglm-sidecar start`", h.since}, true
}

// recoverOther is any recovery action that this program doesn't know.
const recoverOther = RecoverSystemReboot + 1

// recoveries say what the driver wants done.
var recoveries = [...]string{
	RecoverNone:         "",
	RecoverReset:        "the driver wants a reset: reset the GPU",
	RecoverReboot:       "the driver wants a reboot: reboot the machine",
	RecoverDrainP2P:     "the driver wants traffic between GPUs ended: end all processes that use this GPU with others",
	RecoverDrainReset:   "the driver wants a reset when the GPU is idle: end all processes on it, and reset it",
	RecoverIMEX:         "the driver wants the IMEX domain recovered: do that",
	RecoverBusReset:     "the driver wants a reset of the bus: reset the GPU's PCI bus",
	RecoverSystemReboot: "the driver wants a reboot: reboot the machine",
	recoverOther:        "the driver wants something that this program doesn't know: see `nvidia-smi -q`",
}

// Explains returns the latest Xid of the last 5 minutes that a restart is the remedy for. It explains why a worker fails. It is no
// reason to restart one that doesn't: the driver doesn't tell whose fault it was.
func (f *Faults) Explains(now time.Duration) (Finding, bool) {
	now = f.Tick(now)
	var found Finding
	for xid, s := range f.xids {
		if !s.restarts || now-s.last > explains {
			continue
		}
		if found.Xid == 0 || s.last > found.Since || s.last == found.Since && xid < found.Xid {
			found = Finding{Xid: xid, Since: s.last}
		}
	}
	if found.Xid == 0 {
		return Finding{}, false
	}
	more := ""
	if f.Shared && ofApplication(found.Xid) {
		more = "it may be of another process on this GPU"
	}
	return Finding{found.Xid, f.Device, Restart, f.text(found.Xid, more), found.Since}, true
}

// Notes are what people are to be told, besides a halt, by Xid: of the last day, and for as long as it lasts.
func (f *Faults) Notes() []Finding {
	var notes []Finding
	if f.pending >= 0 {
		notes = append(notes, Finding{0, f.Device, Note, "a bad row of the GPU's memory waits to be remapped; reset the GPU at the next maintenance", f.pending})
	}
	for _, xid := range slices.Sorted(maps.Keys(f.xids)) {
		if s := f.xids[xid]; s.noted && f.now-s.last <= noted {
			fault, _ := FaultOf(xid)
			text := f.text(xid, "")
			if fault.Remedy != "" {
				text += "; " + fault.Remedy
			}
			notes = append(notes, Finding{xid, f.Device, Note, text, s.last})
		}
	}
	return notes
}

// Counts are how often each Xid was told, without the 45s after our own kills.
func (f *Faults) Counts() map[uint64]int {
	counts := make(map[uint64]int, len(f.xids))
	for xid, s := range f.xids {
		counts[xid] = s.count
	}
	return counts
}

// text names an Xid for people.
func (f *Faults) text(xid uint64, more string) string {
	fault, _ := FaultOf(xid)
	if more != "" {
		more = " (" + more + ")"
	}
	return fmt.Sprintf("Xid %d: %s%s", xid, fault.Meaning, more)
}
