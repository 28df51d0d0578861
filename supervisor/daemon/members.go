package daemon

import (
	"sync"
	"time"

	"github.com/prometheus/procfs"

	"autoglm-sidecar/health/probe/lastwords"
	"autoglm-sidecar/supervisor"
)

const (
	// scanShare is how much of the time may be spent on looking at every process of the machine: one part of so many. Neighbours may
	// begin processes as often as they like.
	scanShare = 20
	// scanPatience is how long a look is waited for. It reads what a process that hangs in the kernel may keep us from for ever.
	scanPatience = time.Second
)

// members tells the worker's processes from others, by their PIDs in our namespace. To find all of a worker's costs a look at every
// process of the machine, so what was found of a process is kept for as long as it lives.
type members struct {
	start func(pid int) (start uint64, alive bool) // startOf, but in tests

	mu      sync.Mutex // guards everything that follows; never held while /proc is read
	process supervisor.Process
	known   map[int]membership
	scan    chan struct{} // closed when the look that is under way is over; nil: none is
	late    chan struct{} // the look for which somebody has waited in vain: nobody else does
	rests   time.Time     // no look is begun before
}

type membership struct {
	start uint64 // of the process, in clock ticks since boot: its PID is used again
	is    bool
}

// listed is what a life's process can say of all of it.
type listed interface{ Members() ([]int, error) }

// of begins with another life; nil: with none as yet.
func (m *members) of(p supervisor.Process) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.process, m.known, m.scan, m.rests = p, map[int]membership{}, nil, time.Time{}
}

// among says which of the PIDs are the worker's. Those of which it can't be told yet are not, and are to be asked for again.
func (m *members) among(pids []int) func(pid int) bool {
	m.mu.Lock()
	life, can := m.process.(listed)
	m.mu.Unlock()
	are := map[int]bool{}
	if !can {
		return func(int) bool { return false }
	}
	starts := map[int]uint64{}
	for _, pid := range pids {
		if start, alive := m.start(pid); alive {
			starts[pid] = start
		}
	}
	if !m.sort(pids, starts, are) {
		if over := m.look(life, starts); over != nil {
			late := time.NewTimer(scanPatience)
			defer late.Stop()
			select {
			case <-over:
				m.sort(pids, starts, are)
			case <-late.C:
				m.mu.Lock()
				m.late = over
				m.mu.Unlock()
			}
		}
	}
	return func(pid int) bool { return are[pid] }
}

// sort notes which are the worker's, and says whether that is known of all.
func (m *members) sort(pids []int, starts map[int]uint64, are map[int]bool) (all bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all = true
	for _, pid := range pids {
		start, alive := starts[pid]
		was, known := m.known[pid]
		switch {
		case known && (!alive || was.start == start): // one that has just ended, too: the driver lists it a little longer
			are[pid] = was.is
		case alive:
			all = false
		}
	}
	return all
}

// look begins to look at every process, if none looks and it is time; asked are those for whose sake. It returns what is closed when
// that is over; nil: it isn't worth waiting for.
func (m *members) look(life listed, asked map[int]uint64) (over chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.scan != nil && m.scan == m.late, m.scan == nil && time.Now().Before(m.rests):
		return nil
	case m.scan != nil:
		return m.scan
	}
	scan, whose := make(chan struct{}), m.process
	m.scan = scan
	go func() {
		defer close(scan)
		began := time.Now()
		all, err := life.Members()
		starts := map[int]uint64{}
		for _, pid := range all {
			if start, alive := m.start(pid); alive {
				starts[pid] = start
			}
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.scan != scan || m.process != whose { // another life has begun
			return
		}
		m.scan, m.rests = nil, time.Now().Add(scanShare*time.Since(began))
		if err != nil { // nobody can tell: it is asked again
			return
		}
		for pid, start := range asked {
			m.known[pid] = membership{start, false}
		}
		for pid, start := range starts {
			m.known[pid] = membership{start, true}
		}
		m.forget(asked, starts)
	}()
	return scan
}

// mostKnown bounds what is known of processes. Those that ended long ago are of no use.
const mostKnown = 4096

func (m *members) forget(asked, ours map[int]uint64) {
	if len(m.known) <= mostKnown {
		return
	}
	for pid := range m.known {
		_, was := asked[pid]
		if _, is := ours[pid]; !was && !is {
			delete(m.known, pid)
		}
	}
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
	return lastwords.Fit(name) // whoever runs it chose it
}
