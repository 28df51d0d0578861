package child

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"autoglm-sidecar/supervisor"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// Find returns a life that an earlier runner started, by its PID or, where only the intention was noted, by what was
// noted here and what the processes themselves carry. It is true also for a life whose main process is gone while
// others of it live: its Wait returns at once.
func (d *Driver) Find(ctx context.Context, life supervisor.Life, pid int) (supervisor.Process, bool, error) {
	p, err := d.find(ctx, life, pid)
	if p == nil {
		return nil, false, err
	}
	return p, true, nil
}

func (d *Driver) find(ctx context.Context, life supervisor.Life, pid int) (*process, error) {
	m := d.mark(life)
	noted, err := readNote(d.opts.Note)
	if err != nil {
		return nil, err
	}
	if noted.Life != life {
		noted = note{}
	}
	if pid == 0 {
		pid = noted.PID
	}
	if pid == 0 {
		if pid, err = d.cloned(ctx, m); err != nil {
			return nil, err
		}
	}
	if main, start, ok := d.recognise(m, pid, noted); ok {
		return d.adopt(m, pid, start, main, noted)
	}
	return d.remains(m, noted)
}

// recognise opens the process if it is the main process of the life: the one that was noted, or one that says so.
func (d *Driver) recognise(m mark, pid int, noted note) (main pidfd, start uint64, ok bool) {
	if pid == 0 {
		return pidfd{}, 0, false
	}
	main, err := openPidfd(pid)
	if err != nil {
		return pidfd{}, 0, false
	}
	// What is read below is of the process that main stands for, or the PID was used again and the marks are missing.
	stat, alive := statOf(pid)
	isNoted := noted.PID == pid && noted.Start != 0 && noted.Start == stat.Starttime
	if !alive || !isNoted && !m.isOn(pid) {
		main.close()
		return pidfd{}, 0, false
	}
	return main, stat.Starttime, true
}

func (d *Driver) adopt(m mark, pid int, start uint64, main pidfd, noted note) (*process, error) {
	at := noted.Upstream
	if at.Address == "" {
		_, at = m.read(pid)
	}
	if at.Address == "" {
		main.close()
		return nil, fmt.Errorf("process %d is alive, and where it listens was noted nowhere", pid)
	}
	id := identity{mark: m, main: pid, start: start, group: findCgroup(m, pid), keeper: d.opts.Keeper}
	if err := d.hear(id, noted.Output); err != nil { // it may have to wait for a reader, and serves until then
		d.opts.Log.Error("what the worker prints is heard no more", "life", m.life, "pid", pid, "error", err)
	}
	return d.hold(id, at, &main), nil
}

// remains returns the life whose main process is gone, if anything of it lives; nil: nothing does. A PID that was not
// noted together with its start may be anybody's by now, so it is no sign of anything.
func (d *Driver) remains(m mark, noted note) (*process, error) {
	id := identity{mark: m, main: noted.PID, start: noted.Start, keeper: d.opts.Keeper}
	living, err := id.living()
	if err != nil {
		return nil, err
	}
	if len(living) == 0 {
		d.tellEnd(id)
		return nil, nil
	}
	id.group = findCgroup(id.mark, living[0].pid)
	return d.hold(id, noted.Upstream, nil), nil
}

// tellEnd logs how a life ended that nobody watched: it is over, and nobody else will ask.
func (d *Driver) tellEnd(id identity) {
	if id.main == 0 {
		return
	}
	p := process{d: d, id: id}
	exit := p.ended()
	d.opts.Log.Warn("the worker ended while no runner watched", "life", id.mark.life, "pid", id.main, "exit", exit.String(), "last_lines", exit.LastLines)
}

// How long a process that was cloned may take to execute its program, and how often we look.
const (
	execPatience = 5 * time.Second
	execLook     = 2 * time.Millisecond
)

// cloned returns the main process of a life whose runner died before it could note the PID; 0: there is none. Where
// that runner died between clone and execve, the process still looks like us and is waited for.
func (d *Driver) cloned(ctx context.Context, m mark) (int, error) {
	patience := time.NewTimer(execPatience)
	defer patience.Stop()
	for {
		all, err := processes()
		if err != nil {
			return 0, err
		}
		half := d.halfStarted(all) // before marks are looked for: who executes a program in between has one by then
		if pid := leader(all, m); pid != 0 {
			return pid, nil
		}
		if !half {
			return 0, nil
		}
		select {
		case <-time.After(execLook):
		case <-patience.C:
			return 0, errors.New("a child of the keeper is still to execute its program")
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// leader returns the oldest process with the mark that leads its session, as only a main process is sure to.
func leader(all map[int]procfs.ProcStat, m mark) int {
	oldest := procfs.ProcStat{}
	for pid, p := range all {
		if p.Session == pid && !isDead(p.State) && (oldest.PID == 0 || p.Starttime < oldest.Starttime) && m.isOn(pid) {
			oldest = p
		}
	}
	return oldest.PID
}

// halfStarted reports whether the keeper has a child that was cloned from a runner and executes nothing of its own yet:
// it still has the arguments of its maker, which are those of all runners, or in the middle of execve none. (Linux shows
// no argument of a program before its environment is there too: get_mm_cmdline in fs/proc/base.c.)
func (d *Driver) halfStarted(all map[int]procfs.ProcStat) bool {
	if d.opts.Keeper == 0 {
		return false
	}
	return slices.ContainsFunc(childrenOf(all, d.opts.Keeper), func(pid int) bool {
		theirs, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		ours, ourErr := os.ReadFile("/proc/self/cmdline")
		return pid != unix.Getpid() && err == nil && ourErr == nil && (len(theirs) == 0 || slices.Equal(theirs, ours))
	})
}

func childrenOf(all map[int]procfs.ProcStat, parent int) []int {
	var children []int
	for pid, p := range all {
		if p.PPID == parent && !isDead(p.State) {
			children = append(children, pid)
		}
	}
	return children
}
