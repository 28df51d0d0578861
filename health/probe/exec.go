package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// mostOutput is how much of a command's output is kept: a line of it is shown.
	mostOutput = 4 << 10
	// mostLine is how much of that line is shown.
	mostLine = 120
	// outputAfter is how long a command's output is waited for after its end, where somebody else holds it open.
	outputAfter = 100 * time.Millisecond
)

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

		var printed tail
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
			return &ExitError{How: ended(exit), Line: printed.line()}
		}
		if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
			return fmt.Errorf("wait for it: %w", err)
		}
		return nil
	}
}

// ended says how a command ended.
func ended(e *exec.ExitError) string {
	if status, ok := e.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return fmt.Sprintf("killed by signal %d", status.Signal())
	}
	return fmt.Sprintf("exited %d", e.ExitCode())
}

// tail keeps the last bytes that were written to it.
type tail struct{ kept []byte }

// Write takes everything.
func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p[max(0, len(p)-mostOutput):]...)
	if len(t.kept) > mostOutput {
		t.kept = append(t.kept[:0], t.kept[len(t.kept)-mostOutput:]...)
	}
	return len(p), nil
}

// line is the last line that has anything in it, fit to be shown.
func (t *tail) line() string {
	text := bytes.TrimSpace(t.kept)
	text = text[bytes.LastIndexByte(text, '\n')+1:]
	shown := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return -1
		}
		return r
	}, string(text))
	if len(shown) > mostLine {
		shown = strings.ToValidUTF8(shown[:mostLine], "") + " ..."
	}
	return shown
}
