// Package demo is the demonstration: it starts this program's own file as a sidecar with a simulated worker, lets 200
// clients stream from it over loopback, and then does what a bad day would: restarts the worker under load, asks again
// while that is under way, kills the sidecar's runner with -9, kills it in the middle of a restart, lets the worker leak
// GPU memory (of a GPU that isn't there), and kills the worker while nobody uses it. The clients compare each byte and never retry; only what they counted is reported.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"autoglm-sidecar/supervisor/check"

	"github.com/spf13/pflag"
)

// Options are the demonstration's size and output.
type Options struct {
	Clients int    // of all kinds; nine of ten read event streams
	JSON    bool   // print nothing but the Result, as JSON
	Library string // the double of NVIDIA's library; empty: no GPU is shown
}

// DefaultOptions are 200 clients and output for people.
func DefaultOptions() Options { return Options{Clients: 200} }

// RegisterFlags adds the flags of `demo`.
func RegisterFlags(flags *pflag.FlagSet, o *Options) {
	flags.IntVar(&o.Clients, "clients", o.Clients, "clients that ask all the time; 200 is what the pass mark is for")
	flags.StringVar(&o.Library, "gpu-library", o.Library, "a double of NVIDIA's library, as make demo builds it: shows a leak of GPU memory, too")
	flags.BoolVar(&o.JSON, "json", o.JSON, "print the result as JSON and nothing else")
}

// Exit codes of Run's error, see ExitError.
const (
	ExitFailed  = 1 // a stream was not whole, or the demonstration could not be run
	ExitNoEntry = 2 // this build has no entry point
)

// ExitError is how Run fails: with the exit code that the command should have.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string { return e.Err.Error() }

// Unwrap is the cause.
func (e *ExitError) Unwrap() error { return e.Err }

// The figures of the demonstration.
const (
	startDelay   = 2 * time.Second
	tokenRate    = 25.0            // a second and stream
	longStream   = 5 * time.Second // answers take at least so long
	longestMore  = 600 * time.Millisecond
	longStreams  = 0.75             // of the clients must have a long stream open when something is done: 150 of 200
	stepPatience = 60 * time.Second // for whatever one step waits for
)

// Run shows it, prints to stdout, and stops all that it started, also when ctx ends early. The error is an *ExitError.
func Run(ctx context.Context, o Options, stdout io.Writer) error {
	if o.Clients < 10 {
		return &ExitError{ExitFailed, fmt.Errorf("%d clients are too few to show anything; take 10 or more", o.Clients)}
	}
	program, err := os.Executable()
	if err != nil {
		return &ExitError{ExitFailed, fmt.Errorf("find this program's file: %w", err)}
	}
	show := newScreen(stdout)
	if o.JSON {
		show = newScreen(io.Discard)
	}
	result, err := perform(ctx, o, program, show)
	switch {
	case errors.Is(err, check.ErrNoKeeper):
		return &ExitError{ExitNoEntry, errors.New("this build has no keeper, so the sidecar would not survive its own death: build with make build")}
	case ctx.Err() != nil:
		return &ExitError{ExitFailed, errors.New("interrupted; everything that was started is stopped")}
	case err != nil:
		return &ExitError{ExitFailed, err}
	}
	if o.JSON {
		err = result.writeJSON(stdout)
	} else {
		err = result.write(stdout)
	}
	if err == nil && !result.Passed {
		err = fmt.Errorf("failed: %w", result.failure())
	}
	if err != nil {
		return &ExitError{ExitFailed, err}
	}
	return nil
}
