package child

import (
	"fmt"
	"os"
	"slices"

	"github.com/prometheus/procfs"
)

// identity is what the processes of one life are recognised by. None of it is enough alone: a descendant may leave
// the session, outlive its parent, or write a title over its environment (setproctitle, as vLLM's engines do).
type identity struct {
	mark   mark
	main   int     // PID of the main process, which leads its own session and group; 0: not known
	start  uint64  // when that process began, in clock ticks since boot; 0: not known. Whatever is older is not of the life
	group  *cgroup // nil: the life has none of its own
	keeper int     // PID of the process that adopts the life's orphans; 0: nobody does that we know
}

// incarnation names a process for good; the PID alone is used again.
type incarnation struct {
	pid   int
	start uint64 // in clock ticks since boot
}

// member is one process of a life.
type member struct {
	incarnation
	comm  string
	state string // of proc_pid_stat(5)
}

// alive is false for a zombie: it runs nothing and holds nothing.
func (m member) alive() bool { return !isDead(m.state) }

func isDead(state string) bool { return state == "Z" || state == "X" || state == "x" }

func (m member) String() string { return fmt.Sprintf("%s (PID %d, state %s)", m.comm, m.pid, m.state) }

// living returns the processes of the life that are no zombies: the main process, its session and group, its cgroup,
// whatever has the mark in its environment or was adopted by the keeper, and the descendants of all these. Never us and
// our ancestors, who have the mark of another sidecar where one runs inside the other's worker.
func (id identity) living() ([]member, error) {
	all, err := processes()
	if err != nil {
		return nil, err
	}
	ours := ancestry(all, os.Getpid())
	grouped := id.group.pids()
	led := id.main != 0 && !id.mainIsAnother(all)
	found := make(map[int]bool)
	for pid, p := range all {
		if ours[pid] || p.Starttime < id.start {
			continue
		}
		ledByMain := led && (pid == id.main || p.Session == id.main || p.PGRP == id.main)
		found[pid] = ledByMain || grouped[pid] || id.adopted(p) || id.mark.isOn(pid)
	}
	for grown := true; grown; {
		grown = false
		for pid, p := range all {
			if found[p.PPID] && !found[pid] && !ours[pid] {
				found[pid], grown = true, true
			}
		}
	}
	var living []member
	for pid, p := range all {
		m := member{incarnation{pid, p.Starttime}, p.Comm, p.State}
		if found[pid] && m.alive() {
			living = append(living, m)
		}
	}
	slices.SortFunc(living, func(a, b member) int { return a.pid - b.pid })
	return living, nil
}

// mainIsAnother reports that the main process is gone and its PID is used again, so that a session or group of this
// number is somebody else's. As long as one of the life's processes is in them the kernel gives the number to nobody.
func (id identity) mainIsAnother(all map[int]procfs.ProcStat) bool {
	p, exists := all[id.main]
	return exists && id.start != 0 && p.Starttime != id.start
}

// adopted reports a child of the keeper that is not us: it starts nothing but runners, so this is an orphan of the life.
// A keeper that is process 1 of a container adopts strangers, too, as those that somebody left who looked in.
func (id identity) adopted(p procfs.ProcStat) bool {
	return id.keeper > 1 && id.start != 0 && p.PPID == id.keeper
}

// processes returns all that /proc shows, by PID.
func processes() (map[int]procfs.ProcStat, error) {
	listed, err := procfs.AllProcs()
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	all := make(map[int]procfs.ProcStat, len(listed))
	for _, p := range listed {
		if stat, err := p.Stat(); err == nil { // else it has gone meanwhile
			all[p.PID] = stat
		}
	}
	return all, nil
}

// ancestry is the process and all above it.
func ancestry(all map[int]procfs.ProcStat, pid int) map[int]bool {
	line := make(map[int]bool)
	for pid != 0 && !line[pid] {
		line[pid] = true
		pid = all[pid].PPID
	}
	return line
}

// statOf returns what the kernel says of one process; false: it is gone or a zombie.
func statOf(pid int) (procfs.ProcStat, bool) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return procfs.ProcStat{}, false
	}
	stat, err := p.Stat()
	return stat, err == nil && !isDead(stat.State)
}
