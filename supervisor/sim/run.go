package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/pflag"
)

// Options are what a simulated worker is started with.
type Options struct {
	// Listen is HOST:PORT (an empty host is every IPv4 address, port 0 a free one) or unix:PATH. There is no default.
	Listen string
	// Model is the name that /v1/models lists and answers bear whose request names none. Requests may name any.
	Model string

	// StartDelay is how long the model seems to load. Until then connecting is refused, though the address is bound.
	StartDelay time.Duration
	// StartOutput is the time between two lines of output while it loads; 0: none.
	StartOutput time.Duration
	// ListenEarly makes it listen while it loads and answer everything with 503, as SGLang and llama.cpp do.
	ListenEarly bool
	// ReusePort sets SO_REUSEPORT as vLLM did before July 2026: a second worker on the port starts happily, and the
	// kernel splits the connections between the two.
	ReusePort bool
	// KeepAlive is how long an idle connection is kept, as in uvicorn; 0: for ever.
	KeepAlive time.Duration

	// Children is how many processes it spawns that outlive it, for ChildrenHold after its end; in sessions of their
	// own with ChildrenSetsid, so that a signal to the group misses them.
	Children       int
	ChildrenHold   time.Duration
	ChildrenSetsid bool

	// Faults are the switches in force from the start.
	Faults Faults

	// GPU is what it does to the double of a GPU.
	GPU GPU

	// AccessLog prints a line for each request, as uvicorn does.
	AccessLog bool

	// Output gets the lines that a person sees; nil: standard output.
	Output io.Writer
	// Ready is called with the address once the worker is ready; nil: nobody is.
	Ready func(net.Addr)
}

// DefaultOptions are a well vLLM that is loaded at once. Listen must be set.
func DefaultOptions() Options {
	return Options{
		Model: "autoglm-phone-9b", KeepAlive: 5 * time.Second, ChildrenHold: 30 * time.Second, Faults: DefaultFaults(),
		GPU: defaultGPU(),
	}
}

// RegisterFlags declares the flags that fill o; their defaults are what o holds.
func RegisterFlags(flags *pflag.FlagSet, o *Options) {
	f := &o.Faults
	flags.StringVar(&o.Listen, "listen", o.Listen, "HOST:PORT or unix:PATH to serve on")
	flags.StringVar(&o.Model, "model", o.Model, "name of the model that is not there")
	flags.DurationVar(&o.StartDelay, "start-delay", o.StartDelay, "how long loading takes; connecting is refused until then")
	flags.DurationVar(&o.StartOutput, "start-output", o.StartOutput, "time between two lines of output while loading (0: none)")
	flags.BoolVar(&o.ListenEarly, "listen-early", o.ListenEarly, "listen while loading and answer 503")
	flags.BoolVar(&o.ReusePort, "reuse-port", o.ReusePort, "set SO_REUSEPORT, as vLLM did before July 2026")
	flags.DurationVar(&o.KeepAlive, "keep-alive", o.KeepAlive, "how long an idle connection is kept (0: for ever)")
	flags.BoolVar(&o.AccessLog, "access-log", o.AccessLog, "print a line for each request")
	flags.IntVar(&o.Children, "children", o.Children, "child processes that outlive this one")
	flags.DurationVar(&o.ChildrenHold, "children-hold", o.ChildrenHold, "for how long they do")
	flags.BoolVar(&o.ChildrenSetsid, "children-setsid", o.ChildrenSetsid, "give each its own session")

	flags.Float64Var(&f.TokensPerSecond, "tokens-per-second", f.TokensPerSecond, "pace of each choice (0: as fast as possible)")
	flags.IntVar(&f.TokensPerEvent, "tokens-per-event", f.TokensPerEvent, "tokens in one event")
	flags.DurationVar((*time.Duration)(&f.Prefill), "prefill", time.Duration(f.Prefill), "time to the first token")
	flags.StringVar((*string)(&f.Fault), "fault", string(f.Fault), choices("fault of an answer", faults))
	flags.IntVar(&f.AtToken, "at-token", f.AtToken, "token at which --fault strikes, from 0")
	flags.StringVar((*string)(&f.Framing), "framing", string(f.Framing), choices("how the end of a body is told", framings))
	flags.IntSliceVar(&f.Interim, "interim", f.Interim, "1xx answers before each answer")
	flags.BoolVar(&f.Trailers, "trailers", f.Trailers, "end chunked bodies with trailers")
	flags.IntVar(&f.EarlyStatus, "early-status", f.EarlyStatus, "error status to answer with before the body is read (0: none)")
	flags.BoolVar(&f.EarlyReset, "early-reset", f.EarlyReset, "close at once after it")
	flags.StringVar((*string)(&f.Malformed), "malformed", string(f.Malformed), choices("broken HTTP instead of answers", malformedShapes()))
	flags.IntVar(&f.Every, "every", f.Every, "strike only each n-th request")
	flags.StringVar((*string)(&f.Hang), "hang", string(f.Hang), choices("what hangs", hangs))
	flags.StringVar((*string)(&f.OnTerm), "on-term", string(f.OnTerm), choices("what SIGTERM does", termManners))
	flags.Int64Var(&f.CrashAfterTokens, "crash-after-tokens", f.CrashAfterTokens, "crash after so many tokens in all (0: never)")
	flags.IntVar(&f.CrashExit, "crash-exit", f.CrashExit, "exit status of the crash (-1: SIGKILL to itself)")
	flags.StringVar(&f.CrashOnPrompt, "crash-on-prompt", f.CrashOnPrompt, "crash at once on a prompt that has this text (empty: on none)")
	flags.BoolVar(&f.Saturated, "saturated", f.Saturated, "new answers wait and probes time out, while open answers flow")

	o.GPU.registerFlags(flags)
}

// choices is a flag's help with the values it takes.
func choices[T ~string](what string, known []T) string {
	for i, value := range known {
		switch {
		case i == 0:
			what += ": "
		default:
			what += ", "
		}
		if value == "" {
			value = "'' (none)"
		}
		what += string(value)
	}
	return what
}

func (o Options) validate() error {
	var listen error
	if o.Listen == "" {
		listen = errors.New("listen: say where, such as 127.0.0.1:8001 or unix:/run/worker.sock")
	}
	return errors.Join(
		listen,
		outOf(o.StartDelay < 0, "start-delay", o.StartDelay, "0s or more"),
		outOf(o.StartOutput < 0, "start-output", o.StartOutput, "0s or more"),
		outOf(o.KeepAlive < 0, "keep-alive", o.KeepAlive, "0s or more"),
		outOf(o.Children < 0 || o.Children > 64, "children", o.Children, "0 to 64"),
		outOf(o.ChildrenHold < 0, "children-hold", o.ChildrenHold, "0s or more"),
		o.Faults.validate(),
		o.GPU.validate(o.Children),
	)
}

// Run is the whole life of a simulated worker. It takes SIGTERM (Faults.OnTerm says what it does) and SIGINT (which
// ends it at once) from the process, so ctx must not be tied to them; the end of ctx is like SIGINT. The error is what
// kept it from starting or serving; nil is an end that was asked for.
func Run(ctx context.Context, o Options, log *slog.Logger) error {
	if hold := os.Getenv(childHold); hold != "" {
		return beChild(ctx, hold, o.GPU)
	}
	if err := o.validate(); err != nil {
		return fmt.Errorf("simulated worker: %w", err)
	}
	if o.Output == nil {
		o.Output = os.Stdout
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)

	socket, err := bind(o.Listen, o.ReusePort)
	if err != nil {
		return fmt.Errorf("simulated worker: %w", err)
	}
	defer socket.close()
	child, err := spawnChildren(o)
	if err != nil {
		return fmt.Errorf("simulated worker: %w", err)
	}
	s := newServer(o)
	defer s.stop()
	life := lifetime{server: s, socket: socket, signals: signals, failed: make(chan error, 1), log: log}
	if o.GPU.State != "" {
		owner := os.Getpid()
		if o.GPU.PID == ListChild {
			owner = child
		}
		if s.gpu, err = newDevice(o.GPU, o.StartDelay, owner, life.failed); err != nil {
			return fmt.Errorf("simulated worker: %w", err)
		}
		s.group.Go(func() { s.gpu.run(s.stopped) })
	}
	if err := life.run(ctx); err != nil {
		return fmt.Errorf("simulated worker: %w", err)
	}
	return nil
}
