package child

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"autoglm-sidecar/supervisor"

	"golang.org/x/sys/unix"
)

// process is one life in the supervisor's hand.
type process struct {
	d     *Driver
	id    identity
	at    supervisor.Upstream
	main  *pidfd // nil: the main process was gone when we found the life
	began time.Time
	told  atomic.Bool // to end, while it lived

	pending atomic.Pointer[string] // what Ready or Reclaim waits for; nil: nothing that is known

	mu      sync.Mutex // guards victims
	victims []member   // of Kill

	gone   chan struct{}   // closed when exit and failed are set
	exit   supervisor.Exit // written by watch, before gone is closed
	failed error           // so is this: why nobody can tell when the main process ends
}

// hold watches the main process from now on.
func (d *Driver) hold(id identity, at supervisor.Upstream, main *pidfd) *process {
	p := &process{d: d, id: id, at: at, main: main, began: time.Now(), gone: make(chan struct{})}
	d.tasks.Go(p.watch)
	return p
}

// watch waits for the end of the main process.
func (p *process) watch() {
	defer close(p.gone)
	if p.main != nil {
		if p.failed = p.main.wait(p.d.ctx); p.failed != nil {
			return
		}
	}
	p.exit = p.ended()
}

// ended says how the main process ended, which it has.
func (p *process) ended() supervisor.Exit {
	var exit supervisor.Exit
	status, known := p.status()
	switch {
	case !known:
	case status.Signaled():
		exit.Known, exit.Signal = true, unix.SignalName(status.Signal())
	default:
		exit.Known, exit.Code = true, status.ExitStatus()
	}
	exit.Unasked = p.main != nil && !p.told.Load()
	p.d.output.settle()
	exit.LastLines = p.lastLines()
	return exit
}

// status is how the parent of the main process saw it end: the keeper, or we.
func (p *process) status() (syscall.WaitStatus, bool) {
	if p.d.exits != nil {
		return p.d.exits.take(p.d.ctx, p.id.main)
	}
	var status syscall.WaitStatus
	pid, err := syscall.Wait4(p.id.main, &status, 0, nil)
	for err == syscall.EINTR {
		pid, err = syscall.Wait4(p.id.main, &status, 0, nil)
	}
	return status, err == nil && pid == p.id.main
}

// keptLines is how many last lines an Exit has, and an error shows.
const keptLines = 5

func (p *process) lastLines() []string {
	lines := p.d.output.linesOf(p.id.mark, keptLines)
	for i, line := range lines {
		lines[i] = p.d.opts.Redact(line)
	}
	return lines
}

// PID is the main process's; 0 where it was gone, and nobody knew it, when the life was found.
func (p *process) PID() int { return p.id.main }

// Pending says what Ready or Reclaim waits for, and the last lines.
func (p *process) Pending() (what string, lastLines []string) {
	if known := p.pending.Load(); known != nil {
		what = *known
	}
	return what, p.lastLines()
}

func (p *process) waitsFor(what string) { p.pending.Store(&what) }

// Upstream is where this life is to listen.
func (p *process) Upstream() supervisor.Upstream { return p.at }

// Members are the PIDs of all that is alive of the life, in our namespace. It looks at every process of the machine.
func (p *process) Members() ([]int, error) {
	living, err := p.id.living()
	if err != nil {
		return nil, err
	}
	pids := make([]int, len(living))
	for i, m := range living {
		pids[i] = m.pid
	}
	return pids, nil
}

// Wait returns when the main process is gone.
func (p *process) Wait(ctx context.Context) (supervisor.Exit, error) {
	select {
	case <-p.gone:
	case <-ctx.Done():
		return supervisor.Exit{}, ctx.Err()
	}
	if p.failed != nil {
		return supervisor.Exit{}, fmt.Errorf("wait for worker: %w", p.failed)
	}
	return p.exit, nil
}

// Terminate sends TERM to the main process alone. It is no error if that is gone.
func (p *process) Terminate() error {
	if p.main == nil {
		return nil
	}
	p.tell()
	if err := p.main.signal(syscall.SIGTERM); err != nil && !isGone(err) {
		return fmt.Errorf("terminate worker: %w", err)
	}
	return nil
}

// exiting is PF_EXITING in the flags of proc_pid_stat(5) (linux/sched.h). A process has it before its sockets close, and a big one
// for seconds before it is gone.
const exiting = 0x4

// tell notes that the main process ends by our word from here on, unless it is ending already.
func (p *process) tell() {
	stat, alive := statOf(p.id.main)
	if alive && stat.Starttime == p.id.start && stat.Flags&exiting == 0 {
		p.told.Store(true)
	}
}

// Kill kills all of the life: its cgroup, its group, and whatever else belongs to it.
func (p *process) Kill() error {
	if p.main != nil {
		p.tell()
	}
	victims, err := p.id.kill(p.main)
	p.mu.Lock()
	p.victims = append(p.victims, victims...)
	p.mu.Unlock()
	return err
}

// Reclaim returns nil when nothing of the life is alive.
func (p *process) Reclaim(ctx context.Context) error {
	p.pending.Store(nil) // what it lacked to be ready, if it never was
	p.mu.Lock()
	victims := slices.Clone(p.victims)
	p.mu.Unlock()
	if err := p.id.reclaim(ctx, victims, p.waitsFor); err != nil {
		return err
	}
	p.pending.Store(nil)
	select {
	case <-p.gone: // a zombie is not alive, and is seen to be gone a moment later
	case <-ctx.Done():
		return ctx.Err()
	}
	if p.main != nil {
		p.main.close()
	}
	if err := removeNote(p.d.opts.Note, p.id.mark.life); err != nil { // the life is over all the same
		p.d.opts.Log.Warn("the note of a life that is over stays", "error", err)
	}
	return nil
}

// isGone reports that a signal had nobody to go to.
func isGone(err error) bool { return errors.Is(err, unix.ESRCH) || errors.Is(err, os.ErrClosed) }
