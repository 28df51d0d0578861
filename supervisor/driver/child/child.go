// Package child runs the worker as a process of ours: it starts it, hears what it prints, sees it end, kills all that
// belongs to it, and finds it again after our own death, which the worker doesn't notice.
//
// For that, a worker is made the child of the keeper and not of the runner (CLONE_PARENT), in a session of its own, so
// that neither our end nor a Ctrl-C reaches it. It writes to a pipe of which both ends lie at descriptors that outlive
// us. It is told which life it is in its environment, and who it is is noted in a file, so that the next runner knows
// it from any other process. A life is more than its main process: whatever that has started belongs to it, however far
// it has run away (members.go), and a life is over only when none of it lives (kill.go).
//
// start.go and find.go are the two ways to get a life; orphan.go is for a life that has lost keeper and runner both;
// ready.go says when it serves; process.go is what the supervisor holds in its hand.
package child

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"autoglm-sidecar/health/probe"
	"autoglm-sidecar/supervisor"
)

// Options say how the worker is run, and what of it lies where it outlives us.
type Options struct {
	Name string // of the sidecar: lives are marked with it

	// Command returns the program and its arguments for a worker that is to listen there. The program is looked up in
	// PATH. Neither is ever printed, but for the program's name: arguments may hold secrets.
	Command func(at supervisor.Upstream) []string
	// Upstream is where the worker listens. A tcp one without an address is a free port of this machine, anew each life.
	Upstream supervisor.Upstream
	// Probe makes the question that a worker answers once it is ready.
	Probe func(network, address string) probe.Probe
	// ProbeEcho is what the worker's access log prints of our own question, as in "GET /health": no line that contains
	// it counts as progress. Empty: nothing.
	ProbeEcho string

	// ProbePatience is how long one such question may take; 0: 10 s.
	ProbePatience time.Duration

	// Environment is what the worker gets in its environment, as NAME=VALUE, less what is meant for us alone; nil: ours.
	Environment []string
	// Settled is the part of Environment that settings say, and not whoever started us: a worker that was started with
	// another one is another worker (orphan.go).
	Settled []string
	// User is whom the worker runs as; nil: as we do.
	User *syscall.Credential
	// OOMScore is the worker's oom_score_adj, where ours is another (proc_pid_oom_score_adj(5)); nil: it has ours.
	OOMScore *int
	// Redact takes out of a worker's line what nobody should see, before it gets into an error; nil: nothing.
	Redact func(line string) string

	// Note is the path of a file that says what the next runner must know of the life, in a directory that exists and
	// is ours alone. It also tells sidecars of the same name apart.
	Note string

	// Keeper is the PID of our parent, which is to be the worker's, too; 0: the worker is our own child.
	Keeper int
	// Exits calls each for every child of the keeper that has ended, until ctx is done. Needed with a Keeper.
	Exits func(ctx context.Context, each func(pid int, status syscall.WaitStatus)) error

	// OutputRead and OutputWrite are the ends of the pipe that workers print to, at descriptors that outlive us. 0 and
	// 0: a pipe of our own, which dies with us.
	OutputRead, OutputWrite int
	// Tail keeps the last of what workers printed. nil: 64 KiB of memory that dies with us.
	Tail *Tail
	// Output is where the worker's lines go; nil: nowhere. It may be slow, or fail: then lines are dropped. A write to
	// an os.Stdout that nobody reads any more is the death of a Go program; a duplicate of it only fails.
	Output io.Writer

	Log *slog.Logger
}

// Driver implements supervisor.Driver. It is used until Close.
type Driver struct {
	opts   Options
	output *output
	exits  *exits                      // nil: workers are our own children
	group  func(mark) (*cgroup, error) // makes the cgroup of a life

	ctx    context.Context // done at Close: ends what waits for processes
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	closing sync.Once

	swept    bool                   // no stray of an earlier sidecar lives; used by Start and Find, one call at a time
	noCgroup atomic.Pointer[string] // why the last life has no cgroup of its own; nil: it has one, or there was no life
}

var _ supervisor.Driver = (*Driver)(nil)

var nameForm = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

// heapTail is the size of a Tail that nobody gave.
const heapTail = 64 << 10

// New returns a driver that reads the workers' output from now on.
func New(opts Options) (*Driver, error) {
	if err := opts.check(); err != nil {
		return nil, fmt.Errorf("driver child: %w", err)
	}
	if opts.Tail == nil {
		opts.Tail = NewHeapTail(heapTail)
	}
	if opts.Output == nil {
		opts.Output = io.Discard
	}
	if opts.ProbePatience == 0 {
		opts.ProbePatience = probePatience
	}
	if opts.Environment == nil {
		opts.Environment = os.Environ()
	}
	if opts.Redact == nil {
		opts.Redact = func(line string) string { return line }
	}
	output, err := openOutput(opts.OutputRead, opts.OutputWrite, opts.Tail, opts.Output)
	if err != nil {
		return nil, fmt.Errorf("driver child: %w", err)
	}
	d := &Driver{opts: opts, output: output, group: newCgroup}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.tasks.Go(func() { d.say("read the worker's output", d.output.run()) })
	if opts.Keeper != 0 {
		d.exits = newExits()
		d.tasks.Go(func() { d.say("read the exits that the keeper saw", d.opts.Exits(d.ctx, d.exits.note)) })
	}
	return d, nil
}

func (o Options) check() error {
	var problems []error
	if !nameForm.MatchString(o.Name) {
		problems = append(problems, fmt.Errorf("the name %q is not of letters, digits and ._-", o.Name))
	}
	if o.Command == nil || o.Probe == nil || o.Log == nil || o.Note == "" {
		problems = append(problems, errors.New("one of Command, Probe, Log and Note is missing"))
	}
	if o.Upstream.Network != "tcp" && (o.Upstream.Network != "unix" || o.Upstream.Address == "") {
		problems = append(problems, fmt.Errorf("the upstream %q is neither tcp nor a path", o.Upstream))
	}
	if (o.Keeper != 0) != (o.Exits != nil) || (o.OutputRead != 0) != (o.OutputWrite != 0) {
		problems = append(problems, errors.New("of Keeper and Exits, or of OutputRead and OutputWrite, there is only one"))
	}
	return errors.Join(problems...)
}

// say logs the end of a task that should have gone on.
func (d *Driver) say(task string, err error) {
	if err != nil && d.ctx.Err() == nil {
		d.opts.Log.Error(task, "error", err)
	}
}

// Close ends the driver, not its worker. What waits for a process returns an error. Lines that wait for a slow Output
// have a second to be written.
func (d *Driver) Close() {
	d.closing.Do(func() {
		d.cancel()
		d.output.close()
		d.tasks.Wait()
	})
}

// Stats are counts since New.
type Stats struct {
	OutputBytes  int64  // printed by workers
	DroppedLines int64  // of these, lines that Output did not take in time
	NoCgroup     string // why the last life has no cgroup of its own, so that KILL finds its processes by other signs; empty: it has
}

// Stats returns the counts as they are now.
func (d *Driver) Stats() Stats {
	s := Stats{OutputBytes: d.output.bytes.Load(), DroppedLines: d.output.sink.droppedLines()}
	if why := d.noCgroup.Load(); why != nil {
		s.NoCgroup = *why
	}
	return s
}

func (d *Driver) mark(life supervisor.Life) mark {
	return mark{name: d.opts.Name, note: d.opts.Note, life: life}
}
