//go:build cgo && linux

package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"autoglm-sidecar/gpu"
	"autoglm-sidecar/gpu/nvml/double"
)

// These tests run the program as the sidecar does: as a process, with pipes, and with a library that it loads. One process can
// have one library only, so each test has a process of its own.

// built is where what the tests need lies, readable for everybody.
var built string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "nvml")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	built = dir
	flag.Parse()
	// They wait for a program most of the time, so more than there are processors can go at once.
	_ = flag.Set("test.parallel", "16")
	status := m.Run()
	os.RemoveAll(dir)
	os.Exit(status)
}

// theProgram is the program, linked as it is shipped; with the race detector if the tests have it.
var theProgram = sync.OnceValues(func() (string, error) {
	path := filepath.Join(built, "autoglm-sidecar-nvml")
	flags := []string{"build", "-o", path, "-ldflags", "-X main.version=tested -extldflags=-Wl,-z,lazy"}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "-race" && s.Value == "true" {
				flags = append(flags, "-race")
			}
		}
	}
	if said, err := exec.Command("go", append(flags, ".")...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, said)
	}
	return path, nil
})

var (
	newDouble = sync.OnceValues(func() (string, error) { return double.Build(built, false) })
	oldDouble = sync.OnceValues(func() (string, error) { return double.Build(built, true) })
)

// must unpacks what has to be there.
func must(t *testing.T, what func() (string, error)) string {
	t.Helper()
	v, err := what()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// process is one running program.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	in     io.WriteCloser
	lines  chan gpu.Line // closed at its end
	seen   []gpu.Line
	stderr bytes.Buffer // complete when it has exited
	file   string       // the double's state
	exited chan struct{}
}

// patience is how long a line or an end is waited for: on a busy machine, long.
const patience = 20 * time.Second

// world is what a program is started in.
type world struct {
	library string // "" is the double
	state   double.State
	flags   []string
	env     []string
	as      *syscall.Credential
}

func (w world) start(t *testing.T) *process {
	t.Helper()
	if w.library == "" {
		w.library = must(t, newDouble)
	}
	p := &process{t: t, file: filepath.Join(t.TempDir(), "state"), lines: make(chan gpu.Line, 4096), exited: make(chan struct{})}
	p.write(w.state)
	p.cmd = exec.Command(must(t, theProgram), append([]string{"--library", w.library}, w.flags...)...)
	p.cmd.Env = append([]string{double.Variable + "=" + p.file, "GORACE=atexit_sleep_ms=0"}, w.env...)
	p.cmd.Stderr = &p.stderr
	if w.as != nil {
		p.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: w.as}
	}
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		defer close(p.lines)
		lines := gpu.NewLines[gpu.Line](out)
		for {
			line, err := lines.Next()
			if err != nil {
				if err != io.EOF && !errors.Is(err, os.ErrClosed) {
					t.Errorf("the program wrote something else than a line: %v", err)
				}
				break
			}
			p.lines <- line
		}
		_ = p.cmd.Wait() // the exit status is looked at by who wants it
	}()
	t.Cleanup(func() {
		_ = p.in.Close()
		select {
		case <-p.exited:
		case <-time.After(patience):
			_ = p.cmd.Process.Kill()
			t.Error("the program outlived the end of its input")
		}
		if strings.Contains(p.stderr.String(), "DATA RACE") {
			t.Errorf("%s", p.stderr.String())
		}
	})
	return p
}

// write changes what the double shows.
func (p *process) write(s double.State) {
	p.t.Helper()
	if err := s.Write(p.file); err != nil {
		p.t.Fatal(err)
	}
}

func (p *process) order(o gpu.Order) {
	p.t.Helper()
	if err := gpu.WriteLine(p.in, o); err != nil {
		p.t.Fatal(err)
	}
}

// await reads on to a line that is wanted.
func (p *process) await(what string, wanted func(gpu.Line) bool) gpu.Line {
	p.t.Helper()
	late := time.After(patience)
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				p.t.Fatalf("wanted %s; the program has ended, and said:\n%s", what, p.said())
			}
			p.seen = append(p.seen, line)
			if wanted(line) {
				return line
			}
		case <-late:
			p.t.Fatalf("wanted %s; these came:\n%s", what, p.said())
		}
	}
}

func (p *process) said() string {
	var b bytes.Buffer
	for _, line := range p.seen[max(0, len(p.seen)-30):] {
		_ = gpu.WriteLine(&b, line)
	}
	select {
	case <-p.exited:
		b.Write(p.stderr.Bytes())
	default: // it may still be written to
	}
	return b.String()
}

func (p *process) system() *gpu.System {
	p.t.Helper()
	return p.await("what there is on the machine", func(l gpu.Line) bool { return l.System != nil }).System
}

func (p *process) sample(what string, wanted func(*gpu.Sample) bool) *gpu.Sample {
	p.t.Helper()
	return p.await(what, func(l gpu.Line) bool { return l.Sample != nil && wanted(l.Sample) }).Sample
}

func (p *process) processes(what string, wanted func(*gpu.Processes) bool) *gpu.Processes {
	p.t.Helper()
	return p.await(what, func(l gpu.Line) bool { return l.Processes != nil && wanted(l.Processes) }).Processes
}

// exit waits for the end and returns the status.
func (p *process) exit(within time.Duration) int {
	p.t.Helper()
	late := time.After(within)
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				<-p.exited
				return p.cmd.ProcessState.ExitCode()
			}
			p.seen = append(p.seen, line)
		case <-late:
			p.t.Fatalf("the program has not ended within %v; it said:\n%s", within, p.said())
		}
	}
}

// busy is the share of one processor that the program takes for some time.
func (p *process) busy(during time.Duration) float64 {
	p.t.Helper()
	before := p.cpu()
	time.Sleep(during) // it is the length of a measurement
	return (p.cpu() - before).Seconds() / during.Seconds()
}

func (p *process) cpu() time.Duration {
	p.t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	ticks := 0
	for _, field := range fields[11:13] { // utime and stime
		n, err := strconv.Atoi(field)
		if err != nil {
			p.t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond // USER_HZ is 100 wherever Go runs
}
