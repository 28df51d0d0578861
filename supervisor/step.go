package supervisor

import "time"

// action is what one event leads to in one state.
type action func(*turn)

// wishes are the events that mean the same in every state. Those of people only note what is wanted; pursue then does what
// the state allows (command.go).
var wishes = [numEvents]action{
	EventBoot:      boot,
	EventRestart:   restart,
	EventStop:      stop,
	EventStart:     start,
	EventDrain:     drainByHand,
	EventOpen:      openByHand,
	EventFreeze:    freeze,
	EventUnfreeze:  unfreeze,
	EventThaw:      thaw,
	EventLeave:     leave,
	EventHurry:     hurry,
	EventJournaled: journaled,
	EventTrouble:   trouble,
	EventBar:       bar,
}

// facts is the table: what a fact about the current life leads to. Where it says nothing the fact comes too late, from a
// question that a former state had asked, and is dropped.
var facts = table{
	Finding: {
		EventFound:      found,
		EventMissing:    missing,
		EventFindFailed: findFailed,
		EventTimer:      (*turn).find,
	},
	Launching: {
		EventStarted:     started,
		EventStartFailed: startFailed,
	},
	Warming: {
		EventProgress: progressed,
		EventReady:    (*turn).serve,
		EventNotReady: notReady,
		EventTimer:    startOverdue,
		EventExited:   startCrashed,
	},
	Serving: {
		EventExited: crashed,
	},
	Holding: {
		EventExited: crashed,
	},
	Draining: {
		EventHeld:    judge,
		EventDrained: (*turn).hold,
		EventTimer:   drainOverdue,
		EventExited:  crashed,
	},
	Cutting: {
		EventHeld:    judge,
		EventDrained: (*turn).hold,
		EventTimer:   (*turn).terminate,
		EventExited:  crashed,
	},
	Terminating: {
		EventExited: exitedAsAsked,
		EventTimer:  outstayed,
	},
	Killing: {
		EventExited: exitedAsAsked,
		EventTimer:  (*turn).purge,
	},
	Reclaiming: {
		EventReclaimed:     (*turn).release,
		EventReclaimFailed: reclaimFailed,
		EventTimer:         outlived,
		EventHeld:          countOpen,
	},
	Purging: {
		EventReclaimed:     (*turn).release,
		EventReclaimFailed: reclaimFailed,
		EventTimer:         reclaimOverdue,
		EventHeld:          countOpen,
	},
	Releasing: {
		EventReleased: (*turn).next,
		EventTimer:    releaseOverdue,
		EventHeld:     countOpen,
	},
	BackingOff: {
		EventTimer: (*turn).launch,
		EventHeld:  countOpen,
	},
	Down:    {}, // only EventBoot leads out of it
	Frozen:  {}, // the end of the freeze, or a person's word
	Halted:  {}, // a person's word
	Stopped: {}, // a person's word
	Left:    {}, // nothing
}

type table [numStates][numEvents]action

// Step decides what comes of one event: it returns the machine as it is then, and what is to be done, in order. The machine
// must be noted in the record before any of it is done. An event of another life than the machine's, and a timer that is not
// due, lead to nothing.
func Step(m Machine, e Event, now time.Duration) (Machine, []Effect) { return step(&facts, m, e, now) }

// step is Step by any table: a test takes the barrier out of one and must see streams cut.
func step(facts *table, m Machine, e Event, now time.Duration) (Machine, []Effect) {
	if e.Life != 0 && e.Life != m.Life {
		return m, nil
	}
	if e.Kind == EventTimer && (m.Deadline == 0 || now < m.Deadline) {
		return m, nil
	}
	act := wishes[e.Kind]
	if act == nil && e.Life != 0 {
		act = facts[m.State][e.Kind]
	}
	if act == nil {
		return m, nil
	}
	t := &turn{m: m, e: e, now: now}
	act(t)
	return t.m, t.effects
}
