package check

import (
	"context"
	"fmt"
)

// Say says one of an operator's words by the command that people use: drain, open, stop, start, ...
func (s *Sidecar) Say(ctx context.Context, words ...string) error {
	_, err := s.Command(ctx, words...)
	return err
}

// drainEach is how many deaths one drain of a person sees.
const drainEach = 2

// deathsInDrain lets a person drain, and runners die until that person opens again: all that time no stream enters, and the gate
// stays held over each death.
func (g *gate) deathsInDrain(ctx context.Context) error {
	if err := g.side.Say(ctx, "drain"); err != nil {
		return err
	}
	r := &g.report
	for range drainEach {
		if err := g.death(ctx, true); err != nil {
			return err
		}
		st, err := g.side.ask(ctx)
		if err != nil {
			return fmt.Errorf("ask during a drain: %w", err)
		}
		r.fail(st.Phase != "draining" || st.Drained == nil, "after a death during a person's drain it is %s, and no longer drained", st.Phase)
	}
	r.Drains++
	g.tell("drain %d of %d is taken back, %d streams wait", r.Drains, g.opts.Drains, g.load.Waiting())
	return g.side.Say(ctx, "open")
}
