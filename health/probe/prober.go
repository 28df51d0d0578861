package probe

import (
	"context"
	"sync"
	"time"
)

// Result is what came of one question.
type Result struct {
	Err  error         // nil: it passed
	Took time.Duration // of TCP: the time to connect
}

// Prober asks one question again and again.
type Prober struct {
	Ask      Probe
	First    time.Duration // from the beginning to the first question
	Interval time.Duration // from one turn to the next
	Jitter   float64       // share of the interval that is left to chance, so that a fleet doesn't ask in step
	Timeout  time.Duration // of one question; may be longer than the interval

	Random  func() float64 // from 0 to below 1
	Report  func(Result)   // called by one goroutine at a time
	Skipped func()         // a turn came while the question before was still out: it isn't asked twice
}

// Run asks until ctx ends, and returns when no question is out any more. What ctx's end has cut short isn't reported.
func (p *Prober) Run(ctx context.Context) {
	var out sync.WaitGroup
	defer out.Wait()
	free := make(chan struct{}, 1) // holds one while no question is out
	free <- struct{}{}
	turn := time.NewTimer(p.First)
	defer turn.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-turn.C:
		}
		turn.Reset(p.pause())
		select {
		case <-free:
		default:
			p.Skipped()
			continue
		}
		out.Go(func() {
			if r := p.once(ctx); ctx.Err() == nil {
				p.Report(r)
			}
			free <- struct{}{}
		})
	}
}

// pause is the time to the next turn: the interval, and by chance up to half of the jitter more or less.
func (p *Prober) pause() time.Duration {
	return p.Interval + time.Duration((p.Random()-0.5)*p.Jitter*float64(p.Interval))
}

func (p *Prober) once(ctx context.Context) Result {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	began := time.Now()
	err := p.Ask(ctx)
	return Result{Err: err, Took: time.Since(began)}
}
