package supervisor

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Life is the number of one run of the worker. The first is 1; 0 is no life.
type Life int64

// Upstream is where a life serves.
type Upstream struct {
	Network string // "tcp" or "unix"
	Address string // "127.0.0.1:8001" or "/run/worker.sock"
}

// String gives the upstream as people type it: HOST:PORT or unix:PATH.
func (u Upstream) String() string {
	if u.Network == "unix" {
		return "unix:" + u.Address
	}
	return u.Address
}

// Clock gives the time as CLOCK_MONOTONIC does, since boot: it doesn't jump, and a time noted by one runner means the same
// to the next.
type Clock func() time.Duration

// Gate is where streams enter. Its methods are called by one goroutine, in the order in which Step asked; they take a mutex
// and post messages, they never wait. A new gate holds.
type Gate interface {
	// Open lets new streams and those that were held pass to life. A Drained still owed for that life is taken back.
	Open(life Life, to Upstream)
	// Hold shuts life off: on return no stream enters it any more, retries included, and new ones wait. It returns how many
	// are still in flight on it. When the last of them has left, at once where there is none, Supervisor.Drained(life) is
	// called, once until the gate is opened again. Holding again only asks for the count. It ends Refuse, not Leave.
	Hold(life Life) (inFlight int)
	// Refuse turns away new and held streams and tells them the reason, until Open or Hold.
	Refuse(reason string)
	// Leave turns away new and held streams for good, so that their clients retry elsewhere. What is in flight goes on, and
	// Hold still counts it.
	Leave()
	// Cut ends every stream in flight on life, loudly. After a crash each stream first passes on what the dead worker had
	// left in its socket. Cutting a life without streams does nothing.
	Cut(life Life, cause CutCause)
}

// CutCause is why streams are cut.
type CutCause uint8

const (
	CutCrash    CutCause = iota // their worker is gone
	CutDeadline                 // a permitted end of waiting for them
	CutOperator                 // a person did not want to wait for them
)

// String gives the cause as the outcome cut{cause} has it.
func (c CutCause) String() string {
	switch c {
	case CutCrash:
		return "crash"
	case CutDeadline:
		return "deadline"
	case CutOperator:
		return "operator"
	}
	return fmt.Sprintf("cause(%d)", uint8(c))
}

// Driver starts lives. It is called on goroutines of its own, one call at a time.
type Driver interface {
	// Start begins a life and returns as soon as its main process exists. An error says why there is none: after an error
	// nothing of that life is alive.
	Start(ctx context.Context, life Life) (Process, error)
	// Find looks for a life that an earlier runner started. pid 0: only the intention was noted, so it is one of the
	// keeper's children if it exists at all. It says false only where no process of that life is alive, the main process or
	// any other; an error means that it can't tell. Where the main process is gone and others are alive, Wait returns at once.
	Find(ctx context.Context, life Life, pid int) (Process, bool, error)
}

// Process is one life: its main process and whatever that has started. Its methods may be called at the same time.
type Process interface {
	PID() int
	Upstream() Upstream
	// Ready returns nil when probes pass and the upstream's listening socket belongs to this life. It calls progress with a
	// few words whenever the life shows that it gets on: a line of output, a probe that got further. Its error says what is
	// wrong for good, as in who else owns the socket, and what the life printed last.
	Ready(ctx context.Context, progress func(what string)) error
	// Pending says in a few words what Ready or Reclaim still waits for, as far as it was seen by now, and what the life printed
	// last, oldest first: "127.0.0.1:8001: connection refused", "ray (PID 12, state S)". Empty: for nothing, or it isn't known. It
	// doesn't wait.
	Pending() (what string, lastLines []string)
	// Wait returns when the main process is gone.
	Wait(ctx context.Context) (Exit, error)
	// Terminate sends TERM to the main process and to nobody else: engines abort what they do when their children get it.
	Terminate() error
	// Kill kills all of the life at once.
	Kill() error
	// Reclaim returns nil when nothing of the life is alive any more.
	Reclaim(ctx context.Context) error
}

// Exit is how a main process ended.
type Exit struct {
	Known     bool     // false: nobody can say any more
	Code      int      // where Signal is empty
	Signal    string   // that killed it, as in "SIGKILL"
	Unasked   bool     // it ended before anybody told it to
	LastLines []string // of its output, oldest first
}

// String says it in a few words: "exited 1", "killed by SIGKILL", "is gone". Zero is a code like any other.
func (e Exit) String() string {
	switch {
	case !e.Known:
		return "is gone"
	case e.Signal != "":
		return "was killed by " + e.Signal
	default:
		return fmt.Sprintf("exited %d", e.Code)
	}
}

// withLines adds the worker's last lines, if there is any.
func withLines(what string, lines []string) string {
	if len(lines) == 0 {
		return what
	}
	return what + ": " + strings.Join(lines, " | ")
}

// Reclaimer knows of memory that a life has used, and that comes back only after its end. Its methods may be called at the same time.
type Reclaimer interface {
	// Release returns nil as soon as the memory of a life of which nothing is alive is free for the next.
	Release(ctx context.Context, life Life) error
	// Held says in a few words who or what Release still waits for, as far as it was seen by now. It doesn't wait.
	Held() string
}

// Record keeps the machine for the next runner: at most MaxRecord bytes, replaced as a whole or not at all.
type Record interface {
	Load() ([]byte, error) // empty: nothing was ever stored
	Store([]byte) error
}

// Traffic is what the relay counts, for the account of a restart. Its methods don't wait; Tally is called from any goroutine.
type Traffic interface {
	// Mark begins the account of a restart: everything is counted anew from here. Marking the same one again, as the next
	// runner does, changes nothing.
	Mark(restart int64)
	// Tally gives the account since that restart's mark; zero if another was marked since.
	Tally(restart int64) Tally
}

// Journal keeps ended restarts for people to read later. It is called on a goroutine of its own and may take its time.
type Journal interface {
	// Append keeps one restart. A runner that dies between Append and noting so leaves the next to append it again: the same
	// ID with the same Begun is the same restart.
	Append(Restart) error
}
