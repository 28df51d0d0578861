package check

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// GateOptions is a crash gate: what is killed how often, under which load.
type GateOptions struct {
	Sidecar SidecarOptions

	Streams int     // event streams, every fourth a legacy completion
	Rate    float64 // tokens a second of each
	Slow    int     // slow readers
	Plain   int     // clients of plain JSON answers
	Uploads int     // clients that send large bodies: a third to get their sum, a third to get them back, a third as an image in a prompt

	Death     Death
	Deaths    int
	EveryNext int              // every so many-th death also hits the next runner, in its take-over; 0: never
	During    int              // how many of the deaths at least happen while the worker is being restarted
	Drains    int              // how often a person drains; each time sees deaths beside the others
	Upgrades  int              // in place, spread among the deaths
	Pause     [2]time.Duration // from one runner's first answer to its death

	Seed     uint64
	Progress func(string) // told what happens; nil: nobody is
}

// GateReport is what a crash gate found.
type GateReport struct {
	Options GateOptions
	Counts  Counts
	Took    time.Duration

	Deaths   int // runners that died as Options.Death says
	Next     int // successors that died in their take-over
	During   int // deaths while the worker was being restarted
	Restarts int // of the worker
	Drains   int // by a person, with deaths in each
	Upgrades int // of the sidecar
	Undone   int // of these, those whose trial a death ended

	TakeOver   Histogram  // from a death to the first answer of the next runner on its control socket
	GapOver    Histogram  // pause of each open stream across a death
	GapTwice   Histogram  // the same where the next runner died too
	Control    Histogram  // the same across moments in which nothing was done
	Newcomers  Histogram  // from a request that was made just after a death, to its first byte; none during a restart
	Gaps       *Histogram // all pauses between two tokens
	Holds      *Histogram // of streams that came while no life served
	KeeperKept bool       // one keeper from the first to the last
	TakeOvers  int64      // as the sidecar counts them
	Troubles   []string   // lines of its output that tell of a fault of its own

	// What the runners say of their take-overs in their log: how long the mending took, and what they found, summed.
	Mending Histogram
	Found   map[string]int64

	Failures []string // why the gate failed; none: it passed
}

// CrashGate runs one. The error is about what could not be run; what was found wrong is in the report.
func CrashGate(ctx context.Context, opts GateOptions) (*GateReport, error) {
	s, err := StartSidecar(ctx, opts.Sidecar)
	if err != nil {
		return nil, err
	}
	g := &gate{opts: opts, side: s, rng: rand.New(rand.NewPCG(opts.Seed, 2))}
	report, err := g.run(ctx)
	return report, errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
}

// gate is a crash gate at work.
type gate struct {
	opts   GateOptions
	side   *Sidecar
	load   *Load
	rng    *rand.Rand
	report GateReport
}

// endPatience is how long the last answers may take after the last death.
const endPatience = 30 * time.Second

func (g *gate) run(ctx context.Context) (*GateReport, error) {
	began := time.Now()
	r := &g.report
	r.Options, r.Found = g.opts, map[string]int64{}

	g.load = StartLoad(ctx, g.crowd())
	err := g.deaths(ctx)
	ending, cancel := context.WithTimeout(ctx, endPatience)
	defer cancel()
	g.load.Stop(ending)
	if err != nil {
		return nil, err
	}

	st, err := g.side.ask(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask for the last status: %w", err)
	}
	r.KeeperKept, r.TakeOvers, r.Undone = st.Keeper == g.side.Keeper(), st.TakeOvers, int(st.Upgrades.Undone)
	for _, told := range g.side.takeOvers() {
		r.Mending.Record(time.Duration(told.Took))
		for what, n := range told.Found {
			r.Found[what] += n
		}
	}
	if g.opts.Death != Panic {
		r.Troubles = g.side.troubles()
	}
	r.Counts = g.load.Tally.Counts()
	r.Gaps, r.Holds = &g.load.Tally.Gaps, &g.load.Tally.Holds
	r.Took = time.Since(began)
	r.judge()
	return r, nil
}

// crowd is the load: streams of 2 to 4 s, so that a restart's drain is short and many streams are young at a death.
func (g *gate) crowd() LoadOptions {
	o := g.opts
	lengths := [2]int{int(2 * o.Rate), int(4 * o.Rate)}
	return LoadOptions{
		Address: g.side.Address, Rate: o.Rate, Seed: o.Seed, Ramp: 500 * time.Millisecond,
		Groups: []Group{
			{Kind: Stream, Clients: o.Streams - o.Streams/4, Tokens: lengths},
			{Kind: Completion, Clients: o.Streams / 4, Tokens: lengths},
			{Kind: Slow, Clients: o.Slow, Tokens: [2]int{10_000, 13_000}},
			{Kind: Plain, Clients: o.Plain, Tokens: lengths},
			{Kind: Upload, Clients: o.Uploads - o.Uploads/3*2, Body: [2]int{300 << 10, 1 << 20}},
			{Kind: Echo, Clients: o.Uploads / 3, Body: [2]int{300 << 10, 1 << 20}},
			{Kind: Image, Clients: o.Uploads / 3, Body: [2]int{300 << 10, 1 << 20}, Tokens: [2]int{10, 20}},
		},
	}
}

// during is how many deaths one restart of the worker sees.
const duringEach = 5

func (g *gate) deaths(ctx context.Context) error {
	if _, err := g.load.WaitOpen(ctx, g.opts.Streams*3/4, 0); err != nil {
		return fmt.Errorf("wait for %d streams: %w", g.opts.Streams*3/4, err)
	}
	r := &g.report
	restarts := (g.opts.During + duringEach - 1) / duringEach
	calm := (g.opts.Deaths - g.opts.During + restarts) / (restarts + 1) // between two restarts
	for r.Deaths < g.opts.Deaths || r.Drains < g.opts.Drains {
		if r.Drains < g.opts.Drains {
			if err := g.deathsInDrain(ctx); err != nil {
				return err
			}
		}
		for range min(calm, max(0, g.opts.Deaths-r.Deaths)) {
			if err := g.death(ctx, false); err != nil {
				return err
			}
			if err := g.upgrades(ctx); err != nil {
				return err
			}
		}
		if r.During < g.opts.During {
			if err := g.deathsInRestart(ctx, min(duringEach, g.opts.During-r.During)); err != nil {
				return err
			}
			if err := g.upgrades(ctx); err != nil {
				return err
			}
		}
	}
	return g.upgrades(ctx) // the last deaths may have been in a drain
}

// deathsInRestart asks for a restart of the worker and lets runners die until it has ended.
func (g *gate) deathsInRestart(ctx context.Context, n int) error {
	ended := make(chan error, 1)
	go func() {
		_, err := g.side.Restart(ctx)
		ended <- err
	}()
	g.report.Restarts++
	for range n {
		select {
		case err := <-ended:
			if err != nil {
				return fmt.Errorf("restart %d of the worker: %w", g.report.Restarts, err)
			}
			return nil
		default:
			if err := g.death(ctx, true); err != nil {
				return err
			}
			g.report.During++
		}
	}
	if err := <-ended; err != nil {
		return fmt.Errorf("restart %d of the worker: %w", g.report.Restarts, err)
	}
	return nil
}

// death waits a random while, ends the runner, and waits until the next one works.
func (g *gate) death(ctx context.Context, restarting bool) error {
	pause := g.opts.Pause[0] + time.Duration(g.rng.Int64N(int64(max(1, g.opts.Pause[1]-g.opts.Pause[0]))))
	rest(ctx, pause/2)
	g.load.Mark(&g.report.Control)
	rest(ctx, pause/2)
	st, err := g.side.ask(ctx)
	if err != nil {
		return fmt.Errorf("ask for the runner: %w", err)
	}
	r := &g.report
	twice := g.opts.EveryNext > 0 && r.Deaths%g.opts.EveryNext == g.opts.EveryNext-1
	before := g.side.children()
	gaps := &r.GapOver
	if twice {
		gaps = &r.GapTwice
	}
	at := g.load.Mark(gaps)
	if err := g.opts.Death.Strike(st.Runner); err != nil {
		return err
	}
	r.Deaths++
	visitors := &r.Newcomers
	if restarting {
		visitors = nil
	}
	g.load.Visit(ctx, newcomers, visitors)
	last := st.Runner
	if twice {
		if last, err = g.strikeNext(ctx, before); err != nil {
			return err
		}
	}
	next, err := g.side.Successor(ctx, st.Runner, last)
	if err != nil {
		return err
	}
	if !twice {
		r.TakeOver.Record(time.Since(at))
	}
	g.tell("%s %d of %d: runner %d -> %d after %s ms%s", g.opts.Death, r.Deaths, g.opts.Deaths, st.Runner, next.Runner,
		millis(time.Since(at)), map[bool]string{true: ", the one between killed too"}[twice])
	return nil
}

// upgrades makes up for those that are due after so many deaths.
func (g *gate) upgrades(ctx context.Context) error {
	for r := &g.report; r.Upgrades*g.opts.Deaths < r.Deaths*g.opts.Upgrades; {
		if err := g.upgrade(ctx); err != nil {
			return err
		}
	}
	return nil
}

// upgrade lets another file go on in the place of the one that runs. A death within its trial brings the first one back.
func (g *gate) upgrade(ctx context.Context) error {
	r := &g.report
	file, err := g.side.NextProgram()
	if err != nil {
		return err
	}
	before, err := g.side.ask(ctx)
	if err != nil {
		return fmt.Errorf("ask before an upgrade: %w", err)
	}
	at := time.Now()
	if _, err := g.side.Upgrade(ctx, file); err != nil {
		return fmt.Errorf("upgrade %d: %w", r.Upgrades+1, err)
	}
	r.Upgrades++
	next, err := g.side.Successor(ctx, before.Runner)
	if err != nil {
		return err
	}
	g.tell("upgrade %d of %d: runner %d -> %d after %s ms, keeper %d", r.Upgrades, g.opts.Upgrades, before.Runner, next.Runner, millis(time.Since(at)), next.Keeper)
	return nil
}

// newcomers are the fresh connections that come right after each death.
const newcomers = 2

// longestStrike is how far into its life a successor is hit: its take-over is over by then.
const longestStrike = 20 * time.Millisecond

// strikeNext ends the runner that the keeper has just started, somewhere in its take-over.
func (g *gate) strikeNext(ctx context.Context, before []int) (pid int, err error) {
	if pid, err = g.side.nextRunner(ctx, before); err != nil {
		return 0, fmt.Errorf("wait for the next runner: %w", err)
	}
	rest(ctx, time.Duration(g.rng.Int64N(int64(longestStrike))))
	if !g.side.isRunner(pid) { // a life that was just being started, and looked like a runner until it had its own command line
		return g.strikeNext(ctx, append(before, pid))
	}
	if err := g.opts.Death.Strike(pid); err != nil {
		return 0, err
	}
	g.report.Next++
	return pid, nil
}

func (g *gate) tell(format string, args ...any) {
	if g.opts.Progress != nil {
		g.opts.Progress(fmt.Sprintf(format, args...))
	}
}

// judge fills Failures.
func (r *GateReport) judge() {
	c := r.Counts
	r.fail(c.Bad() > 0, "%d answers were not whole: %s", c.Bad(), c)
	r.fail(c.Complete == 0, "no answer was complete")
	r.fail(r.Deaths < r.Options.Deaths, "%d runners died, wanted %d", r.Deaths, r.Options.Deaths)
	r.fail(r.During < r.Options.During, "%d died during a restart of the worker, wanted %d", r.During, r.Options.During)
	r.fail(len(c.Nonces) != r.Restarts+1, "%d lives answered in %d restarts, wanted %d", len(c.Nonces), r.Restarts, r.Restarts+1)
	r.fail(!r.KeeperKept, "the keeper changed")
	r.fail(r.TakeOvers != int64(r.Deaths+r.Next+r.Upgrades), "%d take-overs after %d deaths and %d upgrades: a runner died of its own",
		r.TakeOvers, r.Deaths+r.Next, r.Upgrades)
	r.fail(r.Upgrades < r.Options.Upgrades, "%d upgrades, wanted %d", r.Upgrades, r.Options.Upgrades)
	r.fail(len(r.Troubles) > 0, "the sidecar's output says: %s", strings.Join(r.Troubles, "; "))
	r.fail(r.GapOver.Count() == 0, "no stream was open at any death")
}

func (r *GateReport) fail(failed bool, format string, args ...any) {
	if failed {
		r.Failures = append(r.Failures, fmt.Sprintf(format, args...))
	}
}

// Passed says whether the gate did.
func (r *GateReport) Passed() bool { return len(r.Failures) == 0 }

func (r *GateReport) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "crash gate, %s, %d streams x %g tokens/s: %d runners by %s, and %d of their successors; %d of them during %d restarts of the worker; %d drains by hand; %d upgrades, %d undone by a death; %s\n",
		r.Options.Sidecar.workerName(), r.Options.Streams, r.Options.Rate, r.Deaths, r.Options.Death, r.Next, r.During, r.Restarts, r.Drains, r.Upgrades, r.Undone, r.Took.Round(100*time.Millisecond))
	c := r.Counts
	fmt.Fprintf(&b, "  answers              %s; %d tokens\n", c, c.Tokens)
	fmt.Fprintf(&b, "  by kind              %s\n", byName(c.Kinds))
	fmt.Fprintf(&b, "  take-over            %s\n", &r.TakeOver)
	fmt.Fprintf(&b, "  of it mending        %s\n", &r.Mending)
	fmt.Fprintf(&b, "  windows hit          %s\n", byName(r.Found))
	fmt.Fprintf(&b, "  gap over a death     %s\n", &r.GapOver)
	fmt.Fprintf(&b, "  gap over two deaths  %s\n", &r.GapTwice)
	fmt.Fprintf(&b, "  gap over nothing     %s\n", &r.Control)
	fmt.Fprintf(&b, "  all gaps             %s\n", r.Gaps)
	fmt.Fprintf(&b, "  newcomers wait       %s\n", &r.Newcomers)
	fmt.Fprintf(&b, "  held                 %s\n", r.Holds)
	writeVerdict(&b, r.Failures, c.Notes)
	return b.String()
}

// writeVerdict ends a report.
func writeVerdict(b *strings.Builder, failures, notes []string) {
	if len(failures) == 0 {
		b.WriteString("  PASSED\n")
		return
	}
	for _, f := range failures {
		fmt.Fprintf(b, "  FAILED: %s\n", f)
	}
	for _, n := range notes {
		fmt.Fprintf(b, "    %s\n", n)
	}
}

func byName(counts map[string]int64) string {
	var parts []string
	for name, n := range counts {
		parts = append(parts, fmt.Sprintf("%s %d", name, n))
	}
	slices.Sort(parts)
	return strings.Join(parts, "  ")
}
