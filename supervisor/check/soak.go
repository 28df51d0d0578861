package check

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// SoakOptions is a soak: many kinds of clients for a while, and a worker that is restarted under them again and again.
type SoakOptions struct {
	Sidecar  SidecarOptions
	Clients  int           // of all kinds: 70 % streams, 10 % slow readers, 10 % plain JSON, 5 % large bodies, 5 % leavers
	Rate     float64       // tokens a second of each stream
	Shortest time.Duration // answer
	Longest  time.Duration // answer while restarts go on; each drain takes so long
	Last     time.Duration // the longest answer after the last restart
	Restarts int
	Open     int // streams of Shortest or more that must be open when a restart is asked for
	Seed     uint64
	// Guests are further clients, of another make: each is called again and again until the soak ends, with the address
	// (host:port) to ask, a prompt and a number of tokens, and returns nil if it got Text(prompt, tokens).
	Guests   []Guest
	Progress func(string)
}

// Guest asks once.
type Guest func(ctx context.Context, address, prompt string, tokens int) error

// SoakReport is what a soak found.
type SoakReport struct {
	Options  SoakOptions
	Counts   Counts
	Took     time.Duration
	Open     []int // streams open when each restart was asked for
	Restarts int
	Guests   int64 // answers that guests got, all whole
	Gaps     *Histogram
	Holds    *Histogram
	Noticed  *Histogram // from a client's leaving to the worker's noticing
	Failures []string
}

// Soak runs one. The error is about what could not be run; what was found wrong is in the report.
func Soak(ctx context.Context, opts SoakOptions) (*SoakReport, error) {
	side, err := StartSidecar(ctx, opts.Sidecar)
	if err != nil {
		return nil, err
	}
	s := &soak{opts: opts, side: side, report: SoakReport{Options: opts}}
	err = s.run(ctx)
	if stopped := side.Stop(context.WithoutCancel(ctx)); err != nil || stopped != nil {
		return nil, errors.Join(err, stopped)
	}
	return &s.report, nil
}

// soak is a soak at work.
type soak struct {
	opts SoakOptions
	side *Sidecar
	load *Load

	mu     sync.Mutex // guards the two lines that follow
	guests int64
	report SoakReport
}

func (s *soak) run(ctx context.Context) error {
	began := time.Now()
	s.load = StartLoad(ctx, s.crowd())
	beside, leave := context.WithCancel(ctx)
	defer leave()
	var helpers sync.WaitGroup
	helpers.Go(func() { s.load.leaves.watch(beside, s.side) })
	last := make(chan struct{})
	for i, guest := range s.opts.Guests {
		helpers.Go(func() { s.host(ctx, last, i, guest) })
	}
	err := s.restarts(ctx)
	if err == nil {
		s.load.Lengths(s.tokens(s.opts.Shortest, s.opts.Last))
		s.tell("answers of up to %v from here on", s.opts.Last)
		rest(ctx, s.opts.Longest+time.Second) // until all have begun one of these
	}
	close(last)
	ending, cancel := context.WithTimeout(ctx, s.opts.Last+endPatience)
	defer cancel()
	s.load.Stop(ending)
	rest(ctx, 2*noticeWithin) // what the last leavers' worker has to say
	leave()
	helpers.Wait()
	if err != nil {
		return err
	}
	r := &s.report
	r.Took, r.Counts = time.Since(began), s.load.Tally.Counts()
	r.Gaps, r.Holds = &s.load.Tally.Gaps, &s.load.Tally.Holds
	r.Guests = s.guests
	var late []string
	r.Noticed, late = s.load.leaves.result()
	r.judge(late)
	return nil
}

func (s *soak) crowd() LoadOptions {
	o := s.opts
	tenth, twentieth := o.Clients/10, o.Clients/20
	lengths := s.tokens(o.Shortest, o.Longest)
	return LoadOptions{
		Address: s.side.Address, Rate: o.Rate, Seed: o.Seed, Ramp: time.Second,
		Groups: []Group{
			{Kind: Stream, Clients: o.Clients - 2*tenth - 2*twentieth - tenth, Tokens: lengths},
			{Kind: Completion, Clients: tenth, Tokens: lengths},
			{Kind: Slow, Clients: tenth, Tokens: [2]int{int(o.Shortest.Seconds() * SlowRate), int(o.Longest.Seconds() * SlowRate)}},
			{Kind: Plain, Clients: tenth, Tokens: lengths},
			{Kind: Upload, Clients: twentieth - max(1, twentieth/3) - twentieth/3, Body: [2]int{1 << 20, 4 << 20}},
			{Kind: Echo, Clients: twentieth / 3, Body: [2]int{1 << 20, 4 << 20}},
			{Kind: Image, Clients: max(1, twentieth/3), Tokens: lengths, Body: [2]int{1 << 20, 4 << 20}},
			{Kind: Leaver, Clients: twentieth, Tokens: lengths},
		},
	}
}

func (s *soak) tokens(from, to time.Duration) [2]int {
	return [2]int{int(from.Seconds() * s.opts.Rate), int(to.Seconds() * s.opts.Rate)}
}

func (s *soak) restarts(ctx context.Context) error {
	for i := range s.opts.Restarts {
		open, err := s.load.WaitOpen(ctx, s.opts.Open, s.opts.Shortest)
		if err != nil {
			return fmt.Errorf("wait for %d open streams before restart %d: %w", s.opts.Open, i+1, err)
		}
		s.report.Open = append(s.report.Open, open)
		at := time.Now()
		if _, err := s.side.Restart(ctx); err != nil {
			return fmt.Errorf("restart %d: %w", i+1, err)
		}
		s.report.Restarts++
		s.tell("restart %d of %d with %d streams open: done after %v", i+1, s.opts.Restarts, open, time.Since(at).Round(time.Millisecond))
	}
	return nil
}

// host asks a guest to go on until last is closed.
func (s *soak) host(ctx context.Context, last <-chan struct{}, number int, guest Guest) {
	for i := 0; ; i++ {
		select {
		case <-last:
			return
		case <-ctx.Done():
			return
		default:
		}
		err := guest(ctx, s.side.Address, fmt.Sprintf("guest %d asks for the %dth time", number, i), int(s.opts.Shortest.Seconds()*s.opts.Rate))
		s.mu.Lock()
		if err != nil {
			s.report.fail(true, "guest %d: %v", number, err)
		} else {
			s.guests++
		}
		s.mu.Unlock()
		if err != nil {
			rest(ctx, afterTrouble)
		}
	}
}

func (s *soak) tell(format string, args ...any) {
	if s.opts.Progress != nil {
		s.opts.Progress(fmt.Sprintf(format, args...))
	}
}

func (r *SoakReport) judge(late []string) {
	c, o := r.Counts, r.Options
	r.fail(c.Bad() > 0, "%d answers were not whole: %s", c.Bad(), c)
	r.fail(len(c.Nonces) != r.Restarts+1, "%d lives answered in %d restarts, wanted %d", len(c.Nonces), r.Restarts, r.Restarts+1)
	r.fail(c.Held == 0, "no stream was held")
	r.fail(len(o.Guests) > 0 && r.Guests == 0, "no guest got an answer")
	r.fail(len(late) > 0, "%d clients left and the worker was told too late, as %s", len(late), strings.Join(late[:min(3, len(late))], "; "))
	r.fail(c.Left > 0 && r.Noticed.Count() == 0, "the worker noticed none of %d clients that left", c.Left)
	for _, kind := range kindNames {
		if _, ok := c.Kinds[kind]; !ok {
			r.fail(true, "no client of kind %s got an answer", kind)
		}
	}
}

func (r *SoakReport) fail(failed bool, format string, args ...any) {
	if failed {
		r.Failures = append(r.Failures, fmt.Sprintf(format, args...))
	}
}

// Passed says whether the soak did.
func (r *SoakReport) Passed() bool { return len(r.Failures) == 0 }

func (r *SoakReport) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "soak, %s, %d clients, answers of %v to %v: %d restarts with %v streams open; %s\n", r.Options.Sidecar.workerName(),
		r.Options.Clients, r.Options.Shortest, r.Options.Last, r.Restarts, r.Open, r.Took.Round(100*time.Millisecond))
	fmt.Fprintf(&b, "  answers              %s; %d tokens\n", r.Counts, r.Counts.Tokens)
	fmt.Fprintf(&b, "  by kind              %s  guests %d\n", byName(r.Counts.Kinds), r.Guests)
	fmt.Fprintf(&b, "  held                 %s\n", r.Holds)
	fmt.Fprintf(&b, "  gaps between tokens  %s\n", r.Gaps)
	fmt.Fprintf(&b, "  leaving noticed in   %s\n", r.Noticed)
	writeVerdict(&b, r.Failures, r.Counts.Notes)
	return b.String()
}
