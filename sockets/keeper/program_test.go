package keeper_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const entryFlag = "-E autoglm-sidecar/sockets/keeper.Entry"

// A build is one way to make testdata/program.
type build struct {
	name string
	env  string
	args []string
}

// The builds that have a keeper: as it is shipped, and as the end-to-end tests run it once more.
var (
	plain  = build{"plain", "CGO_ENABLED=0", []string{"-ldflags", entryFlag}}
	race   = build{"race", "CGO_ENABLED=1", []string{"-race", "-ldflags", "-linkmode=internal " + entryFlag}}
	shared = []build{plain, race}
)

var builds struct {
	sync.Mutex
	dir  string
	made map[string]string
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "keeper")
	if err != nil {
		panic(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // the program runs as nobody in one test
		panic(err)
	}
	builds.dir, builds.made = dir, map[string]string{}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// program builds testdata/program and returns the file.
func (b build) program(t *testing.T) string {
	t.Helper()
	builds.Lock()
	defer builds.Unlock()
	file := builds.made[b.name]
	if file != "" {
		return file
	}
	noteSources(t)
	file = filepath.Join(builds.dir, b.name)
	c := exec.Command("go", append(append([]string{"build", "-o", file}, b.args...), "./testdata/program")...)
	c.Env = append(os.Environ(), b.env)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", b.name, err, out)
	}
	builds.made[b.name] = file
	return file
}

// noteSources looks at all that the program is built from, so that `go test` sees a change: the bare functions are not
// linked into the test itself, and a result from before it would be taken from the cache.
func noteSources(t *testing.T) {
	t.Helper()
	for _, pattern := range []string{"*.go", "*.s", "testdata/program/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("no sources %s: %v", pattern, err)
		}
		for _, file := range files {
			if _, err := os.Stat(file); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// sidecar is a running testdata/program, in a process group of its own.
type sidecar struct {
	t      *testing.T
	cmd    *exec.Cmd
	in     io.Writer
	lines  chan string
	gen    int
	runner int // PID of the runner that spoke last
	keeper int
}

// launch starts the program with `run` and the words of args, and waits for its first runner unless it is to wait.
func launch(t *testing.T, b build, args ...string) *sidecar {
	t.Helper()
	s := prepare(t, b, args...)
	s.start()
	if len(args) == 0 || args[0] != "wait" {
		s.awaitRunner(1)
	}
	return s
}

func prepare(t *testing.T, b build, args ...string) *sidecar {
	t.Helper()
	cmd := exec.Command(b.program(t), append([]string{"run"}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return &sidecar{t: t, cmd: cmd, lines: make(chan string, 100)}
}

func (s *sidecar) start() {
	s.t.Helper()
	// Not StdinPipe and StdoutPipe: they are closed when the keeper is dead, and a runner may live on.
	commands, in, err := os.Pipe()
	s.must(err)
	out, lines, err := os.Pipe()
	s.must(err)
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = commands, lines, lines
	s.startWith(in, out)
	s.must(commands.Close())
	s.must(lines.Close())
	s.t.Cleanup(func() { in.Close(); out.Close() })
}

// startWith starts it, with in as the place to send commands to and out to read answers from.
func (s *sidecar) startWith(in io.Writer, out io.Reader) {
	s.t.Helper()
	s.in = in
	s.must(s.cmd.Start())
	s.t.Cleanup(func() {
		unix.Kill(-s.cmd.Process.Pid, unix.SIGKILL)
		s.cmd.Wait()
	})
	go func() {
		defer close(s.lines)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			s.lines <- strings.TrimRight(scan.Text(), "\r")
		}
	}()
}

// patience is how long a test waits for what must come.
const patience = 60 * time.Second

// next returns the next line that is not part of a traceback.
func (s *sidecar) next() (line string, more bool) {
	s.t.Helper()
	select {
	case line, more = <-s.lines:
		return line, more
	case <-time.After(patience):
		s.t.Fatal("the program says nothing more")
		return "", false
	}
}

// expect waits for a line that begins with word, and returns the rest. Only the traceback of a panic is passed over.
func (s *sidecar) expect(word string) string {
	s.t.Helper()
	var passed []string
	for {
		line, more := s.next()
		if rest, ok := strings.CutPrefix(line, word); ok && (rest == "" || rest[0] == ' ') {
			return strings.TrimSpace(rest)
		}
		switch first, _, _ := strings.Cut(line, " "); {
		case !more:
			s.t.Fatalf("expected %q, and the program ended after\n%s", word, strings.Join(passed, "\n"))
		case first == "runner" || first == "heard" || first == "orphaned" || first == "exit":
			s.t.Fatalf("expected %q, got %q", word, line)
		}
		passed = append(passed, line)
	}
}

// ask sends a command and returns what the answer says behind word.
func (s *sidecar) ask(command, word string) string {
	s.t.Helper()
	s.tell(command)
	return s.expect(word)
}

func (s *sidecar) tell(command string) {
	s.t.Helper()
	_, err := fmt.Fprintln(s.in, command)
	s.must(err)
}

// awaitRunner waits for the runner of that number.
func (s *sidecar) awaitRunner(gen int) {
	s.t.Helper()
	_, err := fmt.Sscan(s.expect("runner"), &s.gen, &s.runner, &s.keeper)
	s.must(err)
	if s.gen != gen {
		s.t.Fatalf("runner %d came, expected %d", s.gen, gen)
	}
}

// runBy makes another program execute this one.
func (s *sidecar) runBy(program string, args ...string) {
	s.t.Helper()
	path, err := exec.LookPath(program)
	s.must(err)
	s.cmd.Args = append(append([]string{program}, args...), append([]string{s.cmd.Path}, s.cmd.Args[1:]...)...)
	s.cmd.Path = path
}

// kill sends a signal to a process of the sidecar.
func (s *sidecar) kill(pid int, signal syscall.Signal) {
	s.t.Helper()
	if pid == 0 || pid == 1 || pid == -1 { // us, everybody
		s.t.Fatalf("signal for process %d", pid)
	}
	s.must(unix.Kill(pid, signal))
}

// end waits until the keeper is gone and says how it went.
func (s *sidecar) end() string {
	s.t.Helper()
	done := make(chan error, 1)
	go func() { done <- s.cmd.Wait() }()
	select {
	case <-done:
		return s.cmd.ProcessState.String()
	case <-time.After(patience):
		s.t.Fatal("the keeper does not end")
		return ""
	}
}

func (s *sidecar) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// check compares what came with what was expected.
func check[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, expected %v", what, got, want)
	}
}

// onEach runs a test on each build that has a keeper.
func onEach(t *testing.T, test func(t *testing.T, b build)) {
	t.Parallel()
	for _, b := range shared {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			test(t, b)
		})
	}
}
