package supervisor

import (
	"time"

	"autoglm-sidecar/health"
)

// EventKind is what happened.
type EventKind uint8

// Wishes, and what else means the same in every state. They name no life: Event.Life is 0.
const (
	EventBoot      EventKind = iota // a runner begins, with a new machine or the one from the record; comes once, and first but for EventBar
	EventRestart                    // By, Reason, Why, Now, Hasty, Ask
	EventStop                       // a person wants it stopped: By, Now, Ask
	EventStart                      // a person wants it started: Ask
	EventDrain                      // a person wants the gate held and the worker left alone: By, Ask
	EventOpen                       // and takes that back: Ask
	EventFreeze                     // a person wants no life ended that serves: By, Why, For, All, Ask
	EventUnfreeze                   // and takes that back: Ask
	EventThaw                       // Machine.Freeze.Until has come
	EventLeave                      // the sidecar is to end
	EventHurry                      // and at once
	EventJournaled                  // Restart: the journal has it
	EventTrouble                    // Why: something went wrong that changes nothing by itself; Restart, if the journal could not keep it
	EventBar                        // Why no life may be started from now on; empty: one may
)

// Facts about a life, which they name. What a fact leads to depends on the state: the table in step.go.
const (
	EventTimer         EventKind = iota + EventBar + 1 // Machine.Deadline has come; Why: what the life is still waited for, if known
	EventStarted                                       // PID: its main process exists
	EventStartFailed                                   // Why: it doesn't, and nothing of the life is alive
	EventFound                                         // PID: a life that an earlier runner started is alive
	EventMissing                                       // nothing of it is
	EventFindFailed                                    // Why nobody can tell
	EventProgress                                      // it gets on with becoming ready
	EventReady                                         // it is ready
	EventNotReady                                      // Why it won't be
	EventHeld                                          // the gate's answer to EffectHold: Barrier, InFlight
	EventDrained                                       // the gate: the last stream has left
	EventExited                                        // Exit: its main process is gone
	EventReclaimed                                     // nothing of it is alive
	EventReclaimFailed                                 // Why nobody can tell
	EventReleased                                      // its memory is free
)

const numEvents = int(EventReleased) + 1

var eventNames = [numEvents]string{
	EventBoot:          "boot",
	EventRestart:       "restart",
	EventStop:          "stop",
	EventStart:         "start",
	EventDrain:         "drain",
	EventOpen:          "open",
	EventFreeze:        "freeze",
	EventUnfreeze:      "unfreeze",
	EventThaw:          "thaw",
	EventLeave:         "leave",
	EventHurry:         "hurry",
	EventJournaled:     "journaled",
	EventTrouble:       "trouble",
	EventBar:           "bar",
	EventTimer:         "timer",
	EventStarted:       "started",
	EventStartFailed:   "start_failed",
	EventFound:         "found",
	EventMissing:       "missing",
	EventFindFailed:    "find_failed",
	EventProgress:      "progress",
	EventReady:         "ready",
	EventNotReady:      "not_ready",
	EventHeld:          "held",
	EventDrained:       "drained",
	EventExited:        "exited",
	EventReclaimed:     "reclaimed",
	EventReclaimFailed: "reclaim_failed",
	EventReleased:      "released",
}

// String gives the event's name.
func (k EventKind) String() string { return nameOf(eventNames[:], uint8(k)) }

// Event is something that happened. Which fields mean anything is said with its kind.
type Event struct {
	Kind EventKind
	Life Life

	By      string
	Reason  health.Reason
	Now     bool
	Hasty   bool
	For     time.Duration
	All     bool
	Ask     int64 // names who waits for the answer; 0: nobody
	Restart int64
	Of      Life // of EventRestart: the life that is to be replaced; 0: whichever there is

	PID      int
	Barrier  uint32
	InFlight int
	Exit     Exit
	Why      string
}

// EffectKind is what is to be done.
type EffectKind uint8

const (
	EffectAnswer    EffectKind = iota // tell who asked: Ask, Restart, Joined, Why it is refused, and if by trust, Withheld
	EffectLaunch                      // start Life: EventStarted or EventStartFailed
	EffectFind                        // look for Life by PID: EventFound, EventMissing or EventFindFailed
	EffectWatch                       // wait for the end of Life's main process: EventExited
	EffectAwait                       // until Life is ready: EventReady or EventNotReady, and EventProgress on the way
	EffectTerminate                   // TERM to Life's main process
	EffectKill                        // KILL to all of Life
	EffectReclaim                     // until nothing of Life is alive: EventReclaimed or EventReclaimFailed
	EffectOpen                        // the gate, for Life
	EffectHold                        // the gate, against Life: EventHeld with the same Barrier, and once EventDrained
	EffectCut                         // the streams in flight on Life: Cause
	EffectRefuse                      // at the gate: Why, for clients
	EffectLeave                       // at the gate
	EffectMark                        // where the account of Restart begins, for the relay's counts
	EffectJournal                     // keep Ended: EventJournaled
	EffectFinish                      // the supervisor is done
	EffectRelease                     // until Life's memory is free: EventReleased
)

const numEffects = int(EffectRelease) + 1

var effectNames = [numEffects]string{
	EffectAnswer:    "answer",
	EffectLaunch:    "launch",
	EffectFind:      "find",
	EffectWatch:     "watch",
	EffectAwait:     "await",
	EffectTerminate: "terminate",
	EffectKill:      "kill",
	EffectReclaim:   "reclaim",
	EffectOpen:      "open",
	EffectHold:      "hold",
	EffectCut:       "cut",
	EffectRefuse:    "refuse",
	EffectLeave:     "leave",
	EffectMark:      "mark",
	EffectJournal:   "journal",
	EffectFinish:    "finish",
	EffectRelease:   "release",
}

// String gives the effect's name.
func (k EffectKind) String() string { return nameOf(effectNames[:], uint8(k)) }

// Effect is something to be done, in the order in which Step gave it. Which fields mean anything is said with its kind.
type Effect struct {
	Kind EffectKind
	Life Life

	Ask     int64
	Restart int64
	Joined  bool
	Ended   Restart
	PID     int
	Barrier uint32
	Cause   CutCause
	Why     string

	Withheld Withheld
}

// turn is one step while it is being taken.
type turn struct {
	m       Machine
	e       Event
	now     time.Duration
	effects []Effect
}

// do asks for an effect on the current life.
func (t *turn) do(kind EffectKind) { t.effect(Effect{Kind: kind, Life: t.m.Life}) }

func (t *turn) effect(e Effect) { t.effects = append(t.effects, e) }

// enter changes the state. It ends the timer of the state before, and books the time spent there on the restart under way.
func (t *turn) enter(s State) {
	if t.m.Restart.ID != 0 {
		t.m.Restart.Spent[t.m.Phase()] += t.now - max(t.m.Since, t.m.Restart.Asked)
		t.m.Restart.Revision++
	}
	t.m.State, t.m.Since, t.m.Deadline = s, t.now, 0
}

// wait sets the state's timer.
func (t *turn) wait(d time.Duration) { t.m.Deadline = t.now + d }
