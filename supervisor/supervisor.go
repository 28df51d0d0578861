package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"autoglm-sidecar/health"
)

// Options are what a Supervisor is made of. All are needed but Reclaimer, Restarts, Orphan, Barred and Watch.
type Options struct {
	Gate   Gate
	Driver Driver
	// Reclaimer is asked after each life whether its memory is free; nil: nothing is known of any.
	Reclaimer Reclaimer

	Record  Record
	Clock   Clock
	Traffic Traffic
	Journal Journal
	Limits  Limits
	Seed    uint64 // of the back-off's jitter
	Observe bool   // mode observe: of the restarts, only a person's and those after a crash are carried out
	Log     *slog.Logger

	Restarts int64 // the last ID in the journal: a new machine's restarts are numbered from the next
	// Orphan says what an earlier sidecar left, which a machine without a record begins with; nil: nothing.
	Orphan func() (Orphan, error)
	// Barred says why no life may be started, as it is known when Run begins; nil or empty: nothing is known that forbids it.
	Barred func() string
	Watch  []func(Change) // called for each change, in order, on a goroutine that may be kept waiting
}

// Supervisor owns the machine of one worker.
type Supervisor struct {
	options  Options
	mail     *mailbox[letter]
	changes  *mailbox[Change]
	snapshot atomic.Pointer[snapshot]
	done     chan struct{} // closed when Run has returned

	// What follows belongs to Run's goroutine.
	m        Machine
	record   []byte  // as it was last stored
	process  Process // of the life, once it was started or found
	progress *progress
	lastExit string
	ended    []Restart // the last few, newest first
	asks     map[int64]chan<- answer
	lastAsk  int64
	finished bool

	errands    sync.WaitGroup
	ctx        context.Context // of Run
	question   context.Context // of what was asked in the current state; withdrawn when the state is left
	unquestion context.CancelFunc
}

// letter is an event on its way to the machine, with what a machine can't carry.
type letter struct {
	Event
	process Process       // of EventStarted and EventFound
	reply   chan<- answer // of a wish; has room for one
}

// answer is EffectAnswer's.
type answer struct {
	asked Asked
	err   error
}

// New makes a Supervisor that goes on from the record. A record that can't be read is an error: to begin anew might start a second
// worker.
func New(o Options) (*Supervisor, error) {
	if err := o.Limits.Check(); err != nil {
		return nil, fmt.Errorf("limits: %w", err)
	}
	record, err := o.Record.Load()
	if err != nil {
		return nil, fmt.Errorf("load the machine's record: %w", err)
	}
	m := Machine{Seed: o.Seed, Restarts: o.Restarts}
	if len(record) > 0 {
		if m, err = ReadRecord(record); err != nil {
			return nil, err
		}
	} else if o.Orphan != nil {
		orphan, err := o.Orphan()
		if err != nil {
			return nil, err
		}
		m.adopt(orphan, o.Clock())
	}
	m.Limits, m.Observe, m.Reclaims = o.Limits, o.Observe, o.Reclaimer != nil
	s := &Supervisor{
		options: o, m: m, record: record, done: make(chan struct{}), asks: map[int64]chan<- answer{},
		mail: newMailbox[letter](), changes: newMailbox[Change](),
	}
	s.snapshot.Store(s.picture())
	return s, nil
}

// Run supervises until it has left, and then returns nil, or until ctx ends. In the latter case the worker is not touched: the next
// runner goes on with it.
func (s *Supervisor) Run(ctx context.Context) error {
	defer close(s.done)
	ctx, cancel := context.WithCancel(ctx)
	s.ctx = ctx
	s.question, s.unquestion = context.WithCancel(ctx)

	quiet := make(chan struct{}) // nothing more will change
	var announcer sync.WaitGroup
	announcer.Go(func() { s.announce(quiet) })
	defer announcer.Wait()
	defer close(quiet)
	defer s.errands.Wait()
	defer cancel()

	timer := time.NewTimer(0)
	defer timer.Stop()
	if s.options.Barred != nil {
		if why := s.options.Barred(); why != "" {
			s.handle(letter{Event: Event{Kind: EventBar, Why: why}})
		}
	}
	s.handle(letter{Event: Event{Kind: EventBoot}})
	for !s.finished {
		s.arm(timer)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
			if s.m.Freeze.Until != 0 && !s.m.frozen(s.options.Clock()) {
				s.handle(letter{Event: Event{Kind: EventThaw}})
				continue
			}
			s.handle(letter{Event: Event{Kind: EventTimer, Life: s.m.Life, Why: s.pending()}})
		case <-s.mail.ready:
			for _, l := range s.mail.take() {
				s.handle(l)
			}
		}
	}
	return nil
}

// arm sets the one timer to the machine's deadline, or to the end of its freeze if that comes first.
func (s *Supervisor) arm(timer *time.Timer) {
	due := s.m.Deadline
	if thaw := s.m.Freeze.Until; thaw != 0 && (due == 0 || thaw < due) {
		due = thaw
	}
	if due == 0 {
		timer.Stop()
		return
	}
	timer.Reset(max(0, due-s.options.Clock()))
}

// handle is one event: decide, note, then act.
func (s *Supervisor) handle(l letter) {
	s.receive(&l)
	now := s.options.Clock()
	before := s.m
	after, effects := Step(before, l.Event, now)
	s.m = after
	if before.State != after.State || before.Life != after.Life {
		s.unquestion()
		s.question, s.unquestion = context.WithCancel(s.ctx)
	}
	noted := s.note()
	s.report(before, l.Event, now)
	for _, e := range effects {
		s.perform(e, noted)
	}
	s.show()
	s.answer(effects)
}

// receive keeps what comes with an event beside the machine.
func (s *Supervisor) receive(l *letter) {
	if l.reply != nil {
		s.lastAsk++
		l.Ask = s.lastAsk
		s.asks[l.Ask] = l.reply
	}
	if l.Life != s.m.Life {
		return
	}
	if l.process != nil {
		s.process = l.process
	}
	if l.Kind == EventExited {
		s.lastExit = fmt.Sprintf("life %d %v", l.Life, l.Exit)
	}
	if l.Kind == EventProgress && s.progress != nil {
		s.progress.heard()
	}
}

// note stores the record, if it is another.
func (s *Supervisor) note() error {
	record := s.m.AppendRecord(nil)
	if bytes.Equal(record, s.record) {
		return nil
	}
	if err := s.options.Record.Store(record); err != nil {
		err = fmt.Errorf("store the machine's record: %w", err)
		s.options.Log.Error(err.Error())
		return err
	}
	s.record = record
	return nil
}

// RestartOptions say what restart is wanted.
type RestartOptions struct {
	Reason health.Reason // Operator for a person
	By     string        // who asks, as in "uid 0" or "pulse"
	Why    string        // what was seen; one line of it is kept
	Now    bool          // cut the streams in the way at once
	Hasty  bool          // the drain deadline is a short one: waiting on may cost all of them
	Life   Life          // the one that is to be replaced: of another it is refused; 0: whichever there is
}

// Asked says what became of a wish.
type Asked struct {
	Restart int64 // its ID, for Follow
	Joined  bool  // it was under way already, or so already
	Life    Life  // when it was asked for
}

// Errors of Restart, Follow and people's words.
var (
	ErrLeaving        = errors.New(byLeaving)
	ErrUnknownRestart = errors.New("no such restart")
)

// ErrBarred is the error, wrapped, of a life that may not be started: it says why.
var ErrBarred = errors.New("barred")

// Refusal is the error of a restart that is not to be; its text says why.
type Refusal string

func (r Refusal) Error() string { return string(r) }

// Restart asks for a new life and returns as soon as the restart has begun, or was joined if one was under way. The error may be
// ErrLeaving, a Refusal, ErrBarred, or, wrapped or not, ErrObserving or
// ErrFrozen: it was decided on and is withheld, and counted as such.
func (s *Supervisor) Restart(ctx context.Context, o RestartOptions) (Asked, error) {
	return s.ask(ctx, Event{Kind: EventRestart, Reason: o.Reason, By: o.By, Why: oneLine(o.Why), Now: o.Now, Hasty: o.Hasty, Of: o.Life})
}

// ask puts a wish and waits for what becomes of it.
func (s *Supervisor) ask(ctx context.Context, wish Event) (Asked, error) {
	wish.By = clip(wish.By, maxBy)
	reply := make(chan answer, 1)
	s.mail.put(letter{Event: wish, reply: reply})
	select {
	case a := <-reply:
		return a.asked, a.err
	case <-s.done:
		return Asked{}, ErrLeaving
	case <-ctx.Done():
		return Asked{}, fmt.Errorf("ask for a %v: %w", wish.Kind, context.Cause(ctx))
	}
}

// Leave begins the end of the sidecar: new streams are refused, those in flight have the drain deadline, then the worker is stopped
// and Run returns.
func (s *Supervisor) Leave() { s.mail.put(letter{Event: Event{Kind: EventLeave}}) }

// Hurry is Leave without patience. It may follow it.
func (s *Supervisor) Hurry() { s.mail.put(letter{Event: Event{Kind: EventHurry}}) }

// Drained is for the gate: the last stream has left a life that it holds against. It doesn't wait.
func (s *Supervisor) Drained(life Life) {
	s.mail.put(letter{Event: Event{Kind: EventDrained, Life: life}})
}
