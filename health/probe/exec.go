package probe

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"autoglm-sidecar/health/probe/lastwords"
)

// outputAfter is how long a command's output is waited for after its end, where somebody else holds it open.
const outputAfter = 100 * time.Millisecond

// ExitError is a command that ended otherwise than well.
type ExitError struct {
	How  string // "exited 1", or "killed by signal 9"
	Line string // the last that it printed, may be empty
}

func (e *ExitError) Error() string {
	if e.Line == "" {
		return e.How
	}
	return e.How + ": " + e.Line
}

// Exec runs a command, with nothing but env in its environment. It passes if it exits 0. When ctx ends the command is
// killed with everything that it has started in its process group, and so is whatever it leaves behind. Of ours it has
// no descriptor: all are closed on exec.
func Exec(command, env []string) Probe {
	return func(ctx context.Context) error {
		if len(command) == 0 {
			return errors.New("no command")
		}
		// The kernel kills the command when the thread that started it ends, so the thread must stay as long.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()

		var printed lastwords.Tail
		c := exec.Command(command[0], command[1:]...)
		c.Env = append([]string{}, env...) // nil would be all of ours
		c.Stdout, c.Stderr = &printed, &printed
		c.WaitDelay = outputAfter
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		if ctx.Err() != nil {
			return ErrNoAnswer
		}
		if err := c.Start(); err != nil {
			return fmt.Errorf("not run: %w", cause(err))
		}
		group := c.Process.Pid
		exited := make(chan struct{})
		go func() {
			defer close(exited)
			for unix.Waitid(unix.P_PID, group, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
			}
		}()
		select {
		case <-exited:
		case <-ctx.Done():
		}
		syscall.Kill(-group, syscall.SIGKILL) // the group's number is still its own, since nobody has waited for it
		<-exited
		err := c.Wait()
		if ctx.Err() != nil {
			return fmt.Errorf("%w: killed", ErrNoAnswer)
		}
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			return &ExitError{How: lastwords.Ended(exit.ProcessState), Line: printed.Line()}
		}
		if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
			return fmt.Errorf("wait for it: %w", err)
		}
		return nil
	}
}
