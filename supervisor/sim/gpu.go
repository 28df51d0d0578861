package sim

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"autoglm-sidecar/gpu"
	"autoglm-sidecar/gpu/nvml/double"
)

// GPU is what the worker does to a GPU that isn't there: one in the state file of the double of NVIDIA's library. The memory is
// its process's (double.Owned), so that a worker that is killed needs to tell nobody. Amounts are in MiB.
type GPU struct {
	State string // the file; "": no GPU. A file that has one already keeps it: it is the machine's, and outlives workers
	Total int    // of the GPU, where the file has none
	Model int    // weights and cache, taken while the worker starts

	Leak   float64 // a minute, from when it has started
	Pace   float64 // the leak's clock: so many of its seconds are in one
	Stairs int     // the first so many requests for an answer take Step each, as kernels and graphs that are loaded late do
	Step   int

	Release time.Duration // from the process's end until the driver has the memory back
	PID     Listed
}

// Listed is who the driver says has the memory.
type Listed string

// Whom the driver may list. Of ListForeign and ListNone the memory still goes with the worker's own process.
const (
	ListSelf    Listed = "self"
	ListChild   Listed = "child"   // the first of Options.Children has it, as EngineCore does: it keeps it as an orphan
	ListForeign Listed = "foreign" // a number that is no PID here, as where the driver counts in another namespace
	ListNone    Listed = "none"    // nobody, as in some containers
)

var listings = []Listed{ListSelf, ListChild, ListForeign, ListNone}

const (
	mib = 1 << 20
	// gpuTick is how often the file is brought up to date, if only to say that the process lives (double.Owned.Seen).
	gpuTick = 100 * time.Millisecond
	// contextMemory is what each further context takes (reference section 5.1).
	contextMemory = 248 * mib
	mostContexts  = 16
	// foreignPID is added to a PID to get one that is none: the kernel's own are below it.
	foreignPID = 1 << 22
	// gpuLost is NVML_ERROR_GPU_IS_LOST.
	gpuLost = 15
	gpuUUID = "GPU-51d00b1e-0000-4000-8000-000000000001"
)

func defaultGPU() GPU {
	return GPU{Total: 24576, Model: 16384, Step: 256, Pace: 1, PID: ListSelf}
}

func (g *GPU) registerFlags(flags *pflag.FlagSet) {
	flags.StringVar(&g.State, "gpu-state", g.State, "state file of a double of NVIDIA's library in which to play a worker's memory (empty: no GPU)")
	flags.IntVar(&g.Total, "gpu-total", g.Total, "MiB of a GPU that is new in the file")
	flags.IntVar(&g.Model, "gpu-model", g.Model, "MiB of weights and cache, taken while loading")
	flags.Float64Var(&g.Leak, "gpu-leak", g.Leak, "MiB leaked a minute")
	flags.Float64Var(&g.Pace, "gpu-pace", g.Pace, "seconds of the leak in one second")
	flags.IntVar(&g.Stairs, "gpu-stairs", g.Stairs, "first requests for an answer that each take --gpu-step")
	flags.IntVar(&g.Step, "gpu-step", g.Step, "MiB of a step")
	flags.DurationVar(&g.Release, "gpu-release", g.Release, "for how long memory stays used after its process's end")
	flags.StringVar((*string)(&g.PID), "gpu-pid", string(g.PID), choices("who is listed as having the memory", listings))
}

func (g GPU) validate(children int) error {
	const most = 1 << 30
	return errors.Join(
		outOf(g.Total < 1 || g.Total > most, "gpu-total", g.Total, "1 to 2^30"),
		outOf(g.Model < 0 || g.Model > most, "gpu-model", g.Model, "0 to 2^30"),
		outOf(badLeak(g.Leak), "gpu-leak", g.Leak, "0 to 1000000"),
		outOf(!(g.Pace >= 0.001 && g.Pace <= 1e6), "gpu-pace", g.Pace, "0.001 to 1000000"),
		outOf(g.Stairs < 0, "gpu-stairs", g.Stairs, "0 or more"),
		outOf(g.Step < 0 || g.Step > most, "gpu-step", g.Step, "0 to 2^30"),
		outOf(g.Release < 0, "gpu-release", g.Release, "0s or more"),
		unknown("gpu-pid", g.PID, listings),
		outOf(g.PID == ListChild && children < 1, "gpu-pid", g.PID, "possible without --children"),
	)
}

func badLeak(rate float64) bool { return !(rate >= 0 && rate <= 1e6) } // NaN is bad, too

// device is the worker's hand on the GPU: run, requests and the control page bring the file up to date.
type device struct {
	options GPU
	loaded  time.Time // when the model is there
	born    time.Time
	owner   double.Owner
	failed  chan<- error // told once why the worker has to end

	mu      sync.Mutex // guards what follows, and is held over each change of the file
	leak    float64    // MiB a minute in force
	leaked  float64    // bytes, until since
	since   time.Time
	stairs  int       // requests that have taken a step
	steps   gpu.Bytes // taken at once, by requests and by hand
	helpers []helper  // further processes
	written gpu.Bytes // the worker's own, as it stands in the file
	broken  error     // it does nothing any more
}

// helper is a process that does nothing and has a context on the GPU. It ends with the worker.
type helper struct {
	process *os.Process
	owner   double.Owner
}

// newDevice takes hold of the GPU for the process that is to have the memory.
func newDevice(g GPU, loads time.Duration, owner int, failed chan<- error) (*device, error) {
	now := time.Now()
	d := &device{options: g, born: now, loaded: now.Add(loads), since: now, leak: g.Leak, failed: failed}
	var err error
	if d.owner, err = double.OwnerOf(owner); err != nil {
		return nil, fmt.Errorf("use the GPU: %w", err)
	}
	return d, d.update(nil)
}

// run brings the file up to date until stop is closed or the worker has to end.
func (d *device) run(stop <-chan struct{}) {
	ticker := time.NewTicker(gpuTick)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
			d.update(nil) // its error is told to failed
		}
	}
}

// loadedWhole enters all of the model: the worker is about to say that it is there.
func (d *device) loadedWhole() error {
	if d == nil {
		return nil
	}
	return d.update(nil)
}

// requested is a request for an answer: while the worker warms up it costs memory.
func (d *device) requested() {
	if d == nil || d.options.Stairs == 0 {
		return
	}
	d.mu.Lock()
	if d.stairs == d.options.Stairs {
		d.mu.Unlock()
		return
	}
	d.stairs++
	d.steps += gpu.Bytes(d.options.Step) * mib
	d.mu.Unlock()
	d.update(nil)
}

// update is change with the lock.
func (d *device) update(more func(*double.State, *double.GPU)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.change(more)
}

// change writes what the worker has by now, and what more changes in the file. If that fails, or if there is too little memory,
// the worker has to end, as one does whose engine gets none. mu is held.
func (d *device) change(more func(*double.State, *double.GPU)) error {
	if d.broken != nil {
		return d.broken
	}
	wanted := d.wanted(time.Now())
	err := double.Update(d.options.State, func(s *double.State) error {
		g := d.card(s)
		if more != nil {
			more(s, g)
		}
		for _, h := range d.helpers {
			if err := d.take(g, h.owner, contextMemory); err != nil {
				return err
			}
		}
		return d.take(g, d.owner, wanted)
	})
	d.written = wanted
	if err != nil {
		err = fmt.Errorf("use the GPU: %w", err)
		d.broken = err
		select {
		case d.failed <- err:
		default: // it ends already
		}
	}
	return err
}

// beSeen keeps the file knowing that a child lives that has the memory, when the worker is gone, until ctx ends.
func (g GPU) beSeen(ctx context.Context) {
	ticker := time.NewTicker(gpuTick)
	defer ticker.Stop()
	for {
		if err := double.Update(g.State, func(*double.State) error { return nil }); err != nil {
			return // the file has gone, as at a test's end
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// wanted is what the worker has by now. mu is held.
func (d *device) wanted(now time.Time) gpu.Bytes {
	model := gpu.Bytes(d.options.Model) * mib
	if now.Before(d.loaded) {
		return gpu.Bytes(float64(model) * float64(now.Sub(d.born)) / float64(d.loaded.Sub(d.born)))
	}
	return model + d.steps + gpu.Bytes(d.leakedBy(now))
}

// leakedBy is what has leaked by now, in bytes: the rate may have been another before since. mu is held.
func (d *device) leakedBy(now time.Time) float64 {
	from := d.since
	if from.Before(d.loaded) {
		from = d.loaded
	}
	return d.leaked + max(0, now.Sub(from).Minutes())*d.options.Pace*d.leak*mib
}

// card is the worker's GPU: the file's first, or a new one.
func (d *device) card(s *double.State) *double.GPU {
	if len(s.GPUs) == 0 {
		s.GPUs = []double.GPU{{Memory: double.Memory{UUID: gpuUUID, Total: gpu.Bytes(d.options.Total) * mib}}}
	}
	return &s.GPUs[0]
}

// take gives a process of the worker so much memory in all. One that has ended (the child that had it was killed) gets no more.
func (d *device) take(g *double.GPU, owner double.Owner, wanted gpu.Bytes) error {
	if !owner.Lives() {
		return nil
	}
	at := slices.IndexFunc(g.Owned, func(o double.Owned) bool { return o.Owner == owner })
	if at < 0 {
		at = len(g.Owned)
		g.Owned = append(g.Owned, double.Owned{Owner: owner, Listed: d.options.PID.of(owner), Release: d.options.Release})
	}
	o := &g.Owned[at]
	more, free := wanted-o.Bytes, g.Total-g.Reserved-g.Used()
	if more > free {
		return fmt.Errorf("CUDA out of memory (simulated): tried to allocate %.2f MiB; of %d MiB %.2f are free",
			float64(more)/mib, g.Total/mib, float64(max(free, 0))/mib)
	}
	o.Bytes = wanted
	return nil
}

// of is the number under which the driver lists a process; 0: it doesn't.
func (l Listed) of(o double.Owner) int {
	switch l {
	case ListForeign:
		return o.PID + foreignPID
	case ListNone:
		return 0
	default:
		return o.PID
	}
}

// gpuSwitches is what POST /sim/gpu takes. What it does not name stays.
type gpuSwitches struct {
	Leak     *float64  `json:"leak"`     // MiB a minute from now on
	Contexts *int      `json:"contexts"` // further processes that have a context, 0 to 16
	Lost     *bool     `json:"lost"`     // the GPU has fallen off the bus: each call about it says so
	Recovery *int      `json:"recovery"` // what the driver wants done with it, by NVML's numbers
	Hang     *Duration `json:"hang"`     // before each call of the library returns
	Step     *int      `json:"step"`     // MiB to take, once
	Xid      *int      `json:"xid"`      // code of an event to raise, once
}

// GPUState is what GET /sim/gpu answers.
type GPUState struct {
	Leak     float64 `json:"leak"`
	Contexts int     `json:"contexts"`
	Owner    int     `json:"owner"` // PID of the process that has the worker's memory
	Bytes    int64   `json:"bytes"` // that it has

	// What follows is the machine's, and stays when the worker ends.
	Used     int64    `json:"used"` // of the GPU, in bytes, by all
	Total    int64    `json:"total"`
	Lost     bool     `json:"lost"`
	Recovery int      `json:"recovery"`
	Hang     Duration `json:"hang"`
	Xid      int64    `json:"xid"` // number of the last event
}

func (p gpuSwitches) validate() error {
	leak, contexts, recovery, hang, step, xid := orNone(p.Leak), orNone(p.Contexts), orNone(p.Recovery), orNone(p.Hang), orNone(p.Step), p.Xid
	return errors.Join(
		outOf(badLeak(leak), "leak", leak, "0 to 1000000"),
		outOf(contexts < 0 || contexts > mostContexts, "contexts", contexts, fmt.Sprintf("0 to %d", mostContexts)),
		outOf(recovery < 0 || recovery > 255, "recovery", recovery, "0 to 255"),
		outOf(hang < 0, "hang", time.Duration(hang), "0s or more"),
		outOf(step < 0 || step > math.MaxInt32, "step", step, "0 or more"),
		outOf(xid != nil && *xid < 1, "xid", orNone(xid), "1 or more"),
	)
}

func orNone[T any](value *T) (v T) {
	if value != nil {
		v = *value
	}
	return v
}

// turn changes what patch, a JSON object, names. bad is whether it was no good one, and not the worker that failed.
func (d *device) turn(patch []byte) (bad bool, err error) {
	var to gpuSwitches
	if err := decodeStrictly(patch, &to); err != nil {
		return true, err
	}
	if err := to.validate(); err != nil {
		return true, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if to.Leak != nil {
		now := time.Now()
		d.leaked, d.since, d.leak = d.leakedBy(now), now, *to.Leak
	}
	if to.Contexts != nil {
		if err := d.have(*to.Contexts); err != nil {
			return false, err
		}
	}
	d.steps += gpu.Bytes(orNone(to.Step)) * mib
	return false, d.change(func(s *double.State, g *double.GPU) {
		if to.Lost != nil {
			g.Error = 0
			if *to.Lost {
				g.Error = gpuLost
			}
		}
		if to.Recovery != nil {
			g.Recovery = gpu.Recovery(*to.Recovery)
		}
		if to.Hang != nil {
			s.Delay = time.Duration(*to.Hang)
		}
		if to.Xid != nil {
			g.Raise(*to.Xid)
		}
	})
}

// have starts or ends processes until so many have a context. mu is held.
func (d *device) have(contexts int) error {
	for len(d.helpers) < contexts {
		process, err := spawnChild(0, false)
		if err != nil {
			return fmt.Errorf("start another process on the GPU: %w", err)
		}
		owner, err := double.OwnerOf(process.Pid)
		if err != nil {
			return fmt.Errorf("start another process on the GPU: %w", err)
		}
		d.helpers = append(d.helpers, helper{process, owner})
	}
	for len(d.helpers) > contexts {
		last := len(d.helpers) - 1
		if err := d.helpers[last].process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("end a process on the GPU: %w", err)
		}
		d.helpers = d.helpers[:last]
	}
	return nil
}

// state is how the GPU is now.
func (d *device) state() (GPUState, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, err := double.Read(d.options.State)
	if err != nil {
		return GPUState{}, err
	}
	g := d.card(&s)
	now := GPUState{
		Leak: d.leak, Contexts: len(d.helpers), Owner: d.owner.PID, Bytes: int64(d.written),
		Used: int64(g.Used()), Total: int64(g.Total), Lost: g.Error == gpuLost, Recovery: int(g.Recovery), Hang: Duration(s.Delay),
	}
	for _, x := range g.Xids {
		now.Xid = max(now.Xid, x.Number)
	}
	return now, nil
}
