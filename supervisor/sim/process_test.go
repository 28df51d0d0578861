package sim

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
)

// asWorker in the environment makes the test's binary a worker with its arguments as flags.
const asWorker = "AUTOGLM_SIM_TEST_WORKER"

func TestMain(m *testing.M) {
	if os.Getenv(asWorker) == "" {
		os.Exit(m.Run())
	}
	o := DefaultOptions()
	flags := pflag.NewFlagSet("sim", pflag.ExitOnError)
	RegisterFlags(flags, &o)
	flags.Parse(os.Args[1:])
	if err := Run(context.Background(), o, slog.New(slog.DiscardHandler)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// process is a worker in a process of its own.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	output *os.File      // standard output and error
	lines  *bufio.Reader // of it
	ended  chan error
	listen string // host:port, or the path of a unix socket
}

// spawn starts a worker on a free port, or on --listen if the flags have it, and leaves it at that.
func spawn(t *testing.T, flags ...string) *process {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: exec.Command("/proc/self/exe", append([]string{"--listen", "127.0.0.1:0"}, flags...)...), ended: make(chan error, 1)}
	p.cmd.Env = append(os.Environ(), asWorker+"=1", "GORACE=atexit_sleep_ms=0")
	p.cmd.Stdout, p.cmd.Stderr = write, write
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	read.SetReadDeadline(time.Now().Add(patience))
	p.output, p.lines = read, bufio.NewReader(read)
	go func() { p.ended <- p.cmd.Wait() }()
	t.Cleanup(func() {
		syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		read.Close()
	})
	return p
}

// line reads output until a line has want in it.
func (p *process) line(want string) string {
	p.t.Helper()
	for {
		line, err := p.lines.ReadString('\n')
		if err != nil {
			p.t.Fatalf("waited for a line with %q: %v", want, err)
		}
		if strings.Contains(line, want) {
			return strings.TrimSpace(line)
		}
	}
}

// started waits until the worker says that it serves.
func started(t *testing.T, flags ...string) *process {
	t.Helper()
	p := spawn(t, flags...)
	_, p.listen, _ = strings.Cut(p.line("application startup complete"), "serving on ")
	return p
}

func (p *process) signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
}

// exit waits for the process's end and gives its status as a shell words it: "exit status 3", "signal: killed", "".
func (p *process) exit() string {
	p.t.Helper()
	select {
	case err := <-p.ended:
		if err == nil {
			return ""
		}
		return err.Error()
	case <-time.After(patience):
		p.t.Fatal("the worker does not end")
		return ""
	}
}

func (p *process) send(text string) net.Conn {
	p.t.Helper()
	network := "tcp"
	if strings.HasPrefix(p.listen, "/") {
		network = "unix"
	}
	c, err := net.Dial(network, p.listen)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	io.WriteString(c, text)
	return c
}

// rest reads to the end of a connection.
func rest(t *testing.T, c net.Conn) (string, error) {
	t.Helper()
	all, err := io.ReadAll(c)
	return string(all), err
}

const wellEnded = "data: [DONE]\n\n\r\n0\r\n\r\n"

// TestCrash: the process really ends, after the tokens asked for and in the way asked for.
func TestCrash(t *testing.T) {
	for exit, want := range map[string]string{"-1": "signal: killed", "0": "", "7": "exit status 7"} {
		t.Run("exit "+exit, func(t *testing.T) {
			p := started(t, "--crash-after-tokens", "12", "--crash-exit", exit, "--tokens-per-second", "0")
			first, err := rest(t, p.send(chat(5)))
			if err != nil || !strings.HasSuffix(first, wellEnded) {
				t.Errorf("the first answer got %v, %q", err, first)
			}
			second, _ := rest(t, p.send(chat(50)))
			if got := strings.Count(second, `"delta":{"content"`); got != 7 || strings.Contains(second, "[DONE]") {
				t.Errorf("the second answer got %d tokens of the 7 that were left:\n%s", got, second)
			}
			if got := p.exit(); got != want {
				t.Errorf("ended with %q, want %q", got, want)
			}
		})
	}
}

// TestTermCutsOrAborts: the manners in which TERM ends a worker with an open stream at once.
func TestTermCutsOrAborts(t *testing.T) {
	for _, v := range []struct {
		manner string
		whole  bool
		finish string
	}{{"cut", false, `"finish_reason":null`}, {"abort", true, `"finish_reason":"abort"`}} {
		t.Run(v.manner, func(t *testing.T) {
			p := started(t, "--on-term", v.manner, "--tokens-per-second", "0.001")
			c := p.send(chat(5))
			readUntil(t, c, `"finish_reason":null,"token_ids":null`)
			silent := p.send(chat(5, `X-Sim: {"prefill":"1h"}`))
			readUntil(t, silent, "\r\n\r\n")
			p.signal(syscall.SIGTERM)
			for _, c := range []net.Conn{c, silent} {
				last, err := rest(t, c)
				if err != nil || strings.HasSuffix(last, wellEnded) != v.whole || strings.Contains(last, `"abort"`) != v.whole {
					t.Errorf("the stream ended with %v, %q", err, last)
				}
			}
			if got := p.exit(); got != "" {
				t.Errorf("ended with %q", got)
			}
		})
	}
}

// TestTermFinishesOrDrains: the manners in which TERM lets an open stream end. Only one that drains still accepts.
func TestTermFinishesOrDrains(t *testing.T) {
	for _, manner := range []string{"finish", "drain"} {
		t.Run(manner, func(t *testing.T) {
			p := started(t, "--on-term", manner, "--hang", "engine")
			c := p.send(chat(5))
			readUntil(t, c, "\r\n\r\n")
			control := p.send("GET /sim/state HTTP/1.1\r\nHost: sim\r\n\r\n") // from before the signal
			readUntil(t, control, "}\n")
			p.signal(syscall.SIGTERM)
			p.awaitLeaving(control)
			late, err := net.Dial("tcp", p.listen)
			if manner == "drain" {
				if err != nil {
					t.Fatalf("draining, it was to accept: %v", err)
				}
				io.WriteString(late, "GET /health HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n\r\n")
				if answer, err := rest(t, late); err != nil || !strings.HasPrefix(answer, "HTTP/1.1 503 ") {
					t.Errorf("draining, /health says %v, %q", err, answer)
				}
			} else if !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("finishing, it was to refuse, got %v", err)
			}
			io.WriteString(control, "POST /sim/faults HTTP/1.1\r\nHost: sim\r\nContent-Length: 11\r\n\r\n{\"hang\":\"\"}")
			if last, err := rest(t, c); err != nil || !strings.HasSuffix(last, wellEnded) {
				t.Errorf("the stream ended with %v, %q", err, last)
			}
			if got := p.exit(); got != "" {
				t.Errorf("ended with %q", got)
			}
		})
	}
}

// awaitLeaving asks on a connection until the worker says that a signal to end came.
func (p *process) awaitLeaving(c net.Conn) {
	p.t.Helper()
	in := bufio.NewReader(c)
	for {
		io.WriteString(c, "GET /sim/state HTTP/1.1\r\nHost: sim\r\n\r\n")
		answer, err := http.ReadResponse(in, nil)
		if err != nil {
			p.t.Fatal(err)
		}
		var now State
		if err := json.NewDecoder(answer.Body).Decode(&now); err != nil {
			p.t.Fatal(err)
		}
		io.Copy(io.Discard, answer.Body)
		if now.Leaving {
			return
		}
	}
}

// TestTermIgnored: TERM does nothing, a stream goes on; INT ends it.
func TestTermIgnored(t *testing.T) {
	p := started(t, "--on-term", "ignore", "--tokens-per-second", "50")
	c := p.send(chat(25))
	readUntil(t, c, `"content":" home"`)
	p.signal(syscall.SIGTERM)
	if last, err := rest(t, c); err != nil || !strings.HasSuffix(last, wellEnded) {
		t.Errorf("the stream ended with %v, %q", err, last)
	}
	p.signal(syscall.SIGINT)
	if got := p.exit(); got != "" {
		t.Errorf("ended with %q", got)
	}
}

// TestTermWhileIdle: with nothing open every manner but one ends the worker at once.
func TestTermWhileIdle(t *testing.T) {
	for _, manner := range []string{"cut", "abort", "finish", "drain"} {
		t.Run(manner, func(t *testing.T) {
			p := started(t, "--on-term", manner)
			p.signal(syscall.SIGTERM)
			if got := p.exit(); got != "" {
				t.Errorf("ended with %q", got)
			}
		})
	}
}

// TestStartDelay: while it loads it prints, holds its port and refuses connections; a TERM then ends it.
func TestStartDelay(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	p := spawn(t, "--listen", address, "--start-delay", "1s", "--start-output", "200ms")
	p.line("loading simulated weights:")
	if c, err := net.Dial("tcp", address); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("connected while loading: %v, %v", c, err)
	}
	// Only a bind without SO_REUSEADDR meets a socket that is bound and does not listen.
	strict := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 0) })
	}}
	if _, err := strict.Listen(t.Context(), "tcp", address); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("its port was not bound while loading: %v", err)
	}
	_, p.listen, _ = strings.Cut(p.line("application startup complete"), "serving on ")
	if p.listen != address {
		t.Errorf("serves on %s, want %s", p.listen, address)
	}
	if answer, err := rest(t, p.send("GET /health HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n\r\n")); err != nil || !strings.HasPrefix(answer, "HTTP/1.1 200 OK") {
		t.Errorf("/health says %v, %q", err, answer)
	}

	early := spawn(t, "--start-delay", "1h", "--start-output", "1ms")
	early.line("loading simulated weights:")
	early.signal(syscall.SIGTERM)
	if got := early.exit(); got != "" {
		t.Errorf("TERM while loading: ended with %q", got)
	}
}

// TestListenEarly: while it loads it answers 503, as SGLang does; and it prints a line for each request.
func TestListenEarly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "worker.sock")
	p := spawn(t, "--listen", "unix:"+path, "--start-delay", "1h", "--listen-early", "--start-output", "1ms", "--access-log")
	p.line("loading simulated weights:") // it listens before it prints
	p.listen = path
	answer, err := rest(t, p.send("GET /health?now HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n\r\n"))
	if err != nil || !strings.HasPrefix(answer, "HTTP/1.1 503 Service Unavailable\r\n") {
		t.Errorf("/health says %v, %q", err, answer)
	}
	if line := p.line("INFO:"); !strings.HasSuffix(line, `- "GET /health?now HTTP/1.1"`) {
		t.Errorf("it printed %q", line)
	}
}

// TestPortInUse: a second worker on a port fails and says so, unless both share it as old vLLMs did.
func TestPortInUse(t *testing.T) {
	first := started(t, "--reuse-port")
	second := spawn(t, "--listen", first.listen)
	if line := second.line("bind"); !strings.Contains(line, "address already in use") || !strings.Contains(line, first.listen) {
		t.Errorf("it says %q", line)
	}
	if got := second.exit(); got != "exit status 1" {
		t.Errorf("ended with %q", got)
	}
	if third := started(t, "--listen", first.listen, "--reuse-port"); third.listen != first.listen {
		t.Errorf("the third serves on %s", third.listen)
	}
}

// TestUnixSocket: served as TCP is; the file stays after the end, and the next life fails on it as vLLM does.
func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "worker.sock")
	p := started(t, "--listen", "unix:"+path, "--tokens-per-second", "0.001")
	c := p.send(chat(5))
	readUntil(t, c, `"content":" home"`)
	c.Close()
	for began := time.Now(); ; {
		answer, err := rest(t, p.send("GET /sim/state HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n\r\n"))
		if err != nil || time.Since(began) > patience {
			t.Fatalf("the client's leaving was not noticed: %v, %s", err, answer)
		}
		if strings.Contains(answer, `"clients_left":1`) {
			break
		}
	}
	p.signal(syscall.SIGTERM)
	p.exit()
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the socket's file: %v", err)
	}
	next := spawn(t, "--listen", "unix:"+path)
	if line := next.line("bind"); !strings.Contains(line, "address already in use") {
		t.Errorf("it says %q", line)
	}
}

// TestChildren outlive the worker, keep its output open, take no notice of TERM to them, and are not in its group if
// they are to have their own sessions.
func TestChildren(t *testing.T) {
	for _, setsid := range []bool{false, true} {
		t.Run(fmt.Sprint("setsid ", setsid), func(t *testing.T) {
			p := started(t, "--children", "2", "--children-hold", "1h", fmt.Sprintf("--children-setsid=%v", setsid))
			children := p.children()
			if len(children) != 2 {
				t.Fatalf("children are %v", children)
			}
			for _, child := range children {
				t.Cleanup(func() { syscall.Kill(child, syscall.SIGKILL) })
				if group, err := syscall.Getpgid(child); err != nil || (group == p.cmd.Process.Pid) == setsid {
					t.Errorf("child %d is in group %d of worker %d: %v", child, group, p.cmd.Process.Pid, err)
				}
			}
			p.signal(syscall.SIGKILL)
			if got := p.exit(); got != "signal: killed" {
				t.Errorf("ended with %q", got)
			}
			for _, child := range children {
				if err := syscall.Kill(child, syscall.SIGTERM); err != nil {
					t.Errorf("child %d did not outlive the worker: %v", child, err)
				}
			}
			syscall.Kill(children[0], syscall.SIGKILL)
			p.output.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
			if _, err := io.Copy(io.Discard, p.lines); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("with the last child the output was to stay open in spite of TERM, got %v", err)
			}
			syscall.Kill(children[1], syscall.SIGKILL)
			p.output.SetReadDeadline(time.Now().Add(patience))
			if _, err := io.Copy(io.Discard, p.lines); err != nil {
				t.Errorf("without it the output was to end, got %v", err)
			}
		})
	}
}

// TestChildrenHold: they go some time after the worker, and not before.
func TestChildrenHold(t *testing.T) {
	p := started(t, "--children", "1", "--children-hold", "300ms")
	p.signal(syscall.SIGKILL)
	p.exit()
	ended := time.Now()
	if _, err := io.Copy(io.Discard, p.lines); err != nil { // ends with the child
		t.Fatal(err)
	}
	if held := time.Since(ended); held < 250*time.Millisecond {
		t.Errorf("it held on for %v, want 300ms", held)
	}
}

// children are the pids of the worker's children.
func (p *process) children() (pids []int) {
	p.t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	for _, task := range tasks {
		list, err := os.ReadFile(task)
		if err != nil {
			p.t.Fatal(err)
		}
		for field := range strings.FieldsSeq(string(list)) {
			var pid int
			fmt.Sscan(field, &pid)
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestBadOptions: all that is wrong is said at once.
func TestBadOptions(t *testing.T) {
	o := DefaultOptions()
	o.StartDelay, o.Children, o.Faults.Every = -1, 65, 0
	err := Run(t.Context(), o, slog.New(slog.DiscardHandler))
	for _, want := range []string{"listen: say where", "start-delay: -1ns is not", "children: 65 is not", "every: 0 is not"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}

// TestContextEndsIt: as a supervisor in the same process would.
func TestContextEndsIt(t *testing.T) {
	o := DefaultOptions()
	o.Listen, o.Output = "127.0.0.1:0", io.Discard
	ready := make(chan net.Addr, 1)
	o.Ready = func(address net.Addr) { ready <- address }
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { ended <- Run(ctx, o, slog.New(slog.DiscardHandler)) }()
	address := <-ready
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("ended with %v", err)
	}
	if _, err := net.Dial("tcp", address.String()); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("after the end it was to refuse, got %v", err)
	}
}
