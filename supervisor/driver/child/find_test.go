package child

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func noteIn(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "test.life")
}

// The runner is killed again and again. The worker prints all the time and would end with 42 if a write failed; each
// next runner finds it at its PID, where it listens, hears it, and the last one sees how it ends.
func TestWorkerNoticesNothingOfOurDeath(t *testing.T) {
	h := newHouse(t, noteIn(t), "", "listen:{}", "tick")
	pid, upstream := h.start(1)
	h.want("ready", "ready")
	for range 5 {
		h.killRunner()
		h.want(fmt.Sprintf("found %d %s", pid, upstream), "find 1 %d", pid)
		h.want("ready", "ready")
		before := ""
		eventually(t, "its output", func() bool {
			before = h.tell("tail")
			return strings.HasPrefix(before, "tick ")
		})
		eventually(t, "more output", func() bool { return h.tell("tail") != before })
	}
	if stat, _ := statOf(pid); stat.PPID != h.keeper.Process.Pid {
		t.Errorf("the worker is a child of %d, want the keeper, %d", stat.PPID, h.keeper.Process.Pid)
	}
	kill(t, pid)
	if got := h.tell("wait"); !strings.HasPrefix(got, "was killed by SIGKILL: ") || !strings.Contains(got, " | tick ") {
		t.Errorf("the worker %q, want it killed and its last lines", got)
	}
	h.want("ended", "end")
}

func TestExitCodeIsSeenThroughTheKeeper(t *testing.T) {
	go1 := filepath.Join(t.TempDir(), "go")
	h := newHouse(t, noteIn(t), "", "say:I give up", "await:"+go1, "exit:7")
	pid, _ := h.start(1)
	h.killRunner()
	if got := h.tell("find 1 %d", pid); !strings.HasPrefix(got, fmt.Sprintf("found %d ", pid)) {
		t.Fatal(got)
	}
	if err := os.WriteFile(go1, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := h.tell("wait"); !strings.HasPrefix(got, "exited 7: ") {
		t.Errorf("the worker %q, want exited 7", got)
	}
	h.want("missing", "find 1 %d", pid)
}

// The PID was never noted by the machine: the runner died right after the clone.
func TestALifeIsFoundWithoutItsPID(t *testing.T) {
	h := newHouse(t, noteIn(t), "", "stay")
	h.want("missing", "find 1 0")
	pid, upstream := h.start(1)
	h.killRunner()
	h.want("missing", "find 2 0")
	h.want(fmt.Sprintf("found %d %s", pid, upstream), "find 1 0")

	if err := os.Remove(h.note); err != nil { // nor here
		t.Fatal(err)
	}
	h.killRunner()
	h.want(fmt.Sprintf("found %d %s", pid, upstream), "find 1 0")
	h.want(fmt.Sprintf("found %d %s", pid, upstream), "find 1 %d", pid)
	h.want("ended", "end")
}

// A worker that wrote over its environment is known by what was noted of it.
func TestALifeIsFoundThoughItWipedItsEnvironment(t *testing.T) {
	h := newHouse(t, noteIn(t), "", "forget:listen:{},stay")
	pid, upstream := h.start(1)
	h.want("ready", "ready")
	h.killRunner()
	h.want(fmt.Sprintf("found %d %s", pid, upstream), "find 1 %d", pid)
	h.want("running", "running")
	h.want(fmt.Sprintf("found %d %s", pid, upstream), "find 1 0")
	h.want("running", "running")
	h.want("ended", "end")
}

// A PID that is another's by now must not be taken for the worker, least of all killed for it.
func TestAStrangersPIDIsNotTheWorker(t *testing.T) {
	bystander := exec.Command("sleep", "60")
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		bystander.Process.Kill()
		bystander.Wait()
	}()
	h := newHouse(t, noteIn(t), "", "stay")
	h.want("missing", "find 1 %d", bystander.Process.Pid)
	pid, _ := h.start(1)
	kill(t, pid)
	h.killRunner()
	h.want("missing", "find 1 %d", bystander.Process.Pid)
	if !isAlive(bystander.Process.Pid) {
		t.Error("the stranger was killed")
	}
}

// The worker ends while nobody watches. The life is over, and the log tells how it ended.
func TestAnEndThatNobodyWatchedIsTold(t *testing.T) {
	h := newHouse(t, noteIn(t), "", "say:out of memory", "stay")
	pid, _ := h.start(1)
	h.killRunner()
	kill(t, pid)
	h.want("missing", "find 1 %d", pid)
	h.wantLog(`exit="was killed by SIGKILL"`)
}

// The main process ended while nobody watched, and what it had started lives on: it is part of the life, and is killed
// before the next one. Here nothing has a cgroup.
func TestWhatALifeLeftIsFound(t *testing.T) {
	for _, kind := range []string{"child", "runaway", "nameless"} {
		t.Run(kind, func(t *testing.T) {
			said := filepath.Join(t.TempDir(), "said")
			h := newHouse(t, noteIn(t), "", kind+":file:"+said+",stay", "stay")
			pid, upstream := h.start(1)
			helper := pidFrom(t, said)
			h.killRunner()
			kill(t, pid)
			h.want(fmt.Sprintf("found %d %s", pid, upstream), "find 1 %d", pid)
			if got := h.tell("wait"); !strings.HasPrefix(got, "was killed by SIGKILL") {
				t.Errorf("the main process %q, want killed by SIGKILL", got)
			}
			h.want("ended", "end")
			if isAlive(helper) {
				t.Error("the helper outlived the life")
			}
			h.want("missing", "find 1 %d", pid)
		})
	}
}

// The runner died between clone and execve: the child still looks like a runner.
func TestAHalfStartedLifeIsWaitedFor(t *testing.T) {
	h := newHouse(t, noteIn(t), "unix:"+filepath.Join(t.TempDir(), "w.sock"), "stay")
	var pid int
	if answer := h.tell("half"); must(fmt.Sscanf(answer, "half %d", &pid)) != 1 {
		t.Fatal(answer)
	}
	t.Cleanup(func() { unix.Kill(pid, unix.SIGKILL) })
	h.killRunner()
	fmt.Fprintln(h.in, "find 1 0")
	if err := os.WriteFile(h.note+".go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, want := h.line(), fmt.Sprintf("found %d unix:", pid); !strings.HasPrefix(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	h.want("ended", "end")
}

// Keeper and runner were killed together, so nobody knows of the worker any more. It must not live beside the next.
func TestAStrayIsKilledBeforeTheNextLife(t *testing.T) {
	for _, deeds := range [][]string{{"stay"}, {"forget:stay"}, {"runaway:stay", "exit:0"}} {
		t.Run(strings.Join(deeds, " "), func(t *testing.T) {
			note, said := noteIn(t), filepath.Join(t.TempDir(), "said")
			deeds[0] = strings.Replace(deeds[0], "stay", "file:"+said+",stay", 1)
			if deeds[0] == "file:"+said+",stay" {
				deeds = []string{"file:" + said, "stay"}
			}
			old := newHouse(t, note, "", deeds...)
			old.start(7)
			stray := pidFrom(t, said)
			old.killAll()
			if !isAlive(stray) {
				t.Fatal("the worker did not outlive keeper and runner")
			}

			next := newHouse(t, note, "", "stay")
			pid, _ := next.start(1)
			if isAlive(stray) {
				t.Errorf("the stray lives beside the worker of the next life, %d", pid)
			}
			next.wantLog("kill a worker that an earlier sidecar left")
		})
	}
}

// Another sidecar of the same name, somewhere else, has a worker of its own. It is none of ours.
func TestAnotherSidecarsWorkerIsLeftAlone(t *testing.T) {
	other := newHouse(t, noteIn(t), "", "stay")
	theirs, _ := other.start(1)
	h := newHouse(t, noteIn(t), "", "stay")
	h.want("missing", "find 1 0")
	h.want("missing", "find 1 %d", theirs)
	h.start(1)
	h.want("ended", "end")
	if !isAlive(theirs) {
		t.Error("the worker of another sidecar was killed")
	}
}
