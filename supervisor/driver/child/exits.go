package child

import (
	"context"
	"sync"
	"syscall"
	"time"
)

// exits hands the ends of processes, of which the keeper tells, to whoever waits for them. The keeper reaps all
// children, so a word of it may come before or after we see on a pidfd that the process is gone.
type exits struct {
	mu    sync.Mutex // guards what follows
	early map[int]syscall.WaitStatus
	asked map[int]chan syscall.WaitStatus
}

// recordPatience is how long a word of the keeper may come after the end; it reaps at once and writes to a pipe.
const recordPatience = 200 * time.Millisecond

// mostEarly bounds the ends that nobody asked for: of orphans that the keeper adopted.
const mostEarly = 1024

func newExits() *exits {
	return &exits{early: make(map[int]syscall.WaitStatus), asked: make(map[int]chan syscall.WaitStatus)}
}

// note takes one end.
func (e *exits) note(pid int, status syscall.WaitStatus) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c, ok := e.asked[pid]; ok {
		delete(e.asked, pid)
		c <- status // has room for the one that is ever sent
		return
	}
	if len(e.early) >= mostEarly {
		clear(e.early)
	}
	e.early[pid] = status
}

// forget drops what nobody asked for: a process that is cloned next may get one of these PIDs.
func (e *exits) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	clear(e.early)
}

// take returns how the process ended, which it has; false: nobody can say.
func (e *exits) take(ctx context.Context, pid int) (syscall.WaitStatus, bool) {
	e.mu.Lock()
	if status, ok := e.early[pid]; ok {
		delete(e.early, pid)
		e.mu.Unlock()
		return status, true
	}
	c := make(chan syscall.WaitStatus, 1)
	e.asked[pid] = c
	e.mu.Unlock()

	patience := time.NewTimer(recordPatience)
	defer patience.Stop()
	select {
	case status := <-c:
		return status, true
	case <-patience.C:
	case <-ctx.Done():
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.asked, pid)
	select {
	case status := <-c: // between the end of our patience and the lock
		return status, true
	default:
		return 0, false
	}
}
