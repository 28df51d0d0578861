package child

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"autoglm-sidecar/health/probe"
	"autoglm-sidecar/supervisor"

	"golang.org/x/sys/unix"
)

// What the keeper of these tests lays where each of its runners finds it. It is a keeper in Go, without shared
// descriptors: what matters here is that it is the parent of runner and worker, holds the pipes, and tells the exits.
const (
	outputReadFD = 3 + iota
	outputWriteFD
	exitsReadFD
)

// beKeeper starts a runner, and the next one whenever it is killed, with the arguments and streams that it has itself.
func beKeeper() {
	must(0, unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
	outputRead, outputWrite := must2(os.Pipe())
	exitsRead, exitsWrite := must2(os.Pipe())
	files := []uintptr{0, 1, 2, outputRead.Fd(), outputWrite.Fd(), exitsRead.Fd()}
	args := append([]string{os.Args[0], runnerRole}, os.Args[2:]...)
	for {
		runner := must(syscall.ForkExec("/proc/self/exe", args, &syscall.ProcAttr{Env: os.Environ(), Files: files}))
		for {
			var status syscall.WaitStatus
			pid := must(syscall.Wait4(-1, &status, 0, nil))
			if pid == runner {
				if !status.Signaled() {
					os.Exit(status.ExitStatus())
				}
				break
			}
			record := binary.NativeEndian.AppendUint32(nil, uint32(pid))
			must(exitsWrite.Write(binary.NativeEndian.AppendUint32(record, uint32(status))))
		}
	}
}

func must2[A, B any](a A, b B, err error) (A, B) {
	if err != nil {
		panic(err)
	}
	return a, b
}

// readExits is what package keeper does for the program.
func readExits(ctx context.Context, each func(int, syscall.WaitStatus)) error {
	pipe := os.NewFile(exitsReadFD, "exits")
	context.AfterFunc(ctx, func() { pipe.Close() })
	record := make([]byte, 8)
	for {
		if _, err := io.ReadFull(pipe, record); err != nil {
			return err
		}
		each(int(binary.NativeEndian.Uint32(record)), syscall.WaitStatus(binary.NativeEndian.Uint32(record[4:])))
	}
}

// halfVariable makes a runner a process that was cloned and has not executed its program yet: it does so when the file
// that the variable names is there.
const halfVariable = "CHILD_TEST_HALF"

// beRunner has a driver and does what it reads: one line a command, one line an answer. Its arguments are the note, the
// upstream, whether there are cgroups, and the deeds of its worker.
func beRunner() {
	note, upstream, deeds := os.Args[2], os.Args[3], os.Args[4:]
	if file := os.Getenv(halfVariable); file != "" {
		awaitFile(file)
		m := mark{name: "test", note: note, life: 1}
		at := parseUpstream(upstream)
		must(0, syscall.Exec("/proc/self/exe", worker(deeds...)(at), m.environment(nil, at)))
	}
	at := parseUpstream(upstream)
	if upstream == "" {
		at = supervisor.Upstream{Network: "tcp"}
	}
	d := must(New(Options{
		Name: "test", Note: note, Upstream: at, Command: worker(deeds...), Probe: probe.TCP,
		Keeper: os.Getppid(), Exits: readExits, OutputRead: outputReadFD, OutputWrite: outputWriteFD,
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}))
	d.group = func(mark) (*cgroup, error) { return nil, os.ErrPermission }
	fmt.Println("runner", os.Getpid())
	var p supervisor.Process
	commands := bufio.NewScanner(os.Stdin)
	for commands.Scan() {
		var found supervisor.Process
		answer := obey(d, p, commands.Text(), &found)
		if found != nil {
			p = found
		}
		fmt.Println(answer)
	}
}

func obey(d *Driver, p supervisor.Process, command string, found *supervisor.Process) string {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var name string
	var life, pid int
	fmt.Sscan(command, &name, &life, &pid)
	var err error
	switch name {
	case "start":
		if *found, err = d.Start(ctx, supervisor.Life(life)); err == nil {
			return fmt.Sprintf("started %d %v", (*found).PID(), (*found).Upstream())
		}
	case "find":
		var ok bool
		if *found, ok, err = d.Find(ctx, supervisor.Life(life), pid); ok {
			return fmt.Sprintf("found %d %v", (*found).PID(), (*found).Upstream())
		} else if err == nil {
			return "missing"
		}
	case "orphan":
		var o supervisor.Orphan
		if o, err = d.Orphan(); err == nil {
			return fmt.Sprintf("orphan %d %d", o.Life, o.PID)
		}
	case "half":
		env := append(os.Environ(), halfVariable+"="+os.Args[2]+".go")
		sys := &syscall.SysProcAttr{Cloneflags: unix.CLONE_PARENT, Setsid: true}
		out := uintptr(outputWriteFD)
		if pid, err = syscall.ForkExec("/proc/self/exe", os.Args, &syscall.ProcAttr{Env: env, Files: []uintptr{0, out, 2}, Sys: sys}); err == nil {
			return fmt.Sprintf("half %d", pid)
		}
	case "ready":
		if err = p.Ready(ctx, func(string) {}); err == nil {
			return "ready"
		}
	case "wait":
		var exit supervisor.Exit
		if exit, err = p.Wait(ctx); err == nil {
			return fmt.Sprintf("%v: %s", exit, strings.Join(exit.LastLines, " | "))
		}
	case "running":
		short, cancel := context.WithTimeout(ctx, 2*recordPatience)
		defer cancel()
		if _, err = p.Wait(short); errors.Is(err, context.DeadlineExceeded) {
			return "running"
		}
	case "tail":
		return strings.Join(d.opts.Tail.Lines(1), "")
	case "end":
		if err = p.Kill(); err == nil {
			err = p.Reclaim(ctx)
		}
		if err == nil {
			return "ended"
		}
	}
	return fmt.Sprintf("error: %v", err)
}

// house is a keeper, its present runner and a life, from outside.
type house struct {
	t      *testing.T
	keeper *exec.Cmd
	in     io.Writer
	out    *bufio.Reader
	logs   *lockedBuffer
	note   string
	runner int
}

// newHouse starts a keeper whose workers do these deeds. The upstream "" is a free port.
func newHouse(t *testing.T, note, upstream string, deeds ...string) *house {
	t.Helper()
	h := &house{t: t, logs: new(lockedBuffer), note: note}
	h.keeper = exec.Command(must(os.Executable()), append([]string{keeperRole, note, upstream}, deeds...)...)
	h.keeper.Stderr = h.logs
	h.in = must(h.keeper.StdinPipe())
	h.out = bufio.NewReader(must(h.keeper.StdoutPipe()))
	if err := h.keeper.Start(); err != nil {
		t.Fatal(err)
	}
	h.meetRunner()
	t.Cleanup(h.close)
	return h
}

func (h *house) meetRunner() {
	h.t.Helper()
	if _, err := fmt.Sscanf(h.line(), "runner %d", &h.runner); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) line() string {
	h.t.Helper()
	line, err := h.out.ReadString('\n')
	if err != nil {
		h.t.Fatalf("the house is silent: %v; it logged:\n%s", err, h.logs)
	}
	return strings.TrimSuffix(line, "\n")
}

// tell sends a command, and returns the answer.
func (h *house) tell(format string, args ...any) string {
	h.t.Helper()
	fmt.Fprintf(h.in, format+"\n", args...)
	return h.line()
}

// want sends a command whose answer is known.
func (h *house) want(answer, format string, args ...any) {
	h.t.Helper()
	if got := h.tell(format, args...); got != answer {
		h.t.Fatalf("%s: got %q, want %q; the house logged:\n%s", fmt.Sprintf(format, args...), got, answer, h.logs)
	}
}

// wantLog waits until the runner has logged it.
func (h *house) wantLog(text string) {
	h.t.Helper()
	eventually(h.t, "the log line "+text, func() bool { return strings.Contains(h.logs.String(), text) })
}

// start begins a life and returns its PID and where it listens.
func (h *house) start(life int) (pid int, upstream string) {
	h.t.Helper()
	answer := h.tell("start %d", life)
	if _, err := fmt.Sscanf(answer, "started %d %s", &pid, &upstream); err != nil {
		h.t.Fatalf("start: %s", answer)
	}
	return pid, upstream
}

// killRunner kills the runner as it is, and waits for the next.
func (h *house) killRunner() {
	h.t.Helper()
	if err := unix.Kill(h.runner, unix.SIGKILL); err != nil {
		h.t.Fatal(err)
	}
	before := h.runner
	h.meetRunner()
	if h.runner == before {
		h.t.Fatal("the runner is the same")
	}
}

// killAll kills keeper and runner together; the worker is left to itself.
func (h *house) killAll() {
	unix.Kill(h.keeper.Process.Pid, unix.SIGKILL)
	unix.Kill(h.runner, unix.SIGKILL)
	h.keeper.Wait()
}

func (h *house) close() {
	h.killAll()
	note, _ := readNote(h.note)
	id := identity{mark: mark{name: "test", note: h.note, life: note.Life}, main: note.PID, start: note.Start}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	victims, err := id.kill(nil)
	if err != nil {
		h.t.Error(err)
	}
	if err := id.reclaim(ctx, victims, func(string) {}); err != nil {
		h.t.Error(err)
	}
}

func kill(t *testing.T, pid int) {
	t.Helper()
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its end", func() bool { return !isAlive(pid) })
}
