package sim

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

// childHold is set in the environment of a process that is a child of the worker, to how long it holds on after the
// worker's end.
const childHold = "AUTOGLM_SIM_CHILD"

// reportsFD is the descriptor on which a child says that it is ready.
const reportsFD = 3

// spawnChildren starts processes that are to the worker as EngineCore is to vLLM: they stay when it dies. Each is this
// same program with the same arguments. They share the worker's output, so a reader of it sees no end before theirs.
// first is the PID of the first; 0: there is none.
func spawnChildren(o Options) (first int, err error) {
	for range o.Children {
		child, err := spawnChild(o.ChildrenHold, o.ChildrenSetsid)
		if err != nil {
			return 0, fmt.Errorf("spawn child: %w", err)
		}
		first = cmp.Or(first, child.Pid)
	}
	return first, nil
}

// spawnChild returns once the child takes no notice of signals any more.
func spawnChild(hold time.Duration, setsid bool) (*os.Process, error) {
	alive, held, err := os.Pipe() // held is open as long as the worker lives
	if err != nil {
		return nil, err
	}
	defer alive.Close()
	ready, reports, err := os.Pipe()
	if err != nil {
		held.Close()
		return nil, err
	}
	defer ready.Close()
	child := exec.Command("/proc/self/exe", os.Args[1:]...)
	child.Args[0] = os.Args[0]
	child.Env = append(os.Environ(), childHold+"="+hold.String())
	child.Stdin, child.Stdout, child.Stderr = alive, os.Stdout, os.Stderr
	child.ExtraFiles = []*os.File{reports} // becomes reportsFD
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: setsid}
	err = child.Start()
	reports.Close()
	if err != nil {
		held.Close()
		return nil, err
	}
	go func() {
		child.Wait() // so that one that is killed leaves no zombie
		held.Close()
	}()
	if _, err := ready.Read(make([]byte, 1)); err != nil {
		return nil, fmt.Errorf("wait until pid %d is ready: %w", child.Process.Pid, err)
	}
	return child.Process, nil
}

// beChild is the whole life of such a process: it takes no notice of TERM, INT and HUP, waits for the worker's end,
// and holds on for a while.
func beChild(ctx context.Context, hold string, g GPU) error {
	after, err := time.ParseDuration(hold)
	if err != nil {
		return fmt.Errorf("read %s: %w", childHold, err)
	}
	if err := os.WriteFile("/proc/self/comm", []byte("EngineCore"), 0); err != nil {
		return fmt.Errorf("take a name as a child of the simulated worker: %w", err)
	}
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	reports := os.NewFile(reportsFD, "reports")
	if _, err := reports.Write([]byte{1}); err != nil {
		return fmt.Errorf("report as a child of the simulated worker: %w", err)
	}
	reports.Close()
	io.Copy(io.Discard, os.Stdin) // ends with the worker
	ctx, cancel := context.WithTimeout(ctx, after)
	defer cancel()
	if g.State != "" && g.PID == ListChild {
		g.beSeen(ctx)
	}
	<-ctx.Done()
	return nil
}
