//go:build cgo && linux

// Autoglm-sidecar-nvml reads NVIDIA's library (NVML) for the sidecar: it is told on its standard input what to watch and says on
// its standard output what it sees, in the lines of package gpu.
//
// It is a program of its own because the library can end a process. A function that the installed driver lacks is an exit of 127
// without a panic; a hanging driver holds a thread for minutes; a handle that is lost comes back in a new process only. None of
// that may touch the streams. So the sidecar starts it, starts it again, and takes its silence for what it is.
//
// One goroutine makes all calls of NVML, one at a time (reader), but for the waiting for events (events.go). No other file than
// library.go calls go-nvml, where each call is behind the question whether the driver has it.
//
// It must be linked with -extldflags=-Wl,-z,lazy, and started without LD_BIND_NOW: NVML's functions are found when they are first
// called, and a loader that wants them all at the start finds none.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"autoglm-sidecar/gpu"
)

var version = "unknown" // by the linker

// How the program ends. Anything else is the library's doing: 127 is a function that there isn't.
const (
	exitWell     = 0 // the sidecar closed our input
	exitProtocol = 2 // we don't understand each other
	exitStale    = 3 // only a new process can read on
)

// lastCalls is how long the library may take to be closed. Then the process ends anyhow, which closes it as well.
const lastCalls = 800 * time.Millisecond

func main() {
	flags := flag.NewFlagSet("autoglm-sidecar-nvml", flag.ExitOnError)
	path := flags.String("library", "libnvidia-ml.so.1", "NVML's `file`")
	giveUp := flags.Duration("give-up", 30*time.Second, "end if for `so long` all devices are lost or fail for no known reason")
	says := flags.Bool("version", false, "print the version")
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "The sidecar starts this program: it reads NVIDIA's library and speaks JSON lines. Flags:")
		flags.PrintDefaults()
	}
	_ = flags.Parse(os.Args[1:]) // exits on an error
	if *says {
		fmt.Println(version)
		return
	}
	os.Exit(run(*path, *giveUp, os.Stdin, os.Stdout))
}

// run reads until in ends. It returns the exit status; the reader may still be in a call that hangs.
func run(path string, giveUp time.Duration, in io.Reader, out io.Writer) int {
	r := newReader(newLibrary(path), out, giveUp)
	protocol := make(chan error, 1)
	go func() {
		lines := gpu.NewLines[gpu.Order](in)
		for {
			order, err := lines.Next()
			if err == nil {
				err = sane(order)
			}
			if err != nil {
				protocol <- err
				return
			}
			r.inbox.put(order)
		}
	}()
	ended := make(chan error, 1)
	go func() { ended <- r.run() }()

	select {
	case err := <-ended:
		return say(exitStale, err)
	case err := <-protocol:
		close(r.stop)
		select {
		case <-ended:
		case <-time.After(lastCalls):
		}
		if err != io.EOF {
			return say(exitProtocol, err)
		}
		return exitWell
	}
}

func say(status int, err error) int {
	fmt.Fprintf(os.Stderr, "autoglm-sidecar-nvml: %v\n", err)
	return status
}

// sane says whether an order can be followed.
func sane(o gpu.Order) error {
	if min(o.MemoryEvery, o.ProcessesEvery, o.ConditionEvery) < 0 {
		return fmt.Errorf("read an order: an interval is below 0: %+v", o)
	}
	return nil
}
