package sockets_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"autoglm-sidecar/sockets/keeper"
)

// sidecar is testdata/program under its keeper.
type sidecar struct {
	t      *testing.T
	in     io.Writer
	lines  chan string
	runner int    // PID of the last one
	port   int    // of the front
	path   string // of the control socket
}

func launch(t *testing.T) *sidecar {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "program")
	build := exec.Command("go", "build", "-ldflags", "-E "+keeper.EntrySymbol, "-o", file, "./testdata/program")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	s := &sidecar{t: t, lines: make(chan string, 100), path: filepath.Join(dir, "control.sock")}
	cmd := exec.Command(file, "run", "127.0.0.1:0", s.path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stderr = t.Output()
	in, err := cmd.StdinPipe()
	s.must(err)
	out, err := cmd.StdoutPipe()
	s.must(err)
	s.must(cmd.Start())
	t.Cleanup(func() {
		unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		cmd.Wait()
	})
	s.in = in
	go func() {
		defer close(s.lines)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			s.lines <- scan.Text()
		}
	}()
	return s
}

func (s *sidecar) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *sidecar) line() string {
	s.t.Helper()
	select {
	case line, more := <-s.lines:
		if !more {
			s.t.Fatal("the program ended")
		}
		return line
	case <-time.After(time.Minute):
		s.t.Fatal("the program says nothing more")
	}
	return ""
}

func (s *sidecar) ask(command, answer string) {
	s.t.Helper()
	fmt.Fprintln(s.in, command)
	if line := s.line(); line != answer {
		s.t.Fatalf("%s: got %q, expected %q", command, line, answer)
	}
}

// awaitRunner reads what a runner says of its listeners, and checks it against what the first one said.
func (s *sidecar) awaitRunner(inherited bool) {
	s.t.Helper()
	front, control := s.line(), s.line()
	if s.port == 0 {
		fmt.Sscanf(front, "front %d 127.0.0.1:%d", new(int), &s.port)
	}
	fmt.Sscanf(front, "front %d 127.0.0.1:%d %t %d", new(int), new(int), new(bool), &s.runner)
	for got, want := range map[string]string{
		front:   fmt.Sprintf("front %d 127.0.0.1:%d %v %d", keeper.FrontFD, s.port, inherited, s.runner),
		control: fmt.Sprintf("control %d %s %v %d", keeper.ControlFD, s.path, inherited, s.runner),
	} {
		if got != want {
			s.t.Errorf("got %q, expected %q", got, want)
		}
	}
}

func (s *sidecar) dial() (clients []net.Conn) {
	s.t.Helper()
	for network, address := range map[string]string{"tcp": fmt.Sprintf("127.0.0.1:%d", s.port), "unix": s.path} {
		c, err := net.Dial(network, address)
		s.must(err)
		s.t.Cleanup(func() { c.Close() })
		s.must(c.SetDeadline(time.Now().Add(time.Minute)))
		clients = append(clients, c)
	}
	return clients
}

func TestListenersOutliveTheRunner(t *testing.T) {
	s := launch(t)
	s.awaitRunner(false)
	for gen := 2; gen <= 4; gen++ {
		s.must(unix.Kill(s.runner, unix.SIGKILL))
		clients := s.dial() // in the gap, perhaps: nobody is refused
		s.awaitRunner(true)
		s.ask("answer", "answered")
		for _, c := range clients {
			said, err := io.ReadAll(c)
			s.must(err)
			if want := fmt.Sprint("hello ", gen); string(said) != want {
				t.Errorf("heard %q, expected %q", said, want)
			}
		}
	}
	s.ask("close", "closed")
	for network, address := range map[string]string{"tcp": fmt.Sprintf("127.0.0.1:%d", s.port), "unix": s.path} {
		if c, err := net.Dial(network, address); err == nil {
			c.Close()
			t.Errorf("%s: connected after the end", network)
		}
	}
}

func TestAListenerThatWasJustBoundIsFound(t *testing.T) {
	s := launch(t)
	s.awaitRunner(false)
	s.ask("misplace", "misplaced")
	s.must(unix.Kill(s.runner, unix.SIGKILL))
	s.awaitRunner(true)
}

func TestAControlSocketWhoseFileIsGoneIsBoundAnew(t *testing.T) {
	s := launch(t)
	s.awaitRunner(false)
	s.must(os.Remove(s.path))
	s.must(unix.Kill(s.runner, unix.SIGKILL))
	front, control := s.line(), s.line()
	fmt.Sscanf(front, "front %d 127.0.0.1:%d %t %d", new(int), new(int), new(bool), &s.runner)
	if want := fmt.Sprintf("control %d %s false %d", keeper.ControlFD, s.path, s.runner); control != want {
		t.Errorf("got %q, expected %q", control, want)
	}
}
