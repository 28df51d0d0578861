// Package cli is the command line: one file a subcommand. It reads arguments, asks or starts what the command names,
// and prints: answers to stdout, progress of `run` as logs to stderr, and an error once, with what to do next. It is
// also where signals of the operating system end; the rooms below know only contexts and channels.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"autoglm-sidecar/supervisor/admin"
	"autoglm-sidecar/supervisor/config"
	"autoglm-sidecar/supervisor/demo"

	"github.com/spf13/cobra"
)

// program is what people type.
const program = "autoglm-sidecar"

// The exit codes of all subcommands.
const (
	exitDone       = 0
	exitFailed     = 1
	exitUsage      = 2 // wrong arguments or settings; demo: a build without the entry point
	exitNotRunning = 3
	exitRefused    = 4
	exitPostponed  = 5
)

const exitHelp = `Exit codes:
  0  done
  1  failed
  2  wrong arguments or settings, or a build that can't do it
  3  no sidecar is running
  4  refused
  5  postponed: streams were in the way`

// Main runs the command line and returns the exit code.
func Main(args []string) int {
	return execute(context.Background(), args, os.Stdout, os.Stderr, config.ThisHost())
}

// execute is Main with everything it meets passed in.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer, h config.Host) int {
	began := false
	root := &cobra.Command{
		Use:   program,
		Short: "Restarts an inference worker, and itself, without cutting a stream",
		Long: program + ` stands beside an inference worker: clients connect to it, it passes their streams to the
worker, and it restarts the worker, or is itself killed and replaced, without cutting one of them.

` + exitHelp,
		SilenceErrors:    true,
		SilenceUsage:     true,
		PersistentPreRun: func(*cobra.Command, []string) { began = true },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.AddCommand(newRun(stderr, h), newConfig(h), newStatus(h), newRestart(h), newUpgrade(h),
		newDrain(h), newOpen(h), newStop(h), newStart(h), newFreeze(h), newUnfreeze(h), newHistory(h), newVersion(), newSim(stderr), newDemo())

	c, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	if !began {
		err = usageError{fmt.Errorf("%s; see %s --help", config.Redact(err.Error()), c.CommandPath())}
	}
	fmt.Fprintf(stderr, "%s: %v\n", program, err)
	return exitCode(err)
}

// usageError is a command line that makes no sense.
type usageError struct{ error }

// postponedError is a restart that was asked for and put off.
type postponedError struct{ error }

func exitCode(err error) int {
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[config.Problems](err); ok {
		return exitUsage
	}
	if shown, ok := errors.AsType[*demo.ExitError](err); ok {
		return shown.Code
	}
	if _, ok := errors.AsType[postponedError](err); ok {
		return exitPostponed
	}
	if _, ok := errors.AsType[*admin.Refusal](err); ok {
		return exitRefused
	}
	if none, ok := errors.AsType[admin.NotRunning](err); ok {
		if none.Forbidden() {
			return exitRefused
		}
		return exitNotRunning
	}
	return exitFailed
}
