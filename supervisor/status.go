package supervisor

import (
	"context"
	"slices"
	"strings"
	"time"
)

// Status is what there is to say of the life at one moment.
type Status struct {
	Phase    Phase
	State    State
	Since    time.Time // of the state
	Life     Life
	PID      int      // 0: no process, or it isn't known yet
	Upstream Upstream // zero: it isn't known
	Progress string   // while it starts: the latest sign of it, and what it lacks; while it ends: who is still waited for

	EverServed   bool          // some life has served: then streams are held for the next
	ServingSince time.Time     // zero unless a life serves or drains
	Served       time.Duration // likewise, by Clock
	Warmup       time.Duration
	NextStart    time.Time // zero unless it backs off

	Leaving   bool
	Halted    string // why; empty if it isn't
	LastError string
	ErrorAt   time.Time // of LastError
	LastExit  string

	Restart Restart   // under way, its account so far; ID 0: none
	Ended   []Restart // the last few that this runner saw, newest first
	Counts  Counts    // of all that have ended, whatever the runner

	Barred  string   // why no life may be started; empty: one may
	Unfree  bool     // it is halted since the memory of the last life isn't free
	Observe bool     // mode observe
	Would   Would    // restarts that were decided on and not carried out, whatever the runner
	Frozen  Frost    // a freeze in force
	Drained Standing // the gate is held by a person's drain
	Stopped Standing // a person stopped the worker, or it is on its way there
}

// Standing is a person's standing word, for people. Since is zero where there is none.
type Standing struct {
	Since time.Time
	By    string
}

// Frost is a freeze, for people.
type Frost struct {
	Standing
	Until time.Time
	All   bool
	Why   string
}

const endedKept = 8

// snapshot is a Status until the next one.
type snapshot struct {
	Status
	process Process       // nil: none
	next    chan struct{} // closed when there is another
}

// picture is a snapshot of the machine as it is.
func (s *Supervisor) picture() *snapshot {
	m := &s.m
	p := &snapshot{next: make(chan struct{}), Status: Status{
		Phase: m.Phase(), State: m.State, Since: s.wall(m.Since), Life: m.Life, PID: m.PID, Progress: s.progress.words(),
		EverServed: m.Served != 0, Warmup: m.Warmup, Leaving: m.Want == WantLeave, LastError: m.LastError, LastExit: s.lastExit,
		Restart: s.dated(m.Restart), Ended: slices.Clone(s.ended), Counts: m.Counts,
		Barred: m.Barred, Unfree: m.Unfree && m.State == Halted, Observe: m.Observe, Would: m.Would, Drained: s.standing(m.Drain), Stopped: s.standing(m.Stop), Frozen: s.frost(m.Freeze),
	}}
	if s.process != nil {
		p.process = s.process
		p.Upstream = s.process.Upstream()
	}
	if p.Phase == PhaseServing || p.Phase == PhaseDraining {
		p.ServingSince, p.Served = s.wall(m.Served), m.Served
	}
	if m.ErrorAt != 0 {
		p.ErrorAt = s.wall(m.ErrorAt)
	}
	if m.State == BackingOff {
		p.NextStart = s.wall(m.Deadline)
	}
	if m.State == Halted {
		p.Halted = m.LastError
	}
	return p
}

func (s *Supervisor) standing(w Word) Standing {
	if w.At == 0 {
		return Standing{}
	}
	return Standing{Since: s.wall(w.At), By: w.By}
}

func (s *Supervisor) frost(f Freeze) Frost {
	if f.Until == 0 {
		return Frost{}
	}
	return Frost{Standing: s.standing(Word{f.At, f.By}), Until: s.wall(f.Until), All: f.All, Why: f.Why}
}

// show replaces the snapshot and wakes those who wait for the next.
func (s *Supervisor) show() {
	old := s.snapshot.Swap(s.picture())
	close(old.next)
}

// Status returns a snapshot, with the account of the restart under way as it stands now. It doesn't wait.
func (s *Supervisor) Status() Status {
	at := s.snapshot.Load()
	status := at.Status
	status.Progress = at.progress()
	if at.State == Releasing {
		status.Progress = "waiting for GPU memory"
		if held := s.options.Reclaimer.Held(); held != "" {
			status.Progress += ": " + held
		}
	}
	status.Restart = s.sofar(status.Restart)
	return status
}

// progress is what there is to say of a wait at this moment: what is waited for changes without an event.
func (p *snapshot) progress() string {
	if p.process == nil {
		return p.Progress
	}
	switch p.State {
	case Warming:
		what, _ := p.process.Pending()
		if what == "" || strings.Contains(p.Progress, what) {
			return p.Progress
		}
		if p.Progress == "" {
			return what
		}
		return p.Progress + "; " + what
	case Reclaiming, Purging:
		if what, _ := p.process.Pending(); what != "" {
			return "waiting for " + what + " of the old worker"
		}
		return ""
	default:
		return p.Progress
	}
}

// sofar adds to a restart under way what can be said of it before its end.
func (s *Supervisor) sofar(r Restart) Restart {
	if r.ID != 0 && r.Result == Underway {
		r.Took = s.options.Clock() - r.Asked
		r.Tally = s.options.Traffic.Tally(r.ID)
	}
	return r
}

// Follow returns a restart as soon as its Revision is above after, or it has ended, or ctx ends. The error is ErrUnknownRestart for
// one that is neither under way nor among the last few that this runner saw end; the journal may know it.
func (s *Supervisor) Follow(ctx context.Context, id, after int64) (Restart, error) {
	for {
		at := s.snapshot.Load()
		r, ok := at.restart(id)
		if !ok {
			return Restart{}, ErrUnknownRestart
		}
		if r.Revision > after || r.Result != Underway {
			return s.sofar(r), nil
		}
		select {
		case <-at.next:
		case <-s.done:
			return s.sofar(r), nil
		case <-ctx.Done():
			return s.sofar(r), nil
		}
	}
}

func (p *snapshot) restart(id int64) (Restart, bool) {
	if id != 0 && p.Restart.ID == id {
		return p.Restart, true
	}
	for _, r := range p.Ended {
		if r.ID == id {
			return r, true
		}
	}
	return Restart{}, false
}
