// Package reader runs the program that reads NVML, and keeps it running. That is a program of its own since the driver's library can
// hang, and can end the process that has loaded it.
package reader

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"autoglm-sidecar/gpu"
)

const (
	// ending is how long a program has to end by itself, and how long it is waited for once it was killed and nobody needs it any more.
	ending = time.Second
	// orphaned is how long the end of what the program prints is waited for after its own, where somebody else holds that open.
	orphaned = 100 * time.Millisecond
	// jitter is the share of a back-off that is left to chance.
	jitter = 0.25
)

// Options say which program, and what becomes of its lines. What is 0 gets its default from New.
type Options struct {
	Program string // path, or a name to be looked for in PATH
	Args    []string
	// Environment is all that the program gets, but for LD_BIND_NOW: with it the program would die before main, since it
	// links functions that the installed driver may not have.
	Environment []string
	Log         *slog.Logger // nil: none

	// Take gets each line of the program, in order and on the goroutine that is in Run; Hello, Alive and Done, too. While it runs
	// nothing is read, and no silence is noticed. It may call anything but Now, which would wait for it.
	Take func(gpu.Line)

	Silence    time.Duration // no line for so long is silence; 10 s
	Kill       time.Duration // the program is killed when it was silent for so long; 60 s
	BackoffMin time.Duration // before the second start, a quarter more or less; doubles with each end in a row; 1 s
	BackoffMax time.Duration // 5 min; a program that read for so long begins with BackoffMin again
}

// Reader keeps one program running.
type Reader struct {
	o Options

	said string // what the log was told last; Run's

	mu       sync.Mutex      // guards what follows; nobody blocks while he holds it
	state    gpu.SourceState // written by Run only
	standing gpu.Order       // by Order
	number   int64           // of the latest Now
	program  *program        // that reads; nil: none does, or it has not said its Hello
}

// New makes a Reader. Nothing happens before Run.
func New(o Options) *Reader {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	orDefault := func(d *time.Duration, or time.Duration) {
		if *d <= 0 {
			*d = or
		}
	}
	orDefault(&o.Silence, 10*time.Second)
	orDefault(&o.Kill, time.Minute)
	orDefault(&o.BackoffMin, time.Second)
	orDefault(&o.BackoffMax, 5*time.Minute)
	return &Reader{o: o, state: gpu.SourceState{Kind: gpu.SourceStarts, Since: time.Now()}}
}

// State says how the program stands.
func (r *Reader) State() gpu.SourceState {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
}

// Order changes the standing order: what o doesn't name stays as it was. The program gets it now, and each later one after its
// Hello. o.Now is not used: see Now.
func (r *Reader) Order(o gpu.Order) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(o.Watch) > 0 {
		r.standing.Watch = slices.Clone(o.Watch)
	}
	for _, d := range []struct{ to, from *time.Duration }{
		{&r.standing.MemoryEvery, &o.MemoryEvery},
		{&r.standing.ProcessesEvery, &o.ProcessesEvery},
		{&r.standing.ConditionEvery, &o.ConditionEvery},
	} {
		if *d.from > 0 {
			*d.to = *d.from
		}
	}
	if r.program != nil {
		r.program.tell(r.standing)
	}
}

// Now has the program look at each device at once, and returns nil when Take has got all of it. It is an error that the program
// doesn't read, or ends, and that ctx ends.
func (r *Reader) Now(ctx context.Context) error {
	r.mu.Lock()
	p, state := r.program, r.state
	if p == nil || state.Kind != gpu.SourceReads {
		r.mu.Unlock()
		return unanswered(state)
	}
	r.number++
	answer := p.ask(r.number)
	r.mu.Unlock()

	select {
	case <-answer:
		return nil
	case <-p.over:
		select {
		case <-answer: // before it ended
			return nil
		default:
			return unanswered(r.State())
		}
	case <-ctx.Done():
		p.forget(answer)
		return fmt.Errorf("look at the GPUs now: %w", context.Cause(ctx))
	}
}

func unanswered(s gpu.SourceState) error {
	if s.Text == "" {
		return fmt.Errorf("look at the GPUs now: the reader is %s", s.Kind)
	}
	return fmt.Errorf("look at the GPUs now: the reader is %s: %s", s.Kind, s.Text)
}

// Run keeps the program running until ctx ends, and then ends it: it returns when the program has ended, or 2 s after ctx where not
// even a kill ends it. It is called once.
func (r *Reader) Run(ctx context.Context) {
	p := newPauses(r.o.BackoffMin, r.o.BackoffMax)
	for ctx.Err() == nil {
		select {
		case <-time.After(p.after(r.once(ctx))):
		case <-ctx.Done():
		}
	}
}

// pauses are how long is waited before the next start.
type pauses struct{ backoff.ExponentialBackOff }

func newPauses(least, most time.Duration) *pauses {
	return &pauses{backoff.ExponentialBackOff{InitialInterval: least, MaxInterval: most, Multiplier: 2, RandomizationFactor: jitter}}
}

// after is the pause after a program of that kind, that read for so long.
func (p *pauses) after(kind gpu.SourceKind, read time.Duration) time.Duration {
	if kind != gpu.SourceFailed {
		return p.MaxInterval // only an installation helps
	}
	if read >= p.MaxInterval {
		p.Reset()
	}
	return p.NextBackOff()
}

// once starts the program and stays with it until it has ended. It returns as what it ended, and how long it read.
func (r *Reader) once(ctx context.Context) (kind gpu.SourceKind, read time.Duration) {
	path, err := exec.LookPath(r.o.Program)
	if absent(err) {
		return r.become(gpu.SourceAbsent, fmt.Sprintf("there is no %s", r.o.Program)), 0
	}
	var p *program
	if err == nil {
		p, err = start(path, r.o.Args, r.o.Environment)
	}
	if err != nil {
		return r.become(gpu.SourceFailed, fmt.Sprintf("start %s: %v", r.o.Program, bare(err))), 0
	}
	r.mu.Lock()
	r.state.PID = p.pid
	r.state.Starts++
	r.mu.Unlock()
	r.become(gpu.SourceStarts, "")

	a := &attendance{Reader: r, p: p}
	left := a.stay(ctx)

	r.mu.Lock()
	r.program, r.state.PID = nil, 0
	r.mu.Unlock()
	switch {
	case !left:
		kind = r.become(gpu.SourceFailed, "it was killed, and doesn't end")
	case a.refused != "":
		kind = r.become(gpu.SourceRefused, a.refused)
	case a.wrong != nil:
		kind = r.become(gpu.SourceFailed, fmt.Sprintf("%v: %s", a.wrong, p.words()))
	case ctx.Err() != nil:
		kind = r.set(gpu.SourceFailed, "it was told to end") // which is nothing for the log
	default:
		kind = r.become(gpu.SourceFailed, p.words())
	}
	close(p.over) // after the state has changed: Now says it
	if !a.hello.IsZero() {
		read = time.Since(a.hello)
	}
	return kind, read
}

// set changes the state.
func (r *Reader) set(kind gpu.SourceKind, text string) gpu.SourceKind {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state.Kind != kind {
		r.state.Since = time.Now()
	}
	r.state.Kind, r.state.Text = kind, text
	return kind
}

// become changes the state, and says so in the log if it is another than was said last. So what lasts is said once.
func (r *Reader) become(kind gpu.SourceKind, text string) gpu.SourceKind {
	r.set(kind, text)
	say := string(kind) + text
	if kind == gpu.SourceSilent {
		say = string(kind) // for how long changes
	}
	if kind == gpu.SourceStarts || say == r.said {
		return kind
	}
	r.said = say
	switch kind {
	case gpu.SourceReads:
		state := r.State()
		r.o.Log.Info("the GPU reader reads", "pid", state.PID, "version", state.Version)
	case gpu.SourceAbsent:
		r.o.Log.Info("GPUs are not read", "because", text)
	case gpu.SourceSilent, gpu.SourceFailed, gpu.SourceRefused, gpu.SourceStarts:
		r.o.Log.Warn("the GPU reader is "+string(kind), "because", text)
	}
	return kind
}

// attendance is Run while there is a program: all of it is on Run's goroutine.
type attendance struct {
	*Reader
	p       *program
	hello   time.Time // when it said it; zero: not yet
	heard   time.Time // when the latest line had been taken
	refused string    // it speaks another protocol
	wrong   error     // it said what is no line
	killed  bool
}

// stay takes lines until the program has ended. It returns false if it hasn't although it was killed, and ctx has ended.
func (a *attendance) stay(ctx context.Context) bool {
	a.heard = time.Now()
	silence := time.NewTimer(a.o.Silence)
	defer silence.Stop()
	leave := time.NewTimer(0) // runs from when the program was told to end
	leave.Stop()
	defer leave.Stop()

	lines, ended, told := a.p.lines, ctx.Done(), false
	end := func() {
		if !told {
			told = true
			a.p.in.Close()
			leave.Reset(ending)
		}
	}
	for {
		select {
		case said, ok := <-lines:
			if !ok {
				lines = nil
				end()
			} else if !a.take(said) {
				end()
			}
			silence.Reset(a.o.Silence)
		case <-a.p.exited:
			_ = a.p.out.SetReadDeadline(time.Unix(1, 0)) // what is in the pipe is still read
			for said := range a.p.lines {
				a.take(said)
			}
			return true
		case <-silence.C:
			a.silent()
			silence.Reset(a.o.Silence)
		case <-leave.C:
			if a.killed && ctx.Err() != nil {
				return false
			}
			a.kill()
			if ctx.Err() != nil {
				leave.Reset(ending)
			}
		case <-ended:
			ended = nil
			end()
			leave.Reset(ending) // also where it was told before
		}
	}
}

// silent is called where no line came for a while.
func (a *attendance) silent() {
	quiet := time.Since(a.heard)
	text := fmt.Sprintf("no answer for %d s", int(quiet.Round(time.Second).Seconds()))
	if a.killed {
		text += "; it was killed, and doesn't end"
	}
	a.become(gpu.SourceSilent, text)
	if quiet >= a.o.Kill && !a.killed {
		a.wrong = errors.New(text)
		a.kill()
	}
}

func (a *attendance) kill() {
	a.killed = true
	a.p.kill()
}

// take returns false if the program has to end.
func (a *attendance) take(said said) bool {
	if a.refused != "" || a.wrong != nil {
		return false
	}
	if said.err != nil {
		a.wrong = said.err
		return false
	}
	line := said.line
	switch {
	case a.hello.IsZero() && line.Hello == nil:
		a.wrong = errors.New("its first line is no hello")
		return false
	case a.hello.IsZero() && line.Hello.Protocol != gpu.Protocol:
		a.refused = fmt.Sprintf("the reader speaks protocol %d, this sidecar %d: install the autoglm-sidecar-nvml of the same version",
			line.Hello.Protocol, gpu.Protocol)
		return false
	case !a.hello.IsZero() && line.Hello != nil:
		a.wrong = errors.New("it said hello twice")
		return false
	}
	a.o.Take(line)
	a.heard = time.Now()
	if line.Hello != nil {
		a.hello = a.heard
		a.mu.Lock()
		a.state.Version = line.Hello.Version
		a.program = a.p
		a.p.tell(a.standing)
		a.mu.Unlock()
	}
	a.become(gpu.SourceReads, "")
	if line.Done != 0 {
		a.p.answered(line.Done)
	}
	return true
}
