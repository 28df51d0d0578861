package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"autoglm-sidecar/gpu"
	"autoglm-sidecar/gpu/reader"
	"autoglm-sidecar/gpu/watch"
	"autoglm-sidecar/health/probe/lastwords"
	"autoglm-sidecar/supervisor/config"
)

// readerName is the program that reads NVML.
const readerName = "autoglm-sidecar-nvml"

// systemPatience is how long the first life waits for the first word of the devices: a driver that was idle takes a while.
const systemPatience = 5 * time.Second

// versionPatience is how long it waits where the driver's version says whether there may be one at all.
const versionPatience = 30 * time.Second

// devices are the worker's GPUs: a reader of them, what is known of them by it, and where that outlives us. Where there is no reader
// nothing is known, and the worker is run all the same.
type devices struct {
	config.GPU
	environment []string // of the worker
	minimum     gpu.Minimum
	away        bool    // the worker is somebody else's
	pace        float64 // how much faster than the clock the time goes by which memory is judged: 1, but in tests
	source      source  // nil: nothing is read
	members     members
	keep        func([]byte) error
	clock       func() time.Duration
	log         *slog.Logger

	restored kept // by the runner before; the planner takes what is its

	first chan struct{} // closed when the system is known, or that nobody will tell it
	once  sync.Once

	mu      sync.Mutex // guards everything that follows
	watch   *watch.Watch
	system  gpu.System
	known   bool                        // that was told
	read    gpu.System                  // the last one whose driver could be read, by this runner or one before; of those before without devices
	refused error                       // the settings name devices that there are not
	faults  map[gpu.Event]time.Duration // when the log was told of one last, in clock's time
	doubted bool                        // it isn't certain which of them the worker uses
	on      map[string]bool             // where processes of the worker were seen
	unkept  error                       // why it is not
	kept    time.Duration               // when what is known was kept last
	stale   bool                        // something is known since that must not wait
	held    string                      // who has the memory that a life has left
}

// source tells of devices.
type source interface {
	Run(context.Context)
	State() gpu.SourceState
	Order(gpu.Order)
	Now(context.Context) error
}

// newDevices finds out how devices are read, if they are.
func newDevices(d *daemon) *devices {
	note := d.arena.Memory()
	v := &devices{
		GPU: d.GPU, environment: d.WorkerEnvironment(os.Environ()), away: len(d.Command) == 0, pace: pace(), keep: note.Store, clock: monotonic, log: d.Log,
		first: make(chan struct{}), on: map[string]bool{}, faults: map[gpu.Event]time.Duration{}, members: members{start: startOf},
	}
	v.minimum = minimumOf(d.GPU)
	v.watch = watch.New(watchOptions(d.GPU, time.Duration(float64(v.every())*v.pace)))
	remembered, err := note.Load()
	if err == nil {
		err = v.recall(remembered)
	}
	if err != nil { // no reason not to serve
		d.Log.Error("the memory of the worker's GPUs is followed anew", "error", err)
	}
	switch {
	case slices.Equal(d.GPU.Devices, []string{config.NoDevices}), d.GPU.Reader == config.ReaderOff && d.GPU.Exporter == "":
		v.told()
		return v
	case d.GPU.Exporter != "":
		v.source = newExported(d.GPU.Exporter, v.take, d.Log)
		return v
	}
	o := reader.Options{Program: programOf(d.GPU.Reader), Environment: readerEnvironment(), Log: d.Log, Take: v.take}
	if d.GPU.Library != "" {
		o.Args = []string{"--library", d.GPU.Library}
	}
	v.source = reader.New(o)
	v.source.Order(gpu.Order{MemoryEvery: v.every(), ProcessesEvery: max(5*v.every(), 250*time.Millisecond)})
	return v
}

// paceVariable makes the time in which memory is judged go by so many times faster. A day is a minute then, in tests and the
// demonstration.
const paceVariable = "AUTOGLM_SIDECAR_PACE"

func pace() float64 {
	var f float64
	if _, err := fmt.Sscan(os.Getenv(paceVariable), &f); err != nil || f < 1 {
		return 1
	}
	return f
}

// time is that in which memory is judged.
func (v *devices) time() time.Duration { return time.Duration(float64(v.clock()) * v.pace) }

// every is how often memory is read.
func (v *devices) every() time.Duration {
	if v.Exporter != "" {
		return exportedEvery
	}
	return max(time.Duration(float64(time.Second)/v.pace), 50*time.Millisecond)
}

// programOf is the reader's path: as it was said, or beside our own program, or from PATH.
func programOf(said string) string {
	if said != "" {
		return said
	}
	if own, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(own), readerName)
		if _, err := exec.LookPath(beside); err == nil {
			return beside
		}
	}
	return readerName
}

// readerEnvironment is what the reader gets of ours: where programs and libraries are. There are secrets in the rest.
func readerEnvironment() (env []string) {
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if name == "PATH" || name == "LD_LIBRARY_PATH" || name == "LANG" || strings.HasPrefix(name, "NVIDIA_") || name == doubleVariable {
			env = append(env, entry)
		}
	}
	return append(env, "GOMAXPROCS=1") // it makes one call at a time, and need wake no second thread for it
}

// doubleVariable tells the stand-in for NVIDIA's library, which tests and the demonstration have, what to show.
const doubleVariable = "AUTOGLM_SIDECAR_DOUBLE"

// watchOptions are the settings'; a sample comes every so often, in the time in which memory is judged.
func watchOptions(c config.GPU, every time.Duration) watch.Options {
	o := watch.Options{
		Rules: gpu.Rules{Limit: gpu.Bytes(c.Limit.Bytes), Window: c.Window, Horizon: c.Horizon, Hold: c.Hold},
		Share: c.Limit.Share, Need: gpu.Bytes(c.Need), Every: every, Overrides: gpu.Overrides{},
		Sharing: map[config.Sharing]watch.Sharing{config.SharedYes: watch.Shared, config.SharedNo: watch.Exclusive}[c.Shared],
	}
	for xid, word := range c.Faults {
		if action, err := gpu.ParseAction(word); err == nil { // the settings know no other
			o.Overrides[xid] = action
		}
	}
	return o
}

func minimumOf(c config.GPU) gpu.Minimum {
	m := gpu.Minimum{Driver: c.MinimumDriver}
	version := c.MinimumCUDA
	if version != "" && !strings.Contains(version, ".") {
		version += ".0"
	}
	if cuda, err := gpu.ParseCUDA(version); err == nil {
		m.CUDA = cuda
	}
	return m
}

// run reads until ctx ends.
func (v *devices) run(ctx context.Context) {
	if v.source != nil {
		v.source.Run(ctx)
	}
}

// told says that the devices are known, or that nobody will tell of them.
func (v *devices) told() { v.once.Do(func() { close(v.first) }) }

// await waits for the first word of the devices, for as long as that may take; not where there is nobody to say it.
func (v *devices) await(ctx context.Context) {
	if v.source == nil {
		return
	}
	patience := systemPatience
	if v.minimum != (gpu.Minimum{}) && v.TooOld == config.TooOldRefuse {
		patience = versionPatience
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-v.first:
			return
		case <-ctx.Done():
			return
		case <-look.C:
			if kind := v.source.State().Kind; kind != gpu.SourceStarts && kind != gpu.SourceReads {
				return
			}
		}
	}
}

// take takes a line of the source.
func (v *devices) take(line gpu.Line) {
	if line.System != nil {
		v.takeSystem(*line.System)
		v.told()
		return
	}
	mine := v.members.among(v.listed(line)) // before anything is locked: it waits for /proc
	if line.Processes != nil {
		v.locate(*line.Processes, mine)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	before := v.watch.Bar(v.time())
	v.watch.Take(line, v.time(), mine)
	if line.Event != nil {
		v.stale = true
		v.tellFault(*line.Event)
	}
	if v.watch.Bar(v.time()) != before {
		v.stale = true
	}
}

// faultEvery is how often the log is told of the same fault: some come a thousand times a second. mostFaults bounds what is known of them.
const (
	faultEvery = time.Minute
	mostFaults = 1000
)

func (v *devices) tellFault(e gpu.Event) {
	if e.Xid == 0 {
		return
	}
	now := v.clock()
	if last, was := v.faults[e]; was && now-last < faultEvery {
		return
	}
	if len(v.faults) >= mostFaults {
		clear(v.faults)
	}
	v.faults[e] = now
	v.log.Warn("the driver told of a fault", "gpu", e.Device, "xid", e.Xid)
}

// listed are the PIDs that a line will be judged by: its own, or those that were listed of the device last.
func (v *devices) listed(line gpu.Line) (pids []int) {
	switch {
	case line.Processes != nil:
		for _, p := range line.Processes.Processes {
			pids = append(pids, p.PID)
		}
	case line.Sample != nil:
		v.mu.Lock()
		defer v.mu.Unlock()
		pids = v.watch.Listed(line.Sample.Device)
	}
	return pids
}

// takeSystem finds the worker's devices among those that there are.
func (v *devices) takeSystem(s gpu.System) {
	s.Detail, s.Driver = lastwords.Fit(s.Detail), lastwords.Fit(s.Driver)
	for i := range s.Devices { // what drivers and exporters say is shown on terminals
		d := &s.Devices[i]
		d.UUID, d.Name, d.Parent, d.Bus, d.Error = lastwords.Fit(d.UUID), lastwords.Fit(d.Name), lastwords.Fit(d.Parent), lastwords.Fit(d.Bus), lastwords.Fit(d.Error)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.known && s.Library != v.system.Library || !v.known {
		v.log.Info("the GPUs' driver", "library", string(s.Library), "detail", s.Detail, "driver", s.Driver, "devices", len(s.Devices))
	}
	v.system, v.known = s, true
	if s.Library != gpu.Reads {
		return // those that were known are still ours
	}
	v.read = s
	v.choose()
}

// choose picks the worker's devices: those that the settings name, or those that its environment lets it see. Where that isn't certain
// all are looked at, until its processes are seen on some.
func (v *devices) choose() {
	var picked []gpu.Device
	certain := true
	before := fmt.Sprint(v.refused)
	if len(v.Devices) > 0 {
		picked, v.refused = gpu.Pick(v.Devices, v.system.Devices)
	} else {
		visible, set := lookup(v.environment, "CUDA_VISIBLE_DEVICES")
		order, _ := lookup(v.environment, "CUDA_DEVICE_ORDER")
		picked, certain, v.refused = gpu.VisibleDevices(visible, set, order, v.system.Devices)
		certain = certain && (set || len(picked) <= 1) // it needn't use all that it may see
	}
	if v.refused != nil && v.refused.Error() != before {
		v.log.Error("which GPUs are the worker's?", "error", v.refused)
	}
	v.doubted = !certain
	watched := picked
	if v.doubted {
		watched = slices.DeleteFunc(slices.Clone(v.system.Devices), func(d gpu.Device) bool { return d.UUID == "" || d.MIG })
		seen := slices.DeleteFunc(slices.Clone(watched), func(d gpu.Device) bool { return !v.on[d.UUID] })
		if len(seen) > 0 {
			picked = seen
		}
	}
	v.watch.Uses(picked)
	if v.refused == nil { // what is there and wasn't picked is another's. What isn't there may be ours, and lost
		v.watch.Forget(func(uuid string) bool {
			return slices.ContainsFunc(v.system.Devices, func(d gpu.Device) bool { return d.UUID == uuid })
		})
	}
	uuids := []string{}
	for _, d := range watched {
		uuids = append(uuids, d.UUID)
	}
	v.source.Order(gpu.Order{Watch: uuids})
}

// locate notes where processes of the worker are seen, where it isn't certain which devices are its.
func (v *devices) locate(p gpu.Processes, mine func(int) bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	i := slices.IndexFunc(v.system.Devices, func(d gpu.Device) bool { return d.UUID == p.Device })
	if i < 0 || !v.doubted || v.on[p.Device] {
		return
	}
	if !slices.ContainsFunc(p.Processes, func(p gpu.Process) bool { return mine(p.PID) && p.On(v.system.Devices[i]) }) {
		return
	}
	v.on[p.Device], v.stale = true, true
	v.choose()
}

func lookup(environment []string, name string) (value string, set bool) {
	for _, entry := range slices.Backward(environment) {
		if value, is := strings.CutPrefix(entry, name+"="); is {
			return value, true
		}
	}
	return "", false
}

// keepEvery is how often what is known is kept for the next runner, if nothing hurries.
const keepEvery = time.Minute

// tooOld is what of the driver is older than the worker needs.
func (v *devices) tooOld() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.minimum.Check(v.read) // that it can't be read any more makes it no newer
}

// bar is why no life may be started, in one line; empty: one may.
func (v *devices) bar() string {
	why := ""
	if err := v.tooOld(); err != nil && v.TooOld == config.TooOldRefuse {
		why = err.Error()
	} else {
		v.mu.Lock()
		defer v.mu.Unlock()
		why = v.watch.Bar(v.time())
	}
	return strings.Join(strings.Fields(why), " ")
}

// seen says that all devices have been looked at by this runner, or that none will be: if nothing keeps the worker from them now, then
// nothing does.
func (v *devices) seen() bool {
	view := v.view()
	if !view.Read {
		return true
	}
	return view.blind() == nil && view.Known && !slices.ContainsFunc(view.Looks, func(l watch.Look) bool {
		return l.Sampled == 0 || l.Sample.Trouble != gpu.NoTrouble
	})
}

// deviceView is what is known of the devices at one moment.
type deviceView struct {
	Source  gpu.SourceState
	Read    bool // there is a source
	System  gpu.System
	Known   bool  // System was told
	Refused error // the settings name devices that there are not
	TooOld  error
	Looks   []watch.Look
	Now     time.Duration // in the time of the looks
}

func (v *devices) view() deviceView {
	view := deviceView{Read: v.source != nil, TooOld: v.tooOld()}
	if view.Read {
		view.Source = v.source.State()
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	view.System, view.Known, view.Refused, view.Now = v.system, v.known, v.refused, v.time()
	view.Looks = v.watch.Looks(view.Now)
	return view
}

// blind says why nothing is known of the devices; nil: they are read.
func (s *deviceView) blind() error {
	switch {
	case !s.Read:
		return errors.New("nothing is read")
	case s.Source.Kind != gpu.SourceReads:
		return errors.New(cmp.Or(s.Source.Text, string(s.Source.Kind)))
	case s.Known && s.System.Library != gpu.Reads:
		return errors.New(cmp.Or(s.System.Detail, string(s.System.Library)))
	case s.Refused != nil && len(s.Looks) == 0:
		return s.Refused
	}
	return nil
}
