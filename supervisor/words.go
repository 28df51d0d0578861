package supervisor

import (
	"context"
	"fmt"
	"time"
)

// What a person may say beside Restart. Each is answered as soon as it is taken; Status shows how far it is. The error may be
// ErrLeaving. by is who says so, as in "uid 0".

// Stop asks for a worker that stays stopped: its streams run to their end, however long that is, or are cut now; then it is ended and
// the gate refuses. It may be ErrFrozen.
func (s *Supervisor) Stop(ctx context.Context, by string, now bool) (Asked, error) {
	return s.ask(ctx, Event{Kind: EventStop, By: by, Now: now})
}

// Start takes a stop back, or ends a halt or a back-off.
func (s *Supervisor) Start(ctx context.Context, by string) (Asked, error) {
	return s.ask(ctx, Event{Kind: EventStart, By: by})
}

// Drain holds the gate and leaves the worker alone, until Open. It is in force over deaths of the worker and of ours.
func (s *Supervisor) Drain(ctx context.Context, by string) (Asked, error) {
	return s.ask(ctx, Event{Kind: EventDrain, By: by})
}

// Open takes a drain back.
func (s *Supervisor) Open(ctx context.Context, by string) (Asked, error) {
	return s.ask(ctx, Event{Kind: EventOpen, By: by})
}

// FreezeOptions say what is frozen for how long.
type FreezeOptions struct {
	For time.Duration // more than 0, at most MaxFreeze
	Why string        // not empty; one line of it is kept
	All bool          // a worker that has crashed stays down, too
	By  string
}

// Freeze sees to it that no life that serves is ended by a judge or a person. One in force is replaced.
func (s *Supervisor) Freeze(ctx context.Context, o FreezeOptions) (Asked, error) {
	o.Why = oneLine(o.Why)
	switch {
	case o.For <= 0 || o.For > MaxFreeze:
		return Asked{}, Refusal(fmt.Sprintf("a freeze lasts more than 0 and at most %v", MaxFreeze))
	case o.Why == "":
		return Asked{}, Refusal("a freeze has a reason: those who meet it will want to know")
	}
	return s.ask(ctx, Event{Kind: EventFreeze, By: o.By, Why: o.Why, For: o.For, All: o.All})
}

// Unfreeze ends a freeze before its time.
func (s *Supervisor) Unfreeze(ctx context.Context, by string) (Asked, error) {
	return s.ask(ctx, Event{Kind: EventUnfreeze, By: by})
}

// Bar sees to it that no life is started from now on, for what it says; empty: one may be again.
func (s *Supervisor) Bar(why string) { s.post(Event{Kind: EventBar, Why: why}) }
