package child

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"autoglm-sidecar/supervisor"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestExitTellsHowAndWithWhatWords(t *testing.T) {
	tests := []struct {
		name  string
		deeds []string
		want  supervisor.Exit
	}{
		{"a code", []string{"say:loading", "shout:CUDA out of memory", "exit:7"}, supervisor.Exit{Known: true, Code: 7, Unasked: true, LastLines: []string{"loading", "CUDA out of memory"}}},
		{"zero", []string{"exit:0"}, supervisor.Exit{Known: true, Unasked: true}},
		{"a signal", []string{"say:a", "kill:9"}, supervisor.Exit{Known: true, Signal: "SIGKILL", Unasked: true, LastLines: []string{"a"}}},
		{"its last words are heard after a flood", []string{"flood:3", "say:the end", "exit:1"}, supervisor.Exit{Known: true, Code: 1, Unasked: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, func(o *Options) { o.Command = worker(tt.deeds...) })
			got := exitOf(t, r.begin(1))
			if last := got.LastLines; tt.want.LastLines == nil && len(last) > 0 {
				if last[len(last)-1] != "the end" || len(last) != keptLines {
					t.Errorf("last lines: got %d that end in %q, want %d that end in %q", len(last), last[len(last)-1], keptLines, "the end")
				}
				got.LastLines = nil
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("exit (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDeathIsNoticedWithin50ms(t *testing.T) {
	r := newRig(t, nil)
	p := r.begin(1)
	begun := time.Now()
	if err := unix.Kill(p.PID(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	exitOf(t, p)
	if took := time.Since(begun); took > 500*time.Millisecond { // ten times the budget, which benchmarks hold
		t.Errorf("the death of the worker was noticed after %v", took)
	}
}

func TestLastLinesAreThisLifesOwn(t *testing.T) {
	deeds := []string{"say:first", "exit:1"}
	r := newRig(t, func(o *Options) { o.Command = func(at supervisor.Upstream) []string { return worker(deeds...)(at) } })
	exitOf(t, r.begin(1))
	deeds = []string{"exit:2"}
	if got := exitOf(t, r.begin(2)); len(got.LastLines) != 0 {
		t.Errorf("life 2 printed nothing, and its last lines are %q", got.LastLines)
	}
}

func TestStartSaysWhyItCannot(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const secret = "--api-key=hunter2"
	tests := []struct{ name, program, want string }{
		{"nowhere in PATH", "no-such-program-anywhere", "no-such-program-anywhere: not found in PATH"},
		{"no such file", dir + "/absent", "absent: no such file"},
		{"not executable", file("plain", "hello", 0o644), "plain: not executable"},
		{"a directory", dir, "is a directory"},
		{"no program", file("text", "hello", 0o755), "text: no program for this machine, and no script with #! in its first line"},
		{"no interpreter", file("script", "#!/no/such/python\n", 0o755), "script: the interpreter that its first line names, or its loader, does not exist"},
		{"nothing", "", "there is no command"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, func(o *Options) {
				o.Command = func(supervisor.Upstream) []string { return []string{tt.program, secret} }
			})
			p, err := r.Start(t.Context(), 1)
			if err == nil {
				t.Fatalf("process %d was started", p.PID())
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got the error %q, want one that says %q", err, tt.want)
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the error tells an argument: %q", err)
			}
		})
	}
}

func TestWorkerHasItsOwnSessionAndNothingOfOurs(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/run/notify")
	t.Setenv("LISTEN_FDS", "1")
	t.Setenv("LISTEN_FDNAMES", "front")
	t.Setenv("WATCHDOG_USEC", "1000000")
	t.Setenv(lifeVariable, "outer/3")
	t.Setenv("CUDA_VISIBLE_DEVICES", "0")
	leaked, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer leaked.Close()
	inheritable := must(leaked.(*net.TCPListener).File())
	defer inheritable.Close()
	must(unix.FcntlInt(inheritable.Fd(), unix.F_SETFD, 0))

	r := newRig(t, func(o *Options) { o.Command = worker("sid", "env", "fds", "exit:0") })
	p := r.begin(4)
	exitOf(t, p)
	said := r.opts.Tail.Text()

	if want := fmt.Sprintf("%d %d %d\n", p.PID(), p.PID(), p.PID()); !strings.Contains(said, want) {
		t.Errorf("session, group and process: want %q, the worker said:\n%s", want, said)
	}
	for _, want := range []string{
		"AUTOGLM_SIDECAR_LIFE=test/4\n", "AUTOGLM_SIDECAR_NOTE=" + r.opts.Note + "\n",
		"AUTOGLM_SIDECAR_UPSTREAM=" + p.Upstream().String() + "\n", "CUDA_VISIBLE_DEVICES=0\n",
		"fd 0 /dev/null\n",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("want %q, the worker said:\n%s", want, said)
		}
	}
	for _, unwanted := range []string{"NOTIFY_SOCKET", "LISTEN_", "WATCHDOG_", "outer/3", "socket:"} {
		if strings.Contains(said, unwanted) {
			t.Errorf("%q is none of the worker's business, which said:\n%s", unwanted, said)
		}
	}
}

// Go raises the soft limit of files for itself when it starts, and a worker that uses select(2) must not get that.
func TestWorkerHasTheLimitOfFilesThatWeWereStartedWith(t *testing.T) {
	var ours unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &ours); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(o *Options) {
		o.Command = func(supervisor.Upstream) []string { return []string{"/bin/sh", "-c", "ulimit -Sn"} }
	})
	exitOf(t, r.begin(1))
	want := strings.TrimSpace(string(must(exec.Command("/bin/sh", "-c", "ulimit -Sn").Output())))
	if got := r.opts.Tail.Lines(1); len(got) != 1 || got[0] != want {
		t.Errorf("the worker's soft limit of files: got %q, want %s; ours is %d", got, want, ours.Cur)
	}
}

func TestEachLifeListensOnAFreePort(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Command = worker("listen:{}", "stay") })
	first, second := r.begin(1), r.begin(2)
	if first.Upstream() == second.Upstream() {
		t.Errorf("two lives at a time listen on %v", first.Upstream())
	}
	for _, p := range []*process{first, second} {
		if err := p.Ready(soon(t), func(string) {}); err != nil {
			t.Errorf("life %d on %v: %v", p.id.mark.life, p.Upstream(), err)
		}
	}
}

func TestStaleSocketIsRemovedBeforeAStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "worker.sock")
	stale := must(net.ListenUnix("unix", &net.UnixAddr{Name: path}))
	stale.SetUnlinkOnClose(false)
	stale.Close()

	r := newRig(t, func(o *Options) {
		o.Upstream = supervisor.Upstream{Network: "unix", Address: path}
		o.Command = worker("listen:{}", "stay")
	})
	p := r.begin(1)
	if err := p.Ready(soon(t), func(string) {}); err != nil {
		t.Errorf("with a stale socket file in its way: %v", err)
	}
}

func TestWhatIsNoStaleSocketStays(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "socket")
	listening := must(net.Listen("unix", socket))
	defer listening.Close()

	for path, want := range map[string]string{file: "it is no socket", socket: fmt.Sprintf("(PID %d) listens there already", os.Getpid())} {
		r := newRig(t, func(o *Options) { o.Upstream = supervisor.Upstream{Network: "unix", Address: path} })
		_, err := r.Start(t.Context(), 1)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("start with %s in the way: got the error %v, want one that says %q", path, err, want)
		}
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("%s is gone: %v", path, err)
		}
	}
}

func TestTerminateReachesTheMainProcessOnly(t *testing.T) {
	helper := filepath.Join(t.TempDir(), "helper")
	r := newRig(t, func(o *Options) { o.Command = worker("child:file:"+helper+",stay", "file:"+helper+".main", "graceful") })
	p := r.begin(1)
	pid := pidFrom(t, helper)
	pidFrom(t, helper+".main")
	waitForHandler(t, p.PID(), syscall.SIGTERM)
	if err := p.Terminate(); err != nil {
		t.Fatal(err)
	}
	if exit := exitOf(t, p); !exit.Known || exit.Code != 0 || exit.Signal != "" || exit.Unasked {
		t.Errorf("a worker that ends well at TERM %v, unasked: %v; want exited 0, asked", exit, exit.Unasked)
	}
	if !isAlive(pid) {
		t.Error("TERM reached the helper of the worker, too")
	}
	if err := p.Terminate(); err != nil {
		t.Errorf("terminate again, when it is gone: %v", err)
	}
}

// TERM may be sent to a worker whose death nobody has heard of yet. It did not die of that.
func TestADeathBeforeTermIsUnasked(t *testing.T) {
	r := newRig(t, nil)
	p := r.begin(1)
	if err := unix.Kill(p.PID(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its death", func() bool { return !isAlive(p.PID()) })
	if err := p.Terminate(); err != nil {
		t.Fatal(err)
	}
	if exit := exitOf(t, p); exit.Signal != "SIGKILL" || !exit.Unasked {
		t.Errorf("it %v, unasked: %v; want killed by SIGKILL, unasked", exit, exit.Unasked)
	}
}

// waitForHandler waits until the process catches the signal (SigCgt of proc_pid_status(5)).
func waitForHandler(t *testing.T, pid int, s syscall.Signal) {
	t.Helper()
	eventually(t, fmt.Sprintf("a handler of %v", s), func() bool {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(status), "SigCgt:\t")
		var caught uint64
		fmt.Sscanf(rest, "%x", &caught)
		return caught&(1<<(s-1)) != 0
	})
}

func TestOptionsAreChecked(t *testing.T) {
	good := newRig(t, nil).opts
	for name, spoil := range map[string]func(*Options){
		"a name with a slash":      func(o *Options) { o.Name = "a/b" },
		"no name":                  func(o *Options) { o.Name = "" },
		"no command":               func(o *Options) { o.Command = nil },
		"no note":                  func(o *Options) { o.Note = "" },
		"no path":                  func(o *Options) { o.Upstream = supervisor.Upstream{Network: "unix"} },
		"a keeper without exits":   func(o *Options) { o.Keeper = 1 },
		"half an output pipe":      func(o *Options) { o.OutputRead = 3 },
		"output that is not there": func(o *Options) { o.OutputRead, o.OutputWrite = 9998, 9999 },
	} {
		bad := good
		spoil(&bad)
		if d, err := New(bad); err == nil {
			d.Close()
			t.Errorf("%s: no error", name)
		}
	}
}

func TestCloseEndsAWaitAndNotTheWorker(t *testing.T) {
	r := newRig(t, nil)
	started, err := r.Start(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	if _, err := started.Wait(t.Context()); err == nil {
		t.Error("wait returned an exit though the driver was closed and the worker lives")
	}
	if !isAlive(started.PID()) {
		t.Error("the worker ended with the driver")
	}
	// The driver is closed, so the end of the worker is left to us.
	if err := unix.Kill(started.PID(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := syscall.Wait4(started.PID(), nil, 0, nil); err != nil {
		t.Fatal(err)
	}
	started.(*process).id.group.remove()
}
