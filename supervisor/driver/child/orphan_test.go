package child

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"autoglm-sidecar/supervisor"

	"golang.org/x/sys/unix"
)

// A worker that prints all the time, and would end with 42 at the first EPIPE.
var talker = []string{"listen:{}", "tick"}

func TestAnOrphanGoesOnWithTheNextSidecar(t *testing.T) {
	note := noteIn(t)
	old := newHouse(t, note, "", talker...)
	pid, upstream := old.start(7)
	old.want("ready", "ready")
	old.killAll()

	next := newHouse(t, note, "", talker...)
	next.want(fmt.Sprintf("orphan 7 %d", pid), "orphan")
	next.want(fmt.Sprintf("found %d %s", pid, upstream), "find 7 %d", pid)
	next.want("ready", "ready")
	next.wantTicks()

	// It outlives runners as any other life does.
	next.killRunner()
	next.want(fmt.Sprintf("found %d %s", pid, upstream), "find 7 %d", pid)
	next.wantTicks()

	// And once more all of them are gone.
	next.killAll()
	last := newHouse(t, note, "", talker...)
	last.want(fmt.Sprintf("orphan 7 %d", pid), "orphan")
	last.want(fmt.Sprintf("found %d %s", pid, upstream), "find 7 %d", pid)
	last.wantTicks()

	kill(t, pid)
	if got := last.tell("wait"); !strings.HasPrefix(got, "is gone: ") {
		t.Errorf("the end of somebody else's child: got %q, want no word of its status", got)
	}
	last.want("ended", "end")
	if next, _ := last.start(8); next == pid {
		t.Fatal("life 8 is life 7")
	}
	last.wantTicks() // the pipe of the orphan is that of its successors
}

// wantTicks waits for a line that the worker prints after now.
func (h *house) wantTicks() {
	h.t.Helper()
	now := time.Now().UnixMicro()
	eventually(h.t, "a line of the worker", func() bool {
		var at int64
		_, _ = fmt.Sscanf(h.tell("tail"), "tick %d", &at)
		return at > now
	})
}

// While nobody reads, what it prints waits in the pipe, and then the worker waits itself.
func TestAnOrphanThatPrintsALotWaitsForTheNextSidecar(t *testing.T) {
	note, dir := noteIn(t), t.TempDir()
	begin, done := filepath.Join(dir, "begin"), filepath.Join(dir, "done")
	deeds := []string{"await:" + begin, "flood:1", "file:" + done, "stay"}
	old := newHouse(t, note, "", deeds...)
	pid, _ := old.start(1)
	old.killAll()
	if err := os.WriteFile(begin, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "that it waits in a write", func() bool { return waitsInWrite(pid) })
	if _, err := os.Stat(done); err == nil || !isAlive(pid) {
		t.Fatal("it has printed a MiB that nobody could read, or is dead of it")
	}

	next := newHouse(t, note, "", deeds...)
	next.want(fmt.Sprintf("orphan 1 %d", pid), "orphan")
	if got := next.tell("find 1 %d", pid); !strings.HasPrefix(got, fmt.Sprintf("found %d ", pid)) {
		t.Fatal(got)
	}
	if got := pidFrom(t, done); got != pid {
		t.Errorf("process %d has printed all, want %d", got, pid)
	}
}

// waitsInWrite says whether a thread of the process is in write(2) to stdout (proc_pid_syscall(5)).
func waitsInWrite(pid int) bool {
	calls, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", pid))
	for _, call := range calls {
		text, _ := os.ReadFile(call)
		var number, fd uint64
		if n, _ := fmt.Sscanf(string(text), "%d 0x%x", &number, &fd); n == 2 && number == unix.SYS_WRITE && fd == 1 {
			return true
		}
	}
	return false
}

func TestAnOrphanThatIsNotWhatWeWouldStartIsEnded(t *testing.T) {
	for _, test := range []struct {
		name     string
		upstream string
		deeds    []string
		reason   string
	}{
		{"another argument", "", []string{"say:hello", "stay"}, "its command, its directory, its user or what settings say of its environment is another"},
		{"another address", "127.0.0.1:1", []string{"stay"}, "it listens at 127.0.0.1:"},
		{"another kind of address", "unix:/nowhere/w.sock", []string{"stay"}, "it listens at 127.0.0.1:"},
	} {
		t.Run(test.name, func(t *testing.T) {
			note := noteIn(t)
			old := newHouse(t, note, "", "stay")
			pid, _ := old.start(7)
			old.killAll()
			next := newHouse(t, note, test.upstream, test.deeds...)
			next.want("orphan 7 0", "orphan")
			next.wantLog(test.reason)
			if !isAlive(pid) {
				t.Error("it is ended before anybody wants to start another")
			}
			if test.upstream == "unix:/nowhere/w.sock" { // it can't be started there, and the old one goes all the same
				next.tell("start 8")
			} else {
				next.start(8)
			}
			if isAlive(pid) {
				t.Error("it lives beside the next life")
			}
		})
	}
}

// A PID is used again. What has it now is none of ours.
func TestAStrangerWithThePIDOfAnOrphanIsNotTouched(t *testing.T) {
	stranger := exec.CommandContext(t.Context(), "sleep", "60")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	stat, _ := statOf(stranger.Process.Pid)
	path := noteIn(t)
	h := newHouse(t, path, "", "stay")
	at := supervisor.Upstream{Network: "tcp", Address: "127.0.0.1:1"}
	lost := note{Life: 7, PID: stranger.Process.Pid, Start: stat.Starttime - 1, Upstream: at, Command: newRig(t, nil).digest(worker("stay")(at))}
	if err := lost.write(path); err != nil {
		t.Fatal(err)
	}
	h.want("orphan 7 0", "orphan")
	h.start(8)
	if !isAlive(stranger.Process.Pid) {
		t.Error("a stranger was killed")
	}
}

func TestWhatMakesAnotherWorker(t *testing.T) {
	command := []string{"serve", "model"}
	same := newRig(t, nil).digest(command)
	for name, test := range map[string]struct {
		change  func(*Options)
		command []string
		differs bool
	}{
		"nothing":              {func(*Options) {}, command, false},
		"whoever started us":   {func(o *Options) { o.Environment = []string{"SHLVL=2"} }, command, false},
		"an argument":          {func(*Options) {}, []string{"serve", "another"}, true},
		"where a word ends":    {func(*Options) {}, []string{"serve mo", "del"}, true},
		"a setting":            {func(o *Options) { o.Settled = []string{"CUDA_VISIBLE_DEVICES=1"} }, command, true},
		"a setting for a word": {func(o *Options) { o.Settled = command[:1] }, command[1:], true},
		"its user":             {func(o *Options) { o.User = &syscall.Credential{Uid: 40001, Gid: 40001} }, command, true},
	} {
		if got := newRig(t, test.change).digest(test.command); (got != same) != test.differs {
			t.Errorf("%s: another worker is %v, want %v", name, got != same, test.differs)
		}
	}
	one := newRig(t, func(o *Options) { o.Settled = []string{"A=1", "B=2"} }).digest(command)
	if two := newRig(t, func(o *Options) { o.Settled = []string{"B=2", "A=1"} }).digest(command); one != two {
		t.Error("the order of settings makes another worker")
	}
}

func TestOnlyThePipeThatWasNotedIsTaken(t *testing.T) {
	r := newRig(t, nil)
	path := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := r.output.inode()
	if err := r.output.take(path, before+1); err == nil || r.output.inode() != before {
		t.Errorf("a file that a worker had put in the place of its pipe was taken (%v)", err)
	}
	if text, _ := os.ReadFile(path); string(text) != "precious" {
		t.Errorf("it was written to: %q", text)
	}
}
