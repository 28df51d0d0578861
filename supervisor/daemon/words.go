package daemon

import (
	"context"
	"fmt"
	"time"

	"autoglm-sidecar/supervisor"
	"autoglm-sidecar/supervisor/admin"
)

// Say implements admin.Backend.
func (b backend) Say(ctx context.Context, w admin.Word) (admin.Taken, error) {
	var asked supervisor.Asked
	var err error
	switch w.Verb {
	case admin.Stop:
		asked, err = b.life.Stop(ctx, w.By, w.Now)
	case admin.Start:
		lifted := b.planner.cleared()
		asked, err = b.life.Start(ctx, w.By)
		asked.Joined = asked.Joined && !lifted // what kept it from being started was taken down just now
	case admin.Drain:
		asked, err = b.life.Drain(ctx, w.By)
	case admin.Open:
		asked, err = b.life.Open(ctx, w.By)
	case admin.Freeze:
		asked, err = b.life.Freeze(ctx, supervisor.FreezeOptions{For: time.Duration(w.For), Why: w.Why, All: w.All, By: w.By})
	case admin.Unfreeze:
		asked, err = b.life.Unfreeze(ctx, w.By)
	default:
		err = fmt.Errorf("unknown verb %q", w.Verb)
	}
	if err != nil {
		return admin.Taken{}, refusal(err)
	}
	return admin.Taken{Already: asked.Joined, Life: int64(asked.Life)}, nil
}

func standingOf(s supervisor.Standing) *admin.Standing {
	if s.Since.IsZero() {
		return nil
	}
	return &admin.Standing{Since: s.Since, By: s.By}
}

func frozenOf(f supervisor.Frost) *admin.Frozen {
	if f.Until.IsZero() {
		return nil
	}
	return &admin.Frozen{Standing: *standingOf(f.Standing), Until: f.Until, All: f.All, Why: f.Why}
}

// outcomesOf counts restarts by how they ended, whatever their reason.
func outcomesOf(counts supervisor.Counts) map[admin.Outcome]int64 {
	of := map[admin.Outcome]int64{}
	for result, outcome := range outcomes {
		if n := counts.Of(result); n != 0 {
			of[outcome] = n
		}
	}
	return of
}
