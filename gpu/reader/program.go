package reader

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"autoglm-sidecar/gpu"
	"autoglm-sidecar/health/probe/lastwords"
)

// program is one run of the program.
type program struct {
	pid    int
	in     *os.File      // what it reads; closed: it shall end
	out    *os.File      // what it writes
	lines  chan said     // closed after the last
	exited chan struct{} // closed when it has been waited for
	over   chan struct{} // closed by Run when it knows about that

	c     *exec.Cmd
	words func() string // how it ended; after exited

	mu     sync.Mutex // guards what follows
	reaped bool       // its number may be somebody else's
	orders
}

// said is a line, or why it is none.
type said struct {
	line gpu.Line
	err  error
}

// absent says that there is no such program, rather than that it can't be run.
func absent(err error) bool {
	return errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist)
}

// bare is an error without the path and the call.
func bare(err error) error {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	return err
}

// start runs a program in a process group of its own, so that what it starts ends with it, and a terminal's signals don't reach it.
//
// It ends with us in two ways. Its input ends when we close it; but when we are killed it stays open in the keeper, until the next
// runner closes what it doesn't know. So the kernel kills it, too, when the thread that started it ends: that thread stays.
func start(path string, args, environment []string) (*program, error) {
	theirIn, in, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		theirIn.Close()
		in.Close()
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	var printed lastwords.Tail
	c := exec.Command(path, args...)
	c.Env = slices.DeleteFunc(append([]string{}, environment...), // nil would be all of ours
		func(v string) bool { return strings.HasPrefix(v, "LD_BIND_NOW=") })
	c.Stdin, c.Stdout, c.Stderr = theirIn, theirOut, &printed
	c.WaitDelay = orphaned
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p := &program{
		in: in, out: out, c: c,
		lines: make(chan said), exited: make(chan struct{}), over: make(chan struct{}),
		orders: orders{wake: make(chan struct{}, 1)},
	}
	p.words = func() string {
		how := lastwords.Ended(c.ProcessState)
		if line := printed.Line(); line != "" {
			return how + ": " + line
		}
		return how
	}

	started := make(chan error)
	go p.keep(started)
	err = <-started
	theirIn.Close()
	theirOut.Close()
	if err != nil {
		in.Close()
		out.Close()
		return nil, err
	}
	p.pid = c.Process.Pid
	go p.read()
	go p.write()
	return p, nil
}

// keep is on the thread that starts the program, and stays on it until the program has been waited for, however long that takes.
func (p *program) keep(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := p.c.Start(); err != nil {
		started <- err
		return
	}
	pid := p.c.Process.Pid
	started <- nil
	for unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
	p.kill() // what it leaves behind in its group
	p.mu.Lock()
	p.reaped = true
	p.mu.Unlock()
	_ = p.c.Wait() // how it ended is in the process's state
	p.in.Close()   // the goroutine that writes ends
	close(p.exited)
}

// kill kills the group. Its number is its own until the program has been waited for.
func (p *program) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		_ = syscall.Kill(-p.c.Process.Pid, syscall.SIGKILL)
	}
}

// read sends all lines, and closes the program's output.
func (p *program) read() {
	defer p.out.Close()
	defer close(p.lines)
	for lines := gpu.NewLines[gpu.Line](&output{File: p.out}); ; {
		line, err := lines.Next()
		switch {
		case err == io.EOF:
			return
		case errors.Is(err, bufio.ErrTooLong):
			err = fmt.Errorf("it said a line of more than %d bytes", gpu.MaxLine)
		case err == nil:
			err = single(line)
		}
		if err != nil {
			err = errors.New(lastwords.Fit(err.Error())) // a word of it may be as long as the line
		}
		p.lines <- said{line, err}
		if err != nil {
			return
		}
	}
}

// output reads what the program wrote. Somebody else may hold it open after its end: so when the file's deadline has come, which says
// that the program has ended, it reads what is in the pipe, and then io.EOF.
type output struct {
	*os.File
	ended bool
	rest  int // bytes of the program's own there may be, at the most
}

// pipeSize is how much there is room for in a pipe (pipe(7)).
const pipeSize = 64 << 10

func (o *output) Read(b []byte) (int, error) {
	if !o.ended {
		n, err := o.File.Read(b)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		o.ended, o.rest = true, pipeSize
		_ = o.SetReadDeadline(time.Time{})
	}
	raw, err := o.SyscallConn()
	if err != nil {
		return 0, err
	}
	var n int
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		n, failed = unix.Read(int(fd), b[:min(len(b), o.rest)])
		return true // it is not waited for more
	})
	if err = errors.Join(err, failed); err != nil || n <= 0 {
		return 0, io.EOF
	}
	o.rest -= n
	return n, nil
}

// single says what is wrong with a line that doesn't have exactly one field.
func single(l gpu.Line) error {
	n := 0
	for _, set := range []bool{
		l.Hello != nil, l.System != nil, l.Sample != nil, l.Processes != nil, l.Condition != nil, l.Event != nil, l.Done != 0, l.Alive,
	} {
		if set {
			n++
		}
	}
	if n != 1 {
		return fmt.Errorf("it said a line with %d fields, want 1", n)
	}
	return nil
}
