package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"autoglm-sidecar/supervisor/check"
)

// scenario is the demonstration under way.
type scenario struct {
	show   *screen
	side   *check.Sidecar
	load   *check.Load
	need   int // long streams that must be open when something is done
	gpu    bool
	graph  string // of the memory that leaked
	result Result
}

// perform runs all steps and judges them. Whatever happens, the sidecar is stopped before it returns.
func perform(ctx context.Context, o Options, program string, show *screen) (*Result, error) {
	show.say("%d clients over loopback, answers of %v and more, a simulated worker that takes %v to start. No model, no GPU.\n",
		o.Clients, longStream, startDelay)
	defer show.end()
	show.begin("starting", nil)
	began := time.Now()
	within, cancel := context.WithTimeoutCause(ctx, stepPatience, errors.New("the sidecar did not begin to serve in time"))
	defer cancel()
	side, err := check.StartSidecar(within, check.SidecarOptions{
		Program: program,
		Sim:     []string{"--start-delay", startDelay.String(), "--tokens-per-second", fmt.Sprint(tokenRate), "--gpu-release", release.String()},
		GPU:     simulatedGPU(o.Library),
	})
	if err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	s := &scenario{show: show, side: side, need: int(longStreams * float64(o.Clients)), gpu: o.Library != ""}
	err = s.run(ctx, o, began)
	show.begin("stopping", nil)
	if stopped := side.Stop(context.WithoutCancel(ctx)); err != nil || stopped != nil {
		return nil, errors.Join(err, stopped)
	}
	return &s.result, nil
}

// run lets the clients begin, goes through the steps, lets the clients end, and counts.
func (s *scenario) run(ctx context.Context, o Options, began time.Time) error {
	st, err := s.side.Status(ctx)
	if err != nil {
		return err
	}
	s.done(Step{Name: "start", What: fmt.Sprintf("keeper %d, runner %d, worker %d", st.Keeper, st.Runner, st.Worker.PID)}, began)
	s.load = check.StartLoad(ctx, crowd(o, s.side.Address))
	err = s.steps(ctx)
	patience := stepPatience
	if err != nil {
		patience = 0 // what is still open tells nothing any more
	}
	ending, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s.show.begin("last answers", s.live)
	s.load.Stop(ending)
	if err != nil {
		return err
	}
	s.result.count(s.load, time.Since(began))
	return nil
}

// crowd is who asks: nine of ten read event streams, a tenth of these legacy ones; the others read plain JSON or slowly.
func crowd(o Options, address string) check.LoadOptions {
	tokens := [2]int{int(tokenRate*longStream.Seconds()) + 2, int(tokenRate * (longStream + longestMore).Seconds())}
	streams := o.Clients * 9 / 10
	slow := (o.Clients - streams) / 2
	return check.LoadOptions{
		Address: address, Rate: tokenRate, Ramp: time.Second, Seed: uint64(time.Now().UnixNano()),
		Groups: []check.Group{
			{Kind: check.Stream, Clients: streams - streams/10, Tokens: tokens},
			{Kind: check.Completion, Clients: streams / 10, Tokens: tokens},
			{Kind: check.Slow, Clients: slow, Tokens: [2]int{int(longStream.Seconds() * check.SlowRate), int(longStream.Seconds() * check.SlowRate)}},
			{Kind: check.Plain, Clients: o.Clients - streams - slow, Tokens: tokens},
		},
	}
}

const leakStep = "leak of GPU memory"

func (s *scenario) steps(ctx context.Context) error {
	for _, step := range []struct {
		name string
		do   func(context.Context, *Step) error
	}{
		{"restart of the worker", s.restart},
		{"kill -9 of the sidecar", s.kill},
		{"restart asked during a restart", s.restartTwice},
		{"kill -9 during a restart", s.killInRestart},
		{"upgrade in place", s.upgrade},
		{"drain and open by hand", s.drain},
		{leakStep, s.foresee},
		{"worker killed while idle", s.killIdleWorker},
	} {
		if step.name == leakStep && !s.gpu {
			continue
		}
		s.show.begin(step.name, s.live)
		if err := s.take(ctx, step.name, step.do); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

// take waits until enough long streams are open, and takes one step.
func (s *scenario) take(ctx context.Context, name string, do func(context.Context, *Step) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, stepPatience, fmt.Errorf("not done within %v", stepPatience))
	defer cancel()
	open, err := s.load.WaitOpen(ctx, s.need, longStream)
	if err != nil {
		return fmt.Errorf("wait for %d open streams: %w", s.need, err)
	}
	began, held := time.Now(), s.load.Tally.Counts().Held
	step := Step{Name: name, Open: open}
	if err := do(ctx, &step); err != nil {
		return err
	}
	if err := s.load.WaitBegun(ctx); err != nil {
		return fmt.Errorf("wait until those that waited have begun: %w", err)
	}
	step.Held = s.load.Tally.Counts().Held - held
	s.done(step, began)
	return nil
}

// done notes and shows a step that was taken.
func (s *scenario) done(step Step, began time.Time) {
	step.TookMS = time.Since(began).Milliseconds()
	s.result.Steps = append(s.result.Steps, step)
	s.show.step(step)
	if s.graph != "" {
		s.show.say("\n%s", s.graph)
		s.graph = ""
	}
}

// restart is an operator's.
func (s *scenario) restart(ctx context.Context, step *Step) error {
	r, err := s.side.Restart(ctx)
	if err != nil {
		return err
	}
	s.result.Restarts++
	step.What = fmt.Sprintf("drained, stopped, started: life %d -> %d", r.FromLife, r.ToLife)
	return nil
}

// kill ends the runner under load.
func (s *scenario) kill(ctx context.Context, step *Step) (err error) {
	gaps := new(check.Histogram)
	if step.What, err = s.killRunner(ctx, gaps); err != nil {
		return err
	}
	// The pause of a stream is known when its next token comes.
	if err := gaps.WaitCount(ctx, int64(step.Open)*9/10); err != nil {
		return fmt.Errorf("wait for tokens: %w", err)
	}
	step.What += fmt.Sprintf(", streams paused %.0f ms at most", float64(gaps.Max())/1e6)
	return nil
}

// killRunner sends SIGKILL to the runner that `status` names, and waits for the next one.
func (s *scenario) killRunner(ctx context.Context, gaps *check.Histogram) (what string, err error) {
	st, err := s.side.Status(ctx)
	if err != nil {
		return "", err
	}
	s.load.Mark(gaps)
	if err := check.Kill.Strike(st.Runner); err != nil {
		return "", err
	}
	s.result.SidecarKills++
	next, err := s.side.Successor(ctx, st.Runner)
	if err != nil {
		return "", err
	}
	if next.Keeper != st.Keeper || next.Runner == st.Runner {
		return "", fmt.Errorf("keeper %d and runner %d became %d and %d", st.Keeper, st.Runner, next.Keeper, next.Runner)
	}
	return fmt.Sprintf("runner %d -> %d, keeper %d stays", st.Runner, next.Runner, st.Keeper), nil
}

// restartTwice asks for a restart while one is under way: both come back when the one is done.
func (s *scenario) restartTwice(ctx context.Context, step *Step) error {
	first, err := s.beginRestart(ctx)
	if err != nil {
		return err
	}
	second, err := s.side.Restart(ctx)
	if err != nil {
		return errors.Join(err, (<-first).err)
	}
	one := <-first
	if one.err != nil {
		return one.err
	}
	s.result.Restarts++
	if !second.Joined || second.ID != one.ID || second.ToLife != one.ToLife {
		return fmt.Errorf("the second request began restart %d to life %d instead of joining restart %d to life %d", second.ID, second.ToLife, one.ID, one.ToLife)
	}
	step.What = fmt.Sprintf("the second joined the first: life %d -> %d", one.FromLife, one.ToLife)
	return nil
}

// killInRestart ends the runner while it drains the worker; the next one finishes the restart.
func (s *scenario) killInRestart(ctx context.Context, step *Step) error {
	restart, err := s.beginRestart(ctx)
	if err != nil {
		return err
	}
	what, err := s.killRunner(ctx, new(check.Histogram))
	one := <-restart
	if err := errors.Join(err, one.err); err != nil {
		return err
	}
	s.result.Restarts++
	step.What = fmt.Sprintf("%s and finished it: life %d -> %d", what, one.FromLife, one.ToLife)
	return nil
}

// upgrade lets another file go on in the place of this one, in the same process. A kill -9 within the next 30 s would bring
// this one back: what follows kills none.
func (s *scenario) upgrade(ctx context.Context, step *Step) error {
	file, err := s.side.NextProgram()
	if err != nil {
		return err
	}
	before, err := s.side.Status(ctx)
	if err != nil {
		return err
	}
	u, err := s.side.Upgrade(ctx, file)
	if err != nil {
		return err
	}
	after, err := s.side.Status(ctx)
	if err != nil {
		return err
	}
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", before.Keeper))
	if err != nil {
		return fmt.Errorf("see what the keeper executes: %w", err)
	}
	if u.Keeper != before.Keeper || exe != file || after.Runner == before.Runner || after.Worker.PID != before.Worker.PID {
		return fmt.Errorf("the keeper executes %s; keeper, runner and worker %d, %d and %d became %d, %d and %d",
			exe, before.Keeper, before.Runner, before.Worker.PID, after.Keeper, after.Runner, after.Worker.PID)
	}
	s.result.Upgrades++
	step.What = fmt.Sprintf("keeper %d executes another file, worker %d stays", before.Keeper, before.Worker.PID)
	return nil
}

// ended is how a restart that was asked for in the background did.
type ended struct {
	check.Restart
	err error
}

// beginRestart asks for a restart and returns as soon as it is under way.
func (s *scenario) beginRestart(ctx context.Context) (<-chan ended, error) {
	done := make(chan ended, 1)
	go func() {
		r, err := s.side.Restart(ctx)
		done <- ended{r, err}
	}()
	if err := s.side.WaitPhase(ctx, func(phase string) bool { return phase != check.Serving }); err != nil {
		return nil, fmt.Errorf("wait for the restart to begin: %w", err)
	}
	return done, nil
}

// drain holds the gate until somebody waits there, and opens it: the worker notices nothing.
func (s *scenario) drain(ctx context.Context, step *Step) error {
	before, err := s.side.Status(ctx)
	if err != nil {
		return err
	}
	if err := s.side.Say(ctx, "drain"); err != nil {
		return err
	}
	if err := s.load.WaitWaiting(ctx, max(1, s.need/15)); err != nil {
		return fmt.Errorf("wait until streams are held: %w", err)
	}
	select { // or they would hardly have waited
	case <-time.After(time.Second):
	case <-ctx.Done():
	}
	held, err := s.side.Status(ctx)
	if err != nil {
		return err
	}
	if err := s.side.Say(ctx, "open"); err != nil {
		return err
	}
	if held.Drained == nil || held.Worker.PID != before.Worker.PID || held.Life != before.Life {
		return fmt.Errorf("drained: %v, worker %d, life %d; before: worker %d, life %d", held.Drained != nil, held.Worker.PID, held.Life, before.Worker.PID, before.Life)
	}
	step.What = fmt.Sprintf("who came was held, worker %d stayed", held.Worker.PID)
	return nil
}

// killIdleWorker ends the worker when no stream is open; those that come then are held until it is back.
func (s *scenario) killIdleWorker(ctx context.Context, step *Step) error {
	if err := s.load.Rest(ctx); err != nil {
		return fmt.Errorf("wait until no stream is open: %w", err)
	}
	step.Open = 0
	before, err := s.side.Status(ctx)
	if err != nil {
		return err
	}
	if err := check.Kill.Strike(before.Worker.PID); err != nil {
		return err
	}
	if err := s.side.WaitPhase(ctx, func(phase string) bool { return phase != check.Serving }); err != nil {
		return fmt.Errorf("wait until its death is noticed: %w", err)
	}
	s.load.Lengths([2]int{tokenRate, tokenRate}) // a second: nothing is done to these
	s.load.Resume()
	if err := s.side.WaitPhase(ctx, func(phase string) bool { return phase == check.Serving }); err != nil {
		return fmt.Errorf("wait for the next life: %w", err)
	}
	after, err := s.side.Status(ctx)
	if err != nil {
		return err
	}
	s.result.Restarts++
	step.What = fmt.Sprintf("who came was held: worker %d -> %d, life %d -> %d",
		before.Worker.PID, after.Worker.PID, before.Life, after.Life)
	return nil
}

// live is what the bottom line says while clients are at work.
func (s *scenario) live() string {
	c := s.load.Tally.Counts()
	return fmt.Sprintf("%3d streams  %3d waiting  %5d answers whole  %d cut  %d refused", s.load.Open(0), s.load.Waiting(), c.Complete, c.Cut, c.Refused)
}
