package daemon

import (
	"sync"

	"github.com/prometheus/procfs"

	"autoglm-sidecar/supervisor"
)

// members tells the worker's processes from others, by their PIDs in our namespace. To find all of a worker's costs a look at every
// process of the machine, so what was found of a process is kept for as long as it lives.
type members struct {
	mu      sync.Mutex // guards everything that follows
	process supervisor.Process
	known   map[int]membership
}

type membership struct {
	start uint64 // of the process, in clock ticks since boot: its PID is used again
	is    bool
}

// listed is what a life's process can say of all of it.
type listed interface{ Members() ([]int, error) }

// of begins with another life.
func (m *members) of(p supervisor.Process) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.process, m.known = p, map[int]membership{}
}

// has says whether a process is one of the worker's. It waits for /proc.
func (m *members) has(pid int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	life, can := m.process.(listed)
	if !can {
		return false
	}
	start, alive := startOf(pid)
	if was, known := m.known[pid]; known && (!alive || was.start == start) {
		return was.is // of a process that has just ended, too: the driver lists it a little longer
	}
	if !alive {
		return false
	}
	m.known[pid] = membership{start: start}
	all, err := life.Members()
	if err != nil {
		delete(m.known, pid) // nobody can tell: it is asked again
		return false
	}
	for _, member := range all {
		if start, alive := startOf(member); alive {
			m.known[member] = membership{start, true}
		}
	}
	return m.known[pid].is
}

func startOf(pid int) (start uint64, alive bool) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return 0, false
	}
	stat, err := p.Stat()
	return stat.Starttime, err == nil
}

// nameOf is what a process calls itself, "" if there is none.
func nameOf(pid int) string {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return ""
	}
	name, err := p.Comm()
	if err != nil {
		return ""
	}
	return name
}
