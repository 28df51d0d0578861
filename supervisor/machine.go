package supervisor

import (
	"time"
)

// State is where the machine stands. Each has one thing that it waits for.
type State uint8

const (
	Down        State = iota // nothing has happened yet
	Finding                  // a new runner looks for the life that its record notes
	Launching                // the life is noted; the driver starts it
	Warming                  // its main process runs; it isn't ready yet
	Serving                  // the gate is open for it
	Holding                  // it could serve; a person's drain has the gate hold
	Draining                 // the gate holds; the streams in flight run on to their end
	Cutting                  // those that were still there are being cut, by permission
	Terminating              // TERM was sent to its main process
	Killing                  // KILL was sent to all of it
	Reclaiming               // its main process is gone; until nothing of it is alive
	Purging                  // something of it still was: killed again
	BackingOff               // no life; the next start waits a while after a crash
	Frozen                   // no life; after a crash the next start waits for the end of a freeze that said so
	Halted                   // too many crashes: given up until a person says otherwise; the gate refuses
	Stopped                  // a person stopped the worker; the gate refuses
	Left                     // the sidecar is done with the worker and may go
	Releasing                // nothing of the life is alive; until its memory on the GPU is free for the next
)

const numStates = int(Releasing) + 1

var stateNames = [numStates]string{
	Down:        "down",
	Finding:     "finding",
	Launching:   "launching",
	Warming:     "warming",
	Serving:     "serving",
	Holding:     "holding",
	Draining:    "draining",
	Cutting:     "cutting",
	Terminating: "terminating",
	Killing:     "killing",
	Reclaiming:  "reclaiming",
	Purging:     "purging",
	BackingOff:  "backing_off",
	Frozen:      "frozen",
	Halted:      "halted",
	Stopped:     "stopped",
	Left:        "left",
	Releasing:   "releasing",
}

// String gives the state's name.
func (s State) String() string { return nameOf(stateNames[:], uint8(s)) }

// MarshalText gives the state's name.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Phase is what people see of a state.
type Phase uint8

const (
	PhaseDown Phase = iota
	PhaseStarting
	PhaseServing
	PhaseDraining
	PhaseStopping
	PhaseReclaiming
	PhaseHalted
	PhaseStopped
)

const numPhases = int(PhaseStopped) + 1

var phaseNames = [numPhases]string{
	PhaseDown:       "down",
	PhaseStarting:   "starting",
	PhaseServing:    "serving",
	PhaseDraining:   "draining",
	PhaseStopping:   "stopping",
	PhaseReclaiming: "reclaiming",
	PhaseHalted:     "halted",
	PhaseStopped:    "stopped",
}

// String gives the phase's name.
func (p Phase) String() string { return nameOf(phaseNames[:], uint8(p)) }

// MarshalText gives the phase's name.
func (p Phase) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText takes a name that MarshalText gave.
func (p *Phase) UnmarshalText(text []byte) error { return pickName(phaseNames[:], text, p) }

// phases joins the many states to the few phases.
var phases = [numStates]Phase{
	Down:        PhaseDown,
	Finding:     PhaseDown, // but see Machine.Phase
	Launching:   PhaseStarting,
	Warming:     PhaseStarting,
	Serving:     PhaseServing,
	Holding:     PhaseDraining,
	Draining:    PhaseDraining,
	Cutting:     PhaseDraining,
	Terminating: PhaseStopping,
	Killing:     PhaseStopping,
	Reclaiming:  PhaseReclaiming,
	Purging:     PhaseReclaiming,
	BackingOff:  PhaseDown,
	Frozen:      PhaseDown,
	Halted:      PhaseHalted,
	Stopped:     PhaseStopped,
	Left:        PhaseStopped,
	Releasing:   PhaseReclaiming,
}

// Want is what people want of the worker.
type Want uint8

const (
	WantRun   Want = iota // that it serves
	WantStop              // that it stays stopped
	WantLeave             // that the sidecar ends, and its worker with it
)

const numWants = int(WantLeave) + 1

// Machine is all that the supervisor knows of the worker's life, as a plain value: it can be copied, compared and, but for
// Limits, Observe, Reclaims and Booted, written down for the next runner. All times are Clock's.
type Machine struct {
	State State
	Life  Life          // the last that was started or noted; 0: none ever
	PID   int           // of its main process; 0: none, or not known
	Since time.Duration // when State was entered

	// Deadline is when an EventTimer is due; 0: there is no timer. It is part of the machine, not an effect, so a timer can
	// neither be forgotten nor outlive what it was set for.
	Deadline time.Duration

	Want     Want
	Stop     Word    // with WantStop
	Drain    Word    // the gate holds, whatever life there is, until a person opens it
	Freeze   Freeze  // no life that serves is ended by us
	Restart  Restart // under way; its ID is 0 if none is
	Hurry    bool    // leaving without patience
	Now      bool    // a person said to cut at once what is in the way of stopping Life
	MayCut   bool    // a grave reason allows to cut it at the drain deadline
	Hasty    bool    // the drain deadline is a short one
	Overdue  bool    // the drain deadline has passed; waits for the gate's last word
	Barrier  uint32  // counts how often the gate was opened: its answers from before the last time are not heard
	Failed   bool    // Life ended by itself, or never got ready
	Occupied bool    // the life was given up though something of it may be alive: nothing is started beside it
	GivenUp  State   // with Occupied: as what the life is looked for when a person says so
	Unfree   bool    // the machine gave up waiting for the memory of the last life: nothing is started onto it
	Barred   string  // why no life may be started, as where a GPU needs a reset (bar.go); empty: one may
	ByBar    bool    // Halted for no other reason

	// In Finding: the state that the record notes, to be taken up again, and its deadline.
	Noted         State
	NotedDeadline time.Duration

	Launched time.Duration // when Life was noted
	Served   time.Duration // when the last life to do so began to serve; 0: none ever did
	Warmup   time.Duration // how long that one took from its launch

	Failures int           // crashes in a row, without a life that served for a while between
	Backoff  time.Duration // to wait before the next start
	Crashes  Crashes
	Seed     uint64 // of the jitter

	Would Would // restarts that were decided on and not carried out

	Restarts   int64   // the last ID given to one
	Counts     Counts  // how many have ended how
	Unrecorded Restart // ended, and the journal has not said yet that it has it
	LastError  string
	ErrorAt    time.Duration // when it was LastError; 0: there is none

	Limits   Limits
	Observe  bool // mode observe
	Reclaims bool // lives use memory that may come back later than they end
	Booted   bool
}

// Word is a person's standing word: since when it is in force, and whose it is. At 0: nobody said so.
type Word struct {
	At time.Duration
	By string
}

// Phase is the public phase. While a new runner looks for a life, people see the phase that the old one left it in.
func (m *Machine) Phase() Phase {
	if m.State == Finding {
		return phases[m.Noted]
	}
	return phases[m.State]
}

// MaxCrashes is how many crashes are remembered, and so the largest CrashesPerHour.
const MaxCrashes = 60

// Crashes are the times of the last ones, newest first; 0: none.
type Crashes [MaxCrashes]time.Duration

// add remembers one more.
func (c *Crashes) add(at time.Duration) {
	copy(c[1:], c[:])
	c[0] = at
}

// since counts those after a time.
func (c *Crashes) since(t time.Duration) (n int) {
	for n < len(c) && c[n] != 0 && c[n] > t {
		n++
	}
	return n
}
