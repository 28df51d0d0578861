package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"autoglm-sidecar/gpu"
	"autoglm-sidecar/gpu/watch"
	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/supervisor"
	"autoglm-sidecar/supervisor/config"
)

// rig is what a runner has of GPUs, in fake time: a source that does as it is told, a life that takes what is asked of it, and the
// memory that outlives the runner.
type rig struct {
	t *testing.T
	*devices
	*planner
	arena *arena.Arena
	run   config.Run
	began time.Time
	house *household

	mu     sync.Mutex // guards everything that follows
	log    bytes.Buffer
	state  gpu.SourceState
	orders []gpu.Order
	answer func(context.Context) error // to Now; nil: look
	looks  int
	used   map[string]gpu.Bytes // by processes that are listed, by UUID
	unseen map[string]gpu.Bytes // by none that is
	holder int                  // the PID that is listed with what is used
	status supervisor.Status
	refuse error
	wishes []supervisor.RestartOptions
	bars   []string
}

const (
	one, two = "GPU-1111", "GPU-2222"
	whole    = 80 * gpu.GiB
)

// newRig begins with no life, and a reader that reads and has said nothing.
func newRig(t *testing.T, change ...func(*config.Run)) *rig {
	r := &rig{
		t: t, arena: arena.OnHeap(1), began: time.Now(), state: gpu.SourceState{Kind: gpu.SourceReads},
		used: map[string]gpu.Bytes{}, unseen: map[string]gpu.Bytes{}, holder: 10,
		house: &household{starts: map[int]uint64{10: 1, 20: 1}, ours: []int{10}},
	}
	r.run = config.DefaultParts()
	r.run.Name, r.run.Drain, r.run.Command = "test", time.Minute, []string{"worker"}
	for _, c := range change {
		c(&r.run)
	}
	r.dies()
	return r
}

// dies is the death of the runner: the next one has its memory, and a reader of its own.
func (r *rig) dies() {
	d := &daemon{Run: r.run, arena: r.arena}
	d.Log = slog.New(slog.NewTextHandler(lockedWriter{r}, nil))
	d.devices = newDevices(d)
	d.devices.clock = func() time.Duration { return 100*time.Hour + time.Since(r.began) }
	d.devices.members.start = r.house.start
	d.devices.environment = nil
	if d.devices.source != nil {
		d.devices.source = r
	}
	d.life = lifeOf{r: r}
	d.planner = newPlanner(d)
	d.planner.streams = func() int { return 0 }
	d.planner.bar = r.bar
	r.devices, r.planner = d.devices, d.planner
	if r.status.State == supervisor.Serving {
		r.devices.members.of(r.house)
	}
}

type lockedWriter struct{ r *rig }

func (w lockedWriter) Write(b []byte) (int, error) {
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	return w.r.log.Write(b)
}

func (r *rig) logged(what string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Count(r.log.String(), what)
}

// lifeOf is the rig as a life.
type lifeOf struct {
	life
	r *rig
}

func (l lifeOf) Status() supervisor.Status {
	l.r.mu.Lock()
	defer l.r.mu.Unlock()
	return l.r.status
}

func (l lifeOf) Restart(_ context.Context, o supervisor.RestartOptions) (supervisor.Asked, error) {
	l.r.mu.Lock()
	defer l.r.mu.Unlock()
	l.r.wishes = append(l.r.wishes, o)
	return supervisor.Asked{}, l.r.refuse
}

func (r *rig) bar(why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bars = append(r.bars, why)
	r.status.Barred = why
}

// change changes what the life and the source are like.
func (r *rig) change(do func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	do()
}

// As a source.

func (r *rig) Run(ctx context.Context) { <-ctx.Done() }

func (r *rig) State() gpu.SourceState {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
}

func (r *rig) Order(o gpu.Order) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.orders = append(r.orders, o)
}

func (r *rig) Now(ctx context.Context) error {
	r.mu.Lock()
	r.looks++
	answer := r.answer
	r.mu.Unlock()
	if answer != nil {
		return answer(ctx)
	}
	r.tells()
	return nil
}

func hangs(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func card(uuid string, index int) gpu.Device {
	return gpu.Device{UUID: uuid, Index: index, Total: whole}
}

// finds is the reader's first word, or a later one of the same kind.
func (r *rig) finds(all ...gpu.Device) {
	r.take(gpu.Line{System: &gpu.System{Library: gpu.Reads, Driver: "550.54.15", CUDA: 12040, Devices: all}})
}

// tells is a look at the devices of the worker: samples and processes.
func (r *rig) tells() {
	for _, l := range r.view().Looks {
		r.mu.Lock()
		used, unseen, holder := r.used[l.UUID], r.unseen[l.UUID], r.holder
		r.mu.Unlock()
		r.take(gpu.Line{Sample: &gpu.Sample{Device: l.UUID, Total: whole, Used: used + unseen, Free: whole - used - unseen}})
		listed := gpu.Processes{Device: l.UUID}
		if used > 0 {
			listed.Processes = []gpu.Process{{PID: holder, Bytes: used}}
		}
		r.take(gpu.Line{Processes: &listed})
	}
}

// passes lets time go by while the reader tells and the planner looks, each second.
func (r *rig) passes(d time.Duration, each func()) {
	for range d / time.Second {
		time.Sleep(time.Second)
		if each != nil {
			each()
		}
		r.tells()
		r.look(r.t.Context())
	}
}

// serves is a life that begins and is ready.
func (r *rig) serves(life supervisor.Life) {
	r.launch(r.t.Context(), life)
	r.devices.members.of(r.house)
	r.change(func() {
		r.status.Life, r.status.State, r.status.Phase, r.status.ServingSince = life, supervisor.Serving, supervisor.PhaseServing, time.Now()
		r.status.Served = r.devices.clock()
	})
	r.look(r.t.Context())
}

func (r *rig) uuids() (all []string) {
	for _, l := range r.view().Looks {
		all = append(all, l.UUID)
	}
	return all
}

func (r *rig) watched() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.orders) == 0 {
		return nil
	}
	return r.orders[len(r.orders)-1].Watch
}

func TestTheWorkersDevicesAreChosen(t *testing.T) {
	divided := []gpu.Device{
		{UUID: one, MIG: true, Total: whole},
		{UUID: "MIG-a", Parent: one, GI: 1, Total: whole / 4},
		{UUID: "MIG-b", Parent: one, GI: 2, Total: whole / 4},
	}
	both := []gpu.Device{card(one, 0), card(two, 1)}
	for _, c := range []struct {
		name             string
		named            []string
		environment      []string
		there            []gpu.Device
		chosen, watched  []string
		refused          string
		afterBeingSeenOn string // the worker's process
		then             []string
	}{
		{name: "nothing is said", there: both, chosen: []string{one, two}, watched: []string{one, two}},
		{name: "named in the settings", named: []string{"1"}, environment: []string{"CUDA_VISIBLE_DEVICES=0"}, there: both, chosen: []string{two}, watched: []string{two}},
		{name: "in the worker's environment", environment: []string{"CUDA_VISIBLE_DEVICES=1", "CUDA_DEVICE_ORDER=PCI_BUS_ID"}, there: both, chosen: []string{two}, watched: []string{two}},
		{name: "the last entry counts", environment: []string{"CUDA_VISIBLE_DEVICES=0", "CUDA_VISIBLE_DEVICES=" + two}, there: both, chosen: []string{two}, watched: []string{two}},
		{name: "none is visible", environment: []string{"CUDA_VISIBLE_DEVICES="}, there: both},
		{name: "in an order that isn't certain", environment: []string{"CUDA_VISIBLE_DEVICES=0"}, there: both, chosen: []string{one}, watched: []string{one, two}, afterBeingSeenOn: two, then: []string{two}},
		{name: "unknown", named: []string{"GPU-9"}, there: both, refused: `GPU "GPU-9"`},
		{name: "an instance", named: []string{"MIG-b"}, there: divided, chosen: []string{"MIG-b"}, watched: []string{"MIG-b"}},
		{name: "one of two instances", environment: []string{"CUDA_VISIBLE_DEVICES=0"}, there: divided, chosen: []string{"MIG-a"}, watched: []string{"MIG-a", "MIG-b"}, afterBeingSeenOn: "MIG-b", then: []string{"MIG-b"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(run *config.Run) { run.GPU.Devices = c.named })
				r.environment = c.environment
				r.finds(c.there...)
				if !slices.Equal(r.uuids(), c.chosen) || !slices.Equal(r.watched(), c.watched) {
					t.Errorf("%v are the worker's and %v are watched, want %v and %v", r.uuids(), r.watched(), c.chosen, c.watched)
				}
				view := r.view()
				if shown := readerOf(view).Error; c.refused != "" && (view.blind() == nil || !strings.Contains(shown, c.refused)) || c.refused == "" && shown != "" {
					t.Errorf("it shows %q, want %q", shown, c.refused)
				}
				if c.afterBeingSeenOn == "" {
					return
				}
				r.devices.members.of(r.house)
				listed := gpu.Processes{Device: c.afterBeingSeenOn, Processes: []gpu.Process{{PID: 20, GI: 2, CI: 0}}}
				r.take(gpu.Line{Processes: &listed})
				if !slices.Equal(r.uuids(), c.chosen) {
					t.Errorf("a stranger was seen, and %v are the worker's", r.uuids())
				}
				listed.Processes[0].PID = 10
				r.take(gpu.Line{Processes: &listed})
				if !slices.Equal(r.uuids(), c.then) {
					t.Errorf("it was seen on %v, and %v are the worker's, want %v", c.afterBeingSeenOn, r.uuids(), c.then)
				}
				r.look(t.Context())
				r.dies()
				r.environment = c.environment
				r.finds(c.there...)
				if !slices.Equal(r.uuids(), c.then) {
					t.Errorf("the next runner takes %v for the worker's, want %v", r.uuids(), c.then)
				}
			})
		})
	}
}

// TestAProcessOfAnotherInstance is listed of this one, too, by some drivers.
func TestAProcessOfAnotherInstanceIsNotOnThisOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.environment = []string{"CUDA_VISIBLE_DEVICES=0"}
		r.finds(gpu.Device{UUID: one, MIG: true}, gpu.Device{UUID: "MIG-a", Parent: one, GI: 1}, gpu.Device{UUID: "MIG-b", Parent: one, GI: 2})
		r.devices.members.of(r.house)
		r.take(gpu.Line{Processes: &gpu.Processes{Device: "MIG-a", Processes: []gpu.Process{{PID: 10, GI: 2}}}})
		r.take(gpu.Line{Processes: &gpu.Processes{Device: "MIG-b", Processes: []gpu.Process{{PID: 10, GI: 2}}}})
		if got := r.uuids(); !slices.Equal(got, []string{"MIG-b"}) {
			t.Errorf("%v are the worker's, want MIG-b", got)
		}
	})
}

func TestARefusedDeviceIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(run *config.Run) { run.GPU.Devices = []string{two} })
		for range 5 { // the reader is started again and again
			r.finds(card(one, 0))
		}
		if n := r.logged("which GPUs are the worker's?"); n != 1 {
			t.Errorf("the log has it %d times, want once", n)
		}
		if g, _ := r.planner.signs(); !strings.Contains(g.Unread, two) {
			t.Errorf("people are told %q", g.Unread)
		}
		r.finds(card(one, 0), card(two, 1))
		if got := r.uuids(); !slices.Equal(got, []string{two}) || r.view().Refused != nil {
			t.Errorf("it is there now: %v, %v", got, r.view().Refused)
		}
	})
}

func TestWithoutADriverNothingIsKnown(t *testing.T) {
	for _, library := range []gpu.Library{gpu.NoDriver, gpu.NoLibrary} {
		for _, named := range [][]string{nil, {"0"}} {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(run *config.Run) { run.GPU.Devices = named })
				for range 5 {
					r.take(gpu.Line{System: &gpu.System{Library: library, Detail: "the driver isn't loaded"}})
				}
				view := r.view()
				if err := view.blind(); err == nil || err.Error() != "the driver isn't loaded" {
					t.Errorf("%v", err)
				}
				g, _ := r.planner.signs()
				if (g.Unread != "") != (named != nil) {
					t.Errorf("%s, devices %v: people are told %q", library, named, g.Unread)
				}
				if n := r.logged("the GPUs' driver"); n != 1 {
					t.Errorf("the log has it %d times, want once", n)
				}
				select {
				case <-r.first:
				default:
					t.Error("the first life would wait on")
				}
			})
		}
	}
}

// TestADriverThatGoesLeavesDevicesKnown: the worker's are still its own, and people hear that they aren't read.
func TestADriverThatGoesLeavesDevicesKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.finds(card(one, 0))
		r.take(gpu.Line{System: &gpu.System{Library: gpu.NoDriver, Detail: "gone"}})
		if g, _ := r.planner.signs(); !slices.Equal(r.uuids(), []string{one}) || g.Unread != "gone" {
			t.Errorf("%v are the worker's, people are told %q", r.uuids(), g.Unread)
		}
	})
}

func TestPeopleHearOfASourceThatTheyExpect(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*config.Run)
		kind   gpu.SourceKind
		seen   bool
		told   bool
	}{
		{"no reader was installed", nil, gpu.SourceAbsent, false, false},
		{"and one is named", func(r *config.Run) { r.GPU.Reader = "/opt/nvml" }, gpu.SourceAbsent, false, true},
		{"and devices are", func(r *config.Run) { r.GPU.Devices = []string{"0"} }, gpu.SourceAbsent, false, true},
		{"it was taken away", nil, gpu.SourceAbsent, true, true},
		{"it starts", func(r *config.Run) { r.GPU.Devices = []string{"0"} }, gpu.SourceStarts, false, false},
		{"it fails", nil, gpu.SourceFailed, false, true},
		{"it is silent", nil, gpu.SourceSilent, false, true},
		{"it is off", func(r *config.Run) { r.GPU.Reader = config.ReaderOff }, "", false, false},
		{"there is no GPU, they say", func(r *config.Run) { r.GPU.Devices = []string{config.NoDevices} }, "", false, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			if c.change != nil {
				r = newRig(t, c.change)
			}
			if c.seen {
				r.finds(card(one, 0))
			}
			r.change(func() { r.state = gpu.SourceState{Kind: c.kind, Text: "because"} })
			g, _ := r.planner.signs()
			if (g.Unread == "because") != c.told {
				t.Errorf("%s: people are told %q", c.name, g.Unread)
			}
			if (readerOf(r.view()) == nil) != (c.kind == "") {
				t.Errorf("%s: status has %+v", c.name, readerOf(r.view()))
			}
		})
	}
}

func TestTheFirstLifeWaitsForTheFirstWordAndNotForLong(t *testing.T) {
	for _, c := range []struct {
		name   string
		kind   gpu.SourceKind
		change func(*config.Run)
		after  time.Duration // the first word
		takes  time.Duration
	}{
		{"nothing is read", gpu.SourceReads, func(r *config.Run) { r.GPU.Reader = config.ReaderOff }, 0, 0},
		{"there is no reader", gpu.SourceAbsent, nil, 0, 20 * time.Millisecond},
		{"it failed", gpu.SourceFailed, nil, 0, 20 * time.Millisecond},
		{"it is silent", gpu.SourceSilent, nil, 0, 20 * time.Millisecond},
		{"it speaks another protocol", gpu.SourceRefused, nil, 0, 20 * time.Millisecond},
		{"the driver wakes up", gpu.SourceReads, nil, 2 * time.Second, 2 * time.Second},
		{"it never says anything", gpu.SourceStarts, nil, time.Hour, systemPatience},
		{"it never says what there is", gpu.SourceReads, nil, time.Hour, systemPatience},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			if c.change != nil {
				r = newRig(t, c.change)
			}
			r.change(func() { r.state.Kind = c.kind })
			if c.after > 0 {
				late := time.AfterFunc(c.after, func() { r.finds(card(one, 0)) })
				defer late.Stop()
			}
			began := time.Now()
			r.await(t.Context())
			if took := time.Since(began); took != c.takes {
				t.Errorf("%s: %v, want %v", c.name, took, c.takes)
			}
			began = time.Now()
			r.change(func() { r.answer = hangs })
			if r.launch(t.Context(), 1); time.Since(began) > freshLook {
				t.Errorf("%s: a life's start waited %v", c.name, time.Since(began))
			}
		})
	}
}

// workerOf is a driver whose lives begin at once.
type workerOf struct {
	supervisor.Driver
	begun []supervisor.Life
}

func (w *workerOf) Start(_ context.Context, life supervisor.Life) (supervisor.Process, error) {
	w.begun = append(w.begun, life)
	return &household{}, nil
}

func (w *workerOf) Find(context.Context, supervisor.Life, int) (supervisor.Process, bool, error) {
	return &household{starts: map[int]uint64{10: 1}, ours: []int{10}}, true, nil
}

// TestAStartLooksAtWhatForbidsIt: at the boot the machine hasn't heard yet.
func TestAStartLooksAtWhatForbidsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(run *config.Run) { run.GPU.MinimumDriver = "999" })
		w := &workerOf{}
		d := deviceDriver{w, r.devices}
		r.finds(card(one, 0))
		if _, err := d.Start(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "999") || w.begun != nil {
			t.Errorf("with a driver that is too old: %v, %v began", err, w.begun)
		}
		r.TooOld = config.TooOldWarn
		if _, err := d.Start(t.Context(), 2); err != nil || !slices.Equal(w.begun, []supervisor.Life{2}) {
			t.Errorf("which is only to be told: %v, %v began", err, w.begun)
		}
	})
}

func TestProcessesOfALifeThatGoesOnAreKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		if _, _, err := (deviceDriver{&workerOf{}, r.devices}).Find(t.Context(), 1, 10); err != nil {
			t.Fatal(err)
		}
		r.devices.members.start = r.house.start
		if !r.devices.members.among([]int{10})(10) {
			t.Error("its process isn't known")
		}
	})
}

func TestABaselineIsOfBeforeTheLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.finds(card(one, 0))
		r.unseen[one] = 700 * gpu.MiB
		r.serves(1)
		r.passes(10*time.Second, func() { r.used[one] = 60 * gpu.GiB })
		l := r.view().Looks[0]
		if l.Baseline != 700*gpu.MiB || l.Use.Mode != gpu.ByProcess || l.Use.Used != 60*gpu.GiB {
			t.Errorf("baseline %v, %+v", l.Baseline, l.Use)
		}
		// The life before may still be listed when the next one is launched: that is none of its own.
		r.launch(t.Context(), 2)
		r.tells()
		if l := r.view().Looks[0]; l.Use.Contexts != 0 {
			t.Errorf("a life that hasn't begun has %d contexts", l.Use.Contexts)
		}
	})
}

// releases runs a Release for so long, and says when it returned; -1: it didn't.
func (r *rig) releases(d time.Duration, meanwhile func()) (took time.Duration, held string) {
	ctx, cancel := context.WithTimeout(r.t.Context(), d)
	defer cancel()
	began, ended := time.Now(), make(chan error, 1)
	go func() { ended <- reclaimer{r.devices}.Release(ctx, 1) }()
	if meanwhile != nil {
		time.Sleep(d / 2)
		held = reclaimer{r.devices}.Held()
		meanwhile()
	}
	if err := <-ended; err != nil {
		if !errors.Is(err, context.DeadlineExceeded) {
			r.t.Errorf("release: %v", err)
		}
		return -1, reclaimer{r.devices}.Held()
	}
	return time.Since(began), held
}

func TestALifesMemoryIsWaitedFor(t *testing.T) {
	for _, c := range []struct {
		name      string
		left      func(*rig)
		within    time.Duration
		meanwhile func(*rig)
		takes     time.Duration // -1: for ever
		held      string
	}{
		{"it is back", func(r *rig) { r.used[one] = 0 }, time.Minute, nil, 0, ""},
		{"its process is listed on", func(*rig) {}, 20 * time.Second, func(r *rig) { r.used[one] = 0 }, 10 * time.Second, "PID 10"},
		{"for ever", func(*rig) {}, time.Minute, nil, -1, "PID 10"},
		{"the driver tears down", func(r *rig) { r.used[one], r.unseen[one] = 0, 20*gpu.GiB }, 20 * time.Second, func(r *rig) { r.unseen[one] = 0 }, 10 * time.Second, "held by no process"},
		{"the reader is silent", func(r *rig) { r.state.Kind = gpu.SourceSilent }, time.Minute, nil, watch.BlindWait, ""},
		{"it is gone", func(r *rig) { r.state.Kind = gpu.SourceAbsent }, time.Minute, nil, watch.BlindWait, ""},
		{"it hangs", func(r *rig) { r.answer = hangs }, time.Minute, nil, 2 * freshLook, ""},
		{"it falls silent meanwhile", func(*rig) {}, 20 * time.Second, func(r *rig) { r.state.Kind = gpu.SourceSilent }, 10*time.Second + watch.BlindWait - releaseEvery, "PID 10"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.finds(card(one, 0))
				r.serves(1)
				r.passes(10*time.Second, func() { r.change(func() { r.used[one] = 60 * gpu.GiB }) })
				r.change(func() { c.left(r) })
				var meanwhile func()
				if c.meanwhile != nil {
					meanwhile = func() { r.change(func() { c.meanwhile(r) }) }
				}
				took, held := r.releases(c.within, meanwhile)
				if late := took - c.takes; late < 0 || late > releaseEvery || !strings.Contains(held, c.held) {
					t.Errorf("it took %v, want %v; %q was waited for, want %q", took, c.takes, held, c.held)
				}
			})
		})
	}
}

func TestALostDeviceIsNotFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.finds(card(one, 0), card(two, 1))
		r.serves(1)
		r.change(func() {
			r.answer = func(context.Context) error {
				r.take(gpu.Line{Sample: &gpu.Sample{Device: one, Trouble: gpu.Lost}})
				r.take(gpu.Line{Sample: &gpu.Sample{Device: two, Total: whole, Free: whole}})
				r.take(gpu.Line{Processes: &gpu.Processes{Device: two}})
				return nil
			}
		})
		if took, held := r.releases(time.Minute, nil); took != -1 || !strings.Contains(held, "GPU 0 can't be read: lost") {
			t.Errorf("free after %v; %q", took, held)
		}
	})
}

func TestWhereNoGPUWasEverSeenNoneIsWaitedFor(t *testing.T) {
	for _, kind := range []gpu.SourceKind{gpu.SourceAbsent, gpu.SourceFailed, gpu.SourceReads} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.change(func() { r.state.Kind = kind })
			if took, _ := r.releases(time.Minute, nil); took != 0 {
				t.Errorf("%s: %v", kind, took)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(run *config.Run) { run.GPU.Reader = config.ReaderOff })
		if took, _ := r.releases(time.Minute, nil); took != 0 {
			t.Errorf("nothing is read: %v", took)
		}
	})
}

// TestNobodyIsHeldUpByWhoHangs: while a line of the reader waits for /proc, everybody else goes on.
func TestNobodyIsHeldUpByWhoHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.finds(card(one, 0))
		r.serves(1)
		r.house.change(func() { r.house.hangs, r.house.starts[30] = make(chan struct{}), 2 })
		defer close(r.house.hangs)
		taken := make(chan struct{})
		go func() {
			r.take(gpu.Line{Processes: &gpu.Processes{Device: one, Processes: []gpu.Process{{PID: 30, Bytes: gpu.GiB}}}})
			close(taken)
		}()
		synctest.Wait()
		select {
		case <-taken:
			t.Fatal("it didn't wait for /proc: nothing is shown")
		default:
		}
		began := time.Now()
		r.view()
		r.look(t.Context())
		r.planner.signs()
		reclaimer{r.devices}.Held()
		r.launchWithin(2)
		if took := time.Since(began); took != 0 {
			t.Errorf("others waited %v", took)
		}
		<-taken
	})
}

func (r *rig) launchWithin(life supervisor.Life) {
	r.change(func() { r.answer = func(context.Context) error { return nil } })
	r.launch(r.t.Context(), life)
}

func TestAStormOfFaultsIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.finds(card(one, 0))
		for range 10_000 {
			r.take(gpu.Line{Event: &gpu.Event{Device: one, Xid: 31}})
		}
		if n := r.logged("the driver told of a fault"); n != 1 || r.view().Looks[0].Xids[31] != 10_000 {
			t.Errorf("the log has it %d times; %v are counted", n, r.view().Looks[0].Xids)
		}
		time.Sleep(faultEvery)
		r.take(gpu.Line{Event: &gpu.Event{Device: one, Xid: 31}})
		if n := r.logged("the driver told of a fault"); n != 2 {
			t.Errorf("a minute later: %d times", n)
		}
	})
}

// TestAllThatIsKnownFits: 16 devices, the longest window, noisy floors, a day of faults, and the life before.
func TestAllThatIsKnownFits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(run *config.Run) { run.GPU.Window = 4 * time.Hour })
		var all []gpu.Device
		for i := range 16 {
			all = append(all, gpu.Device{
				UUID: fmt.Sprintf("GPU-%08x-1111-2222-3333-444455556666", rand.Uint32()), Index: i, Name: "NVIDIA H200 NVL Tensor Core", Bus: fmt.Sprintf("00000000:%02X:00.0", i), Total: whole,
			})
		}
		r.finds(all...)
		r.serves(1)
		r.tells()
		for second := range 6 * 60 * 30 {
			time.Sleep(2 * time.Second)
			if second%300 == 0 {
				r.take(gpu.Line{Event: &gpu.Event{Device: all[second/300%16].UUID, Xid: uint64(500 + second)}})
			}
			for _, d := range all {
				used := 60*gpu.GiB + gpu.Bytes(rand.Int64N(int64(gpu.GiB)))
				r.take(gpu.Line{Sample: &gpu.Sample{Device: d.UUID, Total: whole, Used: used, Free: whole - used}})
				if second%30 == 0 {
					r.take(gpu.Line{Processes: &gpu.Processes{Device: d.UUID, Processes: []gpu.Process{{PID: 10, Bytes: used}}}})
				}
			}
		}
		r.changed(supervisor.Change{Life: 1, From: supervisor.Serving, To: supervisor.Draining})
		if r.unkept != nil {
			t.Fatal(r.unkept)
		}
		b, err := r.arena.Memory().Load()
		if err != nil || len(b) > arena.MemorySize*3/4 {
			t.Errorf("%d bytes of %d, %v", len(b), arena.MemorySize, err)
		}
		raw, err := r.watch.Append(nil)
		t.Logf("%d bytes are kept; without compression the devices alone are %d, %v", len(b), len(raw), err)
		before := r.view().Looks
		if o := before[0].Outlook; o.Stage != gpu.Watching || o.Trend.Floors < 230 {
			t.Errorf("it is no such case: %+v", o)
		}
		r.dies()
		r.finds(all...)
		r.look(t.Context())
		for i, l := range r.view().Looks {
			if len(l.Curve) != 60 || l.Outlook != before[i].Outlook || len(r.last.Curves) != 16 {
				t.Errorf("GPU %d: a curve of %d minutes, %+v", i, len(l.Curve), l.Outlook)
			}
		}
	})
}

func TestWhatCannotBeReadIsBegunAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.finds(card(one, 0))
		r.serves(1)
		r.take(gpu.Line{Event: &gpu.Event{Device: one, Xid: 79}})
		r.look(t.Context())
		kept, err := r.arena.Memory().Load()
		if err != nil {
			t.Fatal(err)
		}
		for n := range len(kept) {
			if err := r.arena.Memory().Store(append([]byte{1}, kept[:n]...)); err != nil {
				t.Fatal(err)
			}
			r.dies()
			if r.devices.restored.Watch != nil || r.watch.Life() != 0 || len(r.plan.State().Made) != 0 {
				t.Fatalf("%d of %d bytes, and something was taken of them", n, len(kept))
			}
			if err := r.arena.Memory().Store(kept[:n]); err != nil {
				t.Fatal(err)
			}
			r.dies()
		}
		if n := r.logged("followed anew"); n < len(kept) {
			t.Errorf("%d of %d times it was told", n, len(kept))
		}
		r.finds(card(one, 0))
		r.passes(3*time.Second, nil)
	})
}

// TestOldLooksLeadToNothing: that nothing is read may go unnoticed, as where one of several devices isn't told of.
func TestOldLooksLeadToNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.finds(card(one, 0))
		r.serves(1)
		r.passes(3*time.Second, nil)
		unread := func() string {
			g, _ := r.planner.signs()
			return g.Devices[0].Unread
		}
		if got := unread(); got != "" {
			t.Errorf("it is looked at: %q", got)
		}
		time.Sleep(oldLook + 2*time.Second)
		if got := unread(); got != "it hasn't been looked at for 32s" {
			t.Errorf("%q", got)
		}
	})
}
