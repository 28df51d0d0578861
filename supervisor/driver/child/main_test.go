package child

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"autoglm-sidecar/health/probe"
	"autoglm-sidecar/supervisor"

	"golang.org/x/sys/unix"
)

// The test binary runs itself again as a worker, as a runner and as a keeper, told by its first argument.
const (
	workerRole = "role:worker" // does what its further arguments say, in their order
	runnerRole = "role:runner" // keeper_test.go
	keeperRole = "role:keeper"
)

func TestMain(m *testing.M) {
	// What the race detector waits before the exit of a process would be in every exit that is measured here.
	os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	role := ""
	if len(os.Args) > 1 {
		role = os.Args[1]
	}
	switch role {
	case workerRole:
		for _, deed := range os.Args[2:] {
			work(deed)
		}
	case runnerRole:
		beRunner()
	case keeperRole:
		beKeeper()
	default:
		os.Exit(m.Run())
	}
}

// work does one thing that workers do: NAME or NAME:ARGUMENT.
func work(deed string) {
	name, argument, _ := strings.Cut(deed, ":")
	switch name {
	case "say":
		fmt.Println(argument)
	case "shout": // to stderr, without a line end
		fmt.Fprint(os.Stderr, argument)
	case "exit":
		os.Exit(atoi(argument))
	case "kill": // itself
		unix.Kill(os.Getpid(), syscall.Signal(atoi(argument)))
		select {}
	case "listen": // tcp:HOST:PORT or unix:PATH
		l := listenShared(argument)
		go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Println("GET /health 200")
		}))
	case "sick": // as listen, answers 503 for so many milliseconds
		at, ms, _ := strings.Cut(argument, " ")
		since := time.Now()
		go http.Serve(listenShared(at), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if time.Since(since) < time.Duration(atoi(ms))*time.Millisecond {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}))
	case "stay":
		select {}
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
	case "graceful": // ends well at TERM
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		<-c
		os.Exit(0)
	case "flood": // so many MiB, without a pause
		line := strings.Repeat("x", 1023) + "\n"
		for range atoi(argument) << 10 {
			io.WriteString(os.Stdout, line)
		}
	case "tick": // another line each millisecond, for ever; ends with 42 where it can't be written
		signal.Ignore(syscall.SIGPIPE)
		for i := range time.Tick(time.Millisecond) {
			if _, err := fmt.Println("tick", i.UnixMicro()); err != nil {
				os.Exit(42)
			}
		}
	case "await": // a file
		awaitFile(argument)
	case "file": // says by a file that it came so far
		os.WriteFile(argument, []byte(strconv.Itoa(os.Getpid())), 0o600)
	case "env", "limit", "fds", "sid":
		report(name)
	case "forget": // writes over its environment, as setproctitle does, and goes on with what follows in the argument
		must(0, syscall.Exec("/proc/self/exe", append([]string{os.Args[0], workerRole}, strings.Split(argument, ",")...), nil))
	case "child", "runaway", "nameless": // what the child does, separated by commas; what its own child does, by ;
		deeds := strings.Split(argument, ",")
		for i := range deeds {
			deeds[i] = strings.ReplaceAll(deeds[i], ";", ",")
		}
		spawn(name, deeds)
	default:
		panic("no such deed: " + deed)
	}
}

func awaitFile(path string) {
	for range time.Tick(5 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return
		}
	}
}

// spawn starts a child that stays in the session, one that leaves it, or one that also has no mark in its environment.
func spawn(kind string, deeds []string) {
	c := exec.Command("/proc/self/exe", append([]string{workerRole}, deeds...)...)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	if kind != "child" {
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	}
	if kind == "nameless" {
		c.Env = []string{"GORACE=atexit_sleep_ms=0"}
	}
	must(0, c.Start())
}

func report(what string) {
	switch what {
	case "env":
		fmt.Println(strings.Join(os.Environ(), "\n"))
	case "limit":
		var l unix.Rlimit
		unix.Getrlimit(unix.RLIMIT_NOFILE, &l)
		fmt.Println(l.Cur, l.Max)
	case "fds":
		entries := must(os.ReadDir("/proc/self/fd"))
		for _, e := range entries {
			target, _ := os.Readlink("/proc/self/fd/" + e.Name())
			fmt.Println("fd", e.Name(), target)
		}
	case "sid":
		sid := must(unix.Getsid(0))
		fmt.Println(sid, unix.Getpgrp(), os.Getpid())
	}
}

func listenShared(at string) net.Listener {
	network, address, _ := strings.Cut(at, ":")
	shared := net.ListenConfig{Control: func(network, _ string, raw syscall.RawConn) (err error) {
		if network == "unix" {
			return nil
		}
		failed := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
		return errors.Join(failed, err)
	}}
	shared.SetMultipathTCP(false)
	return must(shared.Listen(context.Background(), network, address))
}

func atoi(s string) int { return must(strconv.Atoi(s)) }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// worker is the command of a worker that does these deeds. {} in them is where it is to listen, as NETWORK:ADDRESS.
func worker(deeds ...string) func(supervisor.Upstream) []string {
	return func(at supervisor.Upstream) []string {
		command := []string{must(os.Executable()), workerRole}
		for _, deed := range deeds {
			command = append(command, strings.ReplaceAll(deed, "{}", at.Network+":"+at.Address))
		}
		return command
	}
}

// shell is the command of a worker that is a shell script.
func shell(script string) func(supervisor.Upstream) []string {
	return func(supervisor.Upstream) []string { return []string{"/bin/sh", "-c", script} }
}

// rig is a driver under test and what it says.
type rig struct {
	*Driver
	t    *testing.T
	out  *lockedBuffer
	logs *lockedBuffer
}

// newRig returns a driver whose workers are our own children.
func newRig(t *testing.T, change func(*Options)) rig {
	t.Helper()
	out, logs := new(lockedBuffer), new(lockedBuffer)
	opts := Options{
		Name:     "test",
		Command:  worker("stay"),
		Upstream: supervisor.Upstream{Network: "tcp"},
		Probe:    probe.TCP,
		Note:     filepath.Join(t.TempDir(), "test.life"),
		Output:   out,
		Log:      slog.New(slog.NewTextHandler(logs, nil)),
	}
	if change != nil {
		change(&opts)
	}
	d, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return rig{d, t, out, logs}
}

// begin starts a life that is killed and reclaimed at the end of the test at the latest.
func (r rig) begin(life supervisor.Life) *process {
	r.t.Helper()
	started, err := r.Start(r.t.Context(), life)
	if err != nil {
		r.t.Fatal(err)
	}
	p := started.(*process)
	r.t.Cleanup(func() { r.end(p) })
	return p
}

// end kills all of a life and wants nothing of it to be alive.
func (r rig) end(p *process) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := p.Kill(); err != nil {
		r.t.Errorf("kill: %v", err)
	}
	if err := p.Reclaim(ctx); err != nil {
		r.t.Errorf("reclaim: %v", err)
	}
}

// soon is a context that ends after 20 s, so that what never comes fails the test.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// exitOf waits for the end of the main process.
func exitOf(t *testing.T, p supervisor.Process) supervisor.Exit {
	t.Helper()
	exit, err := p.Wait(soon(t))
	if err != nil {
		t.Fatalf("wait: %v", err)
	}
	return exit
}

// eventually looks every few milliseconds until what is asked for is there; it fails the test after 20 s.
func eventually(t *testing.T, what string, there func() bool) {
	t.Helper()
	patience := soon(t)
	for !there() {
		select {
		case <-time.After(2 * time.Millisecond):
		case <-patience.Done():
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

// pidFrom waits until a worker has said its PID by a file.
func pidFrom(t *testing.T, path string) int {
	t.Helper()
	pid := 0
	eventually(t, "PID in "+path, func() bool {
		text, err := os.ReadFile(path)
		pid, _ = strconv.Atoi(string(text))
		return err == nil && pid != 0
	})
	return pid
}

func isAlive(pid int) bool {
	_, alive := statOf(pid)
	return alive
}

// lockedBuffer may be written and read at the same time.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
