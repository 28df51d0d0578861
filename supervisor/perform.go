package supervisor

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"
)

// perform does what Step asked for. What the gate, the account and people are told is done here and now, in order: it takes a mutex
// and no time. What is asked of processes takes its own time on goroutines of its own, and comes back as an event. noted is why
// the machine could not be stored, if so.
func (s *Supervisor) perform(e Effect, noted error) {
	switch e.Kind {
	case EffectAnswer:
		// answer does it, once the snapshot shows what was begun.
	case EffectOpen:
		s.options.Gate.Open(e.Life, s.process.Upstream())
	case EffectHold:
		n := s.options.Gate.Hold(e.Life)
		s.post(Event{Kind: EventHeld, Life: e.Life, Barrier: e.Barrier, InFlight: n})
	case EffectCut:
		s.options.Gate.Cut(e.Life, e.Cause)
	case EffectRefuse:
		s.options.Gate.Refuse(e.Why)
	case EffectLeave:
		s.options.Gate.Leave()
	case EffectMark:
		s.options.Traffic.Mark(e.Restart)
	case EffectJournal:
		s.keep(e.Ended)
	case EffectFinish:
		s.finished = true
	case EffectLaunch:
		s.launch(e.Life, noted)
	case EffectFind:
		s.find(e.Life, e.PID)
	case EffectWatch:
		s.watch(e.Life, s.process)
	case EffectAwait:
		s.await(e.Life, s.process)
	case EffectTerminate:
		s.signal("terminate", e.Life, s.process.Terminate)
	case EffectKill:
		s.signal("kill", e.Life, s.process.Kill)
	case EffectReclaim:
		s.reclaim(e.Life, s.process)
	case EffectRelease:
		s.release(e.Life)
	}
}

func (s *Supervisor) post(e Event) { s.mail.put(letter{Event: e}) }

// answer tells those who asked.
func (s *Supervisor) answer(effects []Effect) {
	for _, e := range effects {
		if e.Kind != EffectAnswer || s.asks[e.Ask] == nil {
			continue
		}
		a := answer{asked: Asked{Restart: e.Restart, Joined: e.Joined, Life: e.Life}}
		switch {
		case e.Withheld != NotWithheld:
			a = answer{err: e.Withheld.err(e.Why)}
		case e.Why == "":
		case e.Why == byLeaving:
			a = answer{err: ErrLeaving}
		case e.Why == s.m.Barred:
			a = answer{err: fmt.Errorf("%w: %s", ErrBarred, e.Why)}
		default:
			a = answer{err: Refusal(e.Why)}
		}
		s.asks[e.Ask] <- a
		delete(s.asks, e.Ask)
	}
}

// launch starts a life that is noted, and no other.
func (s *Supervisor) launch(life Life, noted error) {
	s.process, s.progress = nil, nil
	if noted != nil {
		s.post(Event{Kind: EventStartFailed, Life: life, Why: noted.Error()})
		return
	}
	ctx := s.question
	s.errands.Go(func() {
		p, err := s.options.Driver.Start(ctx, life)
		if err != nil {
			s.post(Event{Kind: EventStartFailed, Life: life, Why: err.Error()})
			return
		}
		s.mail.put(letter{Event: Event{Kind: EventStarted, Life: life, PID: p.PID()}, process: p})
	})
}

func (s *Supervisor) find(life Life, pid int) {
	ctx := s.question
	s.errands.Go(func() {
		p, found, err := s.options.Driver.Find(ctx, life, pid)
		switch {
		case err != nil:
			s.post(Event{Kind: EventFindFailed, Life: life, Why: err.Error()})
		case !found:
			s.post(Event{Kind: EventMissing, Life: life})
		default:
			s.mail.put(letter{Event: Event{Kind: EventFound, Life: life, PID: p.PID()}, process: p})
		}
	})
}

// watch waits for the exit, through every state of the life.
func (s *Supervisor) watch(life Life, p Process) {
	s.errands.Go(func() {
		for {
			exit, err := p.Wait(s.ctx)
			switch {
			case err == nil:
				s.post(Event{Kind: EventExited, Life: life, Exit: exit})
				return
			case s.ctx.Err() != nil:
				return
			}
			s.post(Event{Kind: EventTrouble, Why: fmt.Sprintf("wait for life %d: %v", life, err)})
			select {
			case <-s.ctx.Done():
				return
			case <-time.After(s.options.Limits.FindRetry):
			}
		}
	})
}

func (s *Supervisor) await(life Life, p Process) {
	ctx := s.question
	getsOn := &progress{tell: func() { s.post(Event{Kind: EventProgress, Life: life}) }}
	s.progress = getsOn
	s.errands.Go(func() {
		err := p.Ready(ctx, getsOn.note)
		switch {
		case err == nil:
			s.post(Event{Kind: EventReady, Life: life})
		case ctx.Err() == nil:
			s.post(Event{Kind: EventNotReady, Life: life, Why: err.Error()})
		}
	})
}

// pending is what the life is waited for, for the account of a wait that was in vain: before anything is done about it, since what a
// worker prints after TERM is about TERM.
func (s *Supervisor) pending() string {
	if s.m.State == Releasing {
		return s.options.Reclaimer.Held()
	}
	if s.process == nil {
		return ""
	}
	what, lines := s.process.Pending()
	if s.m.State != Warming {
		return what
	}
	if len(lines) == 0 {
		lines = []string{"it printed nothing"}
	}
	return strings.TrimPrefix(withLines(what, lines), ": ")
}

func (s *Supervisor) signal(what string, life Life, send func() error) {
	s.errands.Go(func() {
		if err := send(); err != nil {
			s.post(Event{Kind: EventTrouble, Why: fmt.Sprintf("%s life %d: %v", what, life, err)})
		}
	})
}

func (s *Supervisor) reclaim(life Life, p Process) {
	ctx := s.question
	s.errands.Go(func() {
		err := p.Reclaim(ctx)
		switch {
		case err == nil:
			s.post(Event{Kind: EventReclaimed, Life: life})
		case ctx.Err() == nil:
			s.post(Event{Kind: EventReclaimFailed, Life: life, Why: err.Error()})
		}
	})
}

func (s *Supervisor) release(life Life) {
	ctx := s.question
	s.errands.Go(func() {
		err := s.options.Reclaimer.Release(ctx, life)
		switch {
		case err == nil:
			s.post(Event{Kind: EventReleased, Life: life})
		case ctx.Err() == nil:
			s.post(Event{Kind: EventTrouble, Why: fmt.Sprintf("wait for the memory of life %d: %v", life, err)})
		}
	})
}

// progress passes on that a life gets on. A worker may print thousands of lines while it loads: one event at a time is on its way,
// and the latest words are what people see.
type progress struct {
	tell   func()
	told   atomic.Bool
	latest atomic.Pointer[string]
}

func (p *progress) note(what string) {
	p.latest.Store(&what)
	if !p.told.Swap(true) {
		p.tell()
	}
}

// heard is the loop's: the next note is told again.
func (p *progress) heard() { p.told.Store(false) }

func (p *progress) words() string {
	if p == nil || p.latest.Load() == nil {
		return ""
	}
	return *p.latest.Load()
}

// keep closes the account of an ended restart and gives it to those who keep and tell it.
func (s *Supervisor) keep(r Restart) {
	r = s.dated(r)
	r.Tally = s.options.Traffic.Tally(r.ID)
	s.ended = append([]Restart{r}, s.ended[:min(len(s.ended), endedKept-1)]...)
	s.changes.put(Change{At: time.Now(), Life: s.m.Life, From: s.m.State, To: s.m.State, Restart: r, Ended: true})
}

// report tells what an event has changed since before.
func (s *Supervisor) report(before Machine, e Event, now time.Duration) {
	c := Change{At: time.Now(), Life: s.m.Life, From: before.State, To: s.m.State, Restart: s.dated(s.m.Restart), Spent: now - before.Since}
	switch {
	case e.Kind == EventTrouble && e.Restart != 0:
		c.Why, c.Unrecorded, c.Restart = e.Why, true, Restart{ID: e.Restart}
	case e.Kind == EventThaw && s.m.Freeze != before.Freeze:
		c.Thawed = true
	case e.Kind == EventRestart && s.m.Would != before.Would:
		c.Withheld, c.Restart = s.m.withholds(e.Reason, now), Restart{Reason: e.Reason, By: e.By, Why: e.Why}
	case s.m.LastError != before.LastError:
		c.Why = s.m.LastError
	case before.State == Reclaiming && s.m.State == Purging && e.Why != "":
		c.Why = "still alive: " + e.Why
	}
	if c.From != c.To || c.Why != "" || c.Withheld != NotWithheld || c.Thawed {
		s.changes.put(c)
	}
}

// announce passes changes on, in order, until no more will come.
func (s *Supervisor) announce(quiet <-chan struct{}) {
	for {
		select {
		case <-s.changes.ready:
		case <-quiet:
			s.announceAll(s.changes.take())
			return
		}
		s.announceAll(s.changes.take())
	}
}

func (s *Supervisor) announceAll(changes []Change) {
	for _, c := range changes {
		if c.Ended {
			s.journal(c.Restart)
		}
		for _, watch := range s.options.Watch {
			watch(c)
		}
	}
}

// journal keeps an ended restart. If it can't be, the machine's record still has it, for the next runner or until the next restart.
func (s *Supervisor) journal(r Restart) {
	if err := s.options.Journal.Append(r); err != nil {
		s.post(Event{Kind: EventTrouble, Restart: r.ID, Why: err.Error()})
		return
	}
	s.post(Event{Kind: EventJournaled, Restart: r.ID})
}

// dated adds the wall clock's time to a restart.
func (s *Supervisor) dated(r Restart) Restart {
	if r.ID != 0 {
		r.Begun = s.wall(r.Asked)
	}
	return r
}

// wall is the wall clock's time at a time of Clock, as the wall clock goes now.
func (s *Supervisor) wall(at time.Duration) time.Time {
	return time.Now().Add(at - s.options.Clock()).Round(time.Millisecond)
}
