package child

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func withoutCgroup(r rig) rig {
	r.group = func(mark) (*cgroup, error) { return nil, errors.New("switched off by the test") }
	return r
}

// A worker's helper may stay in the session, leave it, or leave it with an environment of its own. All of them are
// killed with the worker, whether or not it could be given a cgroup.
func TestKillReachesAllThatTheWorkerStarted(t *testing.T) {
	for _, kind := range []string{"child", "runaway", "nameless"} {
		for _, cgroups := range []bool{true, false} {
			t.Run(kind+map[bool]string{true: " in a cgroup", false: " without a cgroup"}[cgroups], func(t *testing.T) {
				helper := filepath.Join(t.TempDir(), "helper")
				r := newRig(t, func(o *Options) { o.Command = worker(kind+":file:"+helper+",stay", "stay") })
				if !cgroups {
					r = withoutCgroup(r)
				}
				p := r.begin(1)
				pid := pidFrom(t, helper)
				r.end(p)
				if isAlive(pid) || isAlive(p.PID()) {
					t.Errorf("after kill and reclaim: worker alive %v, helper alive %v", isAlive(p.PID()), isAlive(pid))
				}
				if exit := exitOf(t, p); exit.Signal != "SIGKILL" || exit.Unasked {
					t.Errorf("the worker %v, want killed by SIGKILL", exit)
				}
			})
		}
	}
}

// The main process is killed from outside; what it has started lives on, and the life is not over before that is gone.
func TestALifeOutlivesItsMainProcess(t *testing.T) {
	for _, kind := range []string{"child", "runaway"} {
		t.Run(kind, func(t *testing.T) {
			helper := filepath.Join(t.TempDir(), "helper")
			r := withoutCgroup(newRig(t, func(o *Options) { o.Command = worker(kind+":file:"+helper+",stay", "stay") }))
			p := r.begin(1)
			pid := pidFrom(t, helper)
			if err := unix.Kill(p.PID(), unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			exitOf(t, p)

			short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			err := p.Reclaim(short)
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "still alive: ") {
				t.Errorf("reclaim while the helper lives: got %v, want an error that says so", err)
			}
			if what, _ := p.Pending(); !strings.Contains(what, fmt.Sprintf("(PID %d,", pid)) {
				t.Errorf("it waits for %q, want the helper's PID %d", what, pid)
			}
			r.end(p)
			if isAlive(pid) {
				t.Error("the helper outlived kill and reclaim")
			}
		})
	}
}

// A helper without any mark, whose parent is gone, is known by its cgroup alone.
func TestCgroupHoldsWhatHasNoOtherSign(t *testing.T) {
	helper := filepath.Join(t.TempDir(), "helper")
	r := newRig(t, func(o *Options) { o.Command = worker("nameless:file:"+helper+",stay", "stay") })
	p := r.begin(1)
	if why := r.Stats().NoCgroup; why != "" {
		t.Skip("this machine lets us make no cgroup: " + why)
	}
	pid := pidFrom(t, helper)
	if err := unix.Kill(p.PID(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	exitOf(t, p)
	if !isAlive(pid) {
		t.Fatal("the helper ended by itself")
	}
	r.end(p)
	if isAlive(pid) {
		t.Error("the helper outlived kill and reclaim")
	}
	if _, err := os.Stat(r.opts.Note); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the note of a life that is over is still there (%v)", err)
	}
	if left := p.id.group.pids(); len(left) != 0 {
		t.Errorf("in the cgroup are still %v", left)
	}
	eventually(t, "the end of the cgroup", func() bool { // which a zombie that init has not reaped yet may keep
		p.id.group.removeSoon()
		_, err := os.Stat(p.id.group.dir)
		return errors.Is(err, fs.ErrNotExist)
	})
}

// Until a worker is moved to its cgroup it may have started something.
func TestWhatAWorkerHasStartedIsMovedAfterIt(t *testing.T) {
	group, err := newCgroup(mark{name: "test", note: noteIn(t), life: 1})
	if err != nil {
		t.Skip("this machine lets us make no cgroup: " + err.Error())
	}
	said := filepath.Join(t.TempDir(), "said")
	r := withoutCgroup(newRig(t, func(o *Options) { o.Command = worker("child:runaway:file:"+said+";stay,stay", "stay") }))
	p := r.begin(1)
	grandchild := pidFrom(t, said)
	if err := group.add(p.PID()); err != nil {
		t.Fatal(err)
	}
	if pids := group.pids(); !pids[p.PID()] || !pids[grandchild] || len(pids) != 3 {
		t.Errorf("in the cgroup are %v, want the worker %d, its child and its grandchild %d", pids, p.PID(), grandchild)
	}
	r.end(p)
	eventually(t, "the end of the cgroup", group.remove)
}

func TestACgroupThatAnEarlierLifeLeftIsRemoved(t *testing.T) {
	r := newRig(t, nil)
	left, err := newCgroup(r.mark(1))
	if err != nil {
		t.Skip("this machine lets us make no cgroup: " + err.Error())
	}
	other, err := newCgroup(mark{name: "test", note: "/elsewhere", life: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer other.remove()
	p := r.begin(2)
	if p.id.group == nil {
		t.Fatalf("the life has no cgroup: %s", r.Stats().NoCgroup)
	}
	if _, err := os.Stat(left.dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is still there (%v)", left.dir, err)
	}
	if _, err := os.Stat(other.dir); err != nil {
		t.Errorf("another sidecar's cgroup is gone: %v", err)
	}
}

// A worker that forks as fast as it can has no child left that Kill overlooked.
func TestKillIsFasterThanForking(t *testing.T) {
	const forks = `while :; do sleep 60 & done`
	r := withoutCgroup(newRig(t, nil))
	r.opts.Command = shell(`ulimit -u 4000; trap '' TERM; for i in 1 2 3; do setsid sh -c '` + forks + `' & done; wait`)
	p := r.begin(1)
	eventually(t, "30 processes", func() bool { return len(must(p.id.living())) > 30 })
	r.end(p)
	if left := must(p.id.living()); len(left) > 0 {
		t.Errorf("alive after kill and reclaim: %s", nameAll(left))
	}
}

func TestKillSparesAnotherProcessWithTheSamePID(t *testing.T) {
	bystander := exec.Command("sleep", "60")
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		bystander.Process.Kill()
		bystander.Wait()
	}()
	stat, _ := statOf(bystander.Process.Pid)
	old := member{incarnation: incarnation{bystander.Process.Pid, stat.Starttime - 1}}
	if err := old.kill(); err != nil || !isAlive(bystander.Process.Pid) {
		t.Errorf("kill of an older process with this PID: error %v, the bystander is alive: %v", err, isAlive(bystander.Process.Pid))
	}
	id := identity{mark: mark{name: "test", note: "/n", life: 1}, main: bystander.Process.Pid, start: stat.Starttime - 1}
	if living := must(id.living()); len(living) != 0 {
		t.Errorf("a process that has the PID of a dead worker is taken for it: %s", nameAll(living))
	}
	id.start++
	if living := must(id.living()); len(living) != 1 {
		t.Errorf("the process itself: got %s", nameAll(living))
	}
}

// Where a sidecar runs inside the worker of another one of the same name, it must not take its own ancestors, nor the
// outer worker's other processes that are older than its own, for its worker's.
func TestWeAreNeverOurOwnWorker(t *testing.T) {
	r := newRig(t, nil)
	p := r.begin(1)
	for _, m := range must(identity{mark: p.id.mark, main: unix.Getpid()}.living()) {
		if m.pid == unix.Getpid() || m.pid == unix.Getppid() {
			t.Errorf("%v is taken for a process of the worker", m)
		}
	}
}
