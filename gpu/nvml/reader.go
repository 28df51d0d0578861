//go:build cgo && linux

package main

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"autoglm-sidecar/gpu"
)

const (
	// alive is the longest silence: after it comes a line that says only that NVML answers.
	alive = time.Second
	// surveyEvery is how often we look which devices there are: instances come and go.
	surveyEvery = time.Minute
	// firstRetry doubles up to longestRetry while the library doesn't read.
	firstRetry, longestRetry = 5 * time.Second, 5 * time.Minute
	// shortest is the least interval. A list of processes may cost the driver 5 ms, under its lock.
	shortest = 50 * time.Millisecond
)

// reader makes all calls of NVML and writes all lines. Its fields belong to run, but for inbox and stop.
type reader struct {
	inbox  *inbox
	stop   chan struct{} // closed: the sidecar wants no more
	out    io.Writer
	giveUp time.Duration

	library *library
	reads   bool
	retry   time.Duration // after the next failure to open it
	system  gpu.System    // as last sent
	ear     *ear

	gpus    []*device          // in the survey's order, without the instances
	devices map[string]*device // by UUID; with those that are not found any more, whose handles say why
	watch   []string
	failing map[string]time.Time // watched devices, since when they are lost or fail for no known reason

	memory, processes, condition, survey task
	open                                 task // while the library doesn't read
	spoke                                time.Time
	broken                               error // why only a new process can read on
}

// task is something done again and again.
type task struct {
	every time.Duration
	next  time.Time
}

// due says whether it is time, and if so when it will be again. After a hang nothing is made up for.
func (t *task) due(now time.Time) bool {
	if now.Before(t.next) {
		return false
	}
	t.next = now.Add(t.every)
	if t.every >= time.Second { // on the second, where the sidecar looks too: who wakes up once costs less than who wakes up twice
		t.next = now.Add(time.Until(time.Now().Truncate(time.Second).Add(t.every)))
	}
	return true
}

// pace changes the interval; 0 leaves it.
func (t *task) pace(every time.Duration, now time.Time) {
	if every == 0 {
		return
	}
	t.every = max(every, shortest)
	if next := now.Add(t.every); next.Before(t.next) {
		t.next = next
	}
}

func newReader(l *library, out io.Writer, giveUp time.Duration) *reader {
	return &reader{
		inbox: newInbox(), stop: make(chan struct{}), out: out, giveUp: giveUp,
		library: l, retry: firstRetry, ear: newEar(), devices: map[string]*device{}, failing: map[string]time.Time{},
		memory: task{every: time.Second}, processes: task{every: 5 * time.Second}, condition: task{every: time.Minute},
		survey: task{every: surveyEvery},
	}
}

// run reads until stop is closed. An error says why a new process has to go on.
func (r *reader) run() error {
	r.say(gpu.Line{Hello: &gpu.Hello{Protocol: gpu.Protocol, Version: version}})
	for {
		r.work(time.Now())
		if r.broken != nil {
			return r.broken
		}
		timer := time.NewTimer(time.Until(r.due()))
		select {
		case <-r.stop:
			r.end()
			return nil
		case <-r.inbox.bell:
			for _, o := range r.inbox.take() {
				r.follow(o, time.Now())
			}
		case h := <-r.ear.heard:
			r.hear(h, time.Now())
		case <-timer.C:
		}
		timer.Stop()
	}
}

// due is when work has something to do.
func (r *reader) due() time.Time {
	next := r.spoke.Add(alive)
	earlier := func(t time.Time) {
		if t.Before(next) {
			next = t
		}
	}
	if !r.reads {
		earlier(r.open.next)
		return next
	}
	earlier(r.survey.next)
	if at, ok := r.ear.due(r.library); ok {
		earlier(at)
	}
	if len(r.watch) > 0 {
		earlier(r.memory.next)
		earlier(r.processes.next)
		earlier(r.condition.next)
	}
	return next
}

// work does whatever is due.
func (r *reader) work(now time.Time) {
	if !r.reads && r.open.due(now) {
		r.begin(now)
	}
	if r.reads {
		if r.survey.due(now) {
			r.look()
		}
		// Before the looks: what happens after the first of them is heard.
		for _, d := range r.ear.tend(r.library, now) {
			r.tell(d, func(w *device) *gpu.Event { return &gpu.Event{Device: w.UUID, Overflow: true} })
		}
		if r.memory.due(now) {
			r.each(r.sample)
			r.judge(now)
		}
		if r.processes.due(now) {
			r.each(r.list)
		}
		if r.condition.due(now) {
			r.each(r.examine)
		}
	}
	if time.Since(r.spoke) >= alive && r.broken == nil {
		if r.reads {
			_, ret := r.library.count() // a beat that asked nobody would say nothing of NVML
			r.notice(ret)
		}
		r.say(gpu.Line{Alive: true})
	}
}

// begin tries to open the library.
func (r *reader) begin(now time.Time) {
	as, detail := r.library.open()
	before := r.system.Library
	if as == gpu.WrongVersion && before != "" && before != gpu.WrongVersion && before != gpu.NoLibrary {
		r.broken = fmt.Errorf("%s: this process has loaded the library of before", detail)
	}
	if as == gpu.Reads {
		r.reads = true // and the survey says so
		return
	}
	r.open.next = now.Add(r.retry)
	r.retry = min(2*r.retry, longestRetry)
	r.announce(gpu.System{Library: as, Detail: detail})
}

// look finds out which devices there are.
func (r *reader) look() {
	system := gpu.System{Library: gpu.Reads, Lacks: r.library.lacks}
	system.Driver, system.CUDA, system.NVML = r.library.versions()
	count, ret := r.library.count()
	r.notice(ret)
	if ret != nvml.SUCCESS {
		system.Detail, system.Devices = "count the devices: "+text(ret), r.system.Devices
		r.announce(system)
		return
	}
	before := r.gpus
	r.gpus = nil
	for i := range count {
		whole := r.library.gpuAt(i)
		// One that can't be opened any more doesn't tell its name; its place among the others does.
		if whole.handle == nil && i < len(before) {
			failure := whole.Error
			whole.Device = before[i].Device
			whole.Error = failure
		}
		r.gpus = append(r.gpus, whole)
		all := []*device{whole}
		if whole.MIG && whole.handle != nil {
			all = append(all, r.library.instancesOf(whole)...)
		}
		for _, d := range all {
			system.Devices = append(system.Devices, d.Device)
			if d.handle != nil {
				r.devices[d.UUID] = d
			}
		}
	}
	r.announce(system)
	r.tune()
}

// announce sends what there is on this machine, if it is another than before.
func (r *reader) announce(s gpu.System) {
	if !reflect.DeepEqual(s, r.system) {
		r.say(gpu.Line{System: &s})
	}
	r.system = s
}

// tune tells the ear what is watched: GPUs, since events of an instance come from its GPU.
func (r *reader) tune() {
	r.ear.gpus = nil
	for _, uuid := range r.watch {
		d := r.devices[uuid]
		if d != nil && !slices.ContainsFunc(r.ear.gpus, func(g *device) bool { return g.UUID == d.gpu.UUID }) {
			r.ear.gpus = append(r.ear.gpus, d.gpu)
		}
	}
}

// follow does what an order says.
func (r *reader) follow(o gpu.Order, now time.Time) {
	r.memory.pace(o.MemoryEvery, now)
	r.processes.pace(o.ProcessesEvery, now)
	r.condition.pace(o.ConditionEvery, now)
	if o.Watch != nil {
		r.watch = nil
		for _, uuid := range o.Watch {
			if !slices.Contains(r.watch, uuid) {
				r.watch = append(r.watch, uuid)
			}
			if r.devices[uuid] == nil {
				r.survey.next = now
			}
		}
		clear(r.failing)
		r.memory.next, r.processes.next, r.condition.next = now, now, now
		r.tune()
	}
	if o.Now == 0 {
		return
	}
	if r.reads { // or there is nothing to say of any device, and the system has been told why
		if r.survey.next.Equal(now) && r.survey.due(now) {
			r.look()
		}
		r.each(func(uuid string, d *device) {
			r.sample(uuid, d)
			r.list(uuid, d)
		})
		r.memory.due(now) // has just been done
		r.processes.due(now)
	}
	r.say(gpu.Line{Done: o.Now})
}

// each does something for each watched device; d is nil for one that there isn't.
func (r *reader) each(do func(uuid string, d *device)) {
	for _, uuid := range r.watch {
		do(uuid, r.devices[uuid])
	}
}

// noSuch says of a UUID that none of NVML's devices has it.
const noSuch = "there is no such device"

func (r *reader) sample(uuid string, d *device) {
	if d == nil {
		r.say(gpu.Line{Sample: &gpu.Sample{Device: uuid, Trouble: gpu.Unreadable, Detail: noSuch}})
		return
	}
	s, ret := sample(r.library, d)
	r.say(gpu.Line{Sample: &s})
	r.notice(ret)
	if ret != nvml.ERROR_GPU_IS_LOST && ret != nvml.ERROR_UNKNOWN {
		delete(r.failing, uuid)
	} else if r.failing[uuid].IsZero() {
		r.failing[uuid] = time.Now()
	}
}

func (r *reader) list(uuid string, d *device) {
	p := gpu.Processes{Device: uuid, Trouble: gpu.Unreadable, Detail: noSuch}
	if d != nil {
		p = processes(r.library, d)
	}
	r.say(gpu.Line{Processes: &p})
}

func (r *reader) examine(uuid string, d *device) {
	c := gpu.Condition{Device: uuid, Trouble: gpu.Unreadable}
	if d != nil {
		c = condition(r.library, d)
	}
	r.say(gpu.Line{Condition: &c})
}

// judge ends a process that has nothing left to read. A lost device's handle doesn't come back, nor may the device; the sidecar
// knows how often to try.
func (r *reader) judge(now time.Time) {
	there := 0
	for _, uuid := range r.watch {
		if r.devices[uuid] == nil {
			continue
		}
		there++
		if since := r.failing[uuid]; since.IsZero() || now.Sub(since) < r.giveUp {
			return
		}
	}
	if there > 0 {
		r.broken = fmt.Errorf("all watched devices have been lost or unreadable for %v", r.giveUp)
	}
}

// notice ends a process whose library has lost its driver.
func (r *reader) notice(ret nvml.Return) {
	if stale(ret) {
		r.broken = errors.New("the library has lost the driver: " + text(ret))
	}
}

// hear passes on an event, to each watched device that it is of.
func (r *reader) hear(h heard, now time.Time) {
	if h.ended {
		r.ear.ended(h.failed, now)
		return
	}
	of := ""
	for _, g := range r.ear.on {
		if g.handle == h.event.Device {
			of = g.UUID
		}
	}
	if of == "" {
		of = r.library.uuidOf(h.event)
	}
	r.each(func(_ string, d *device) {
		if d == nil {
			return
		}
		if e := eventOf(d, of, h.event); e != nil {
			r.say(gpu.Line{Event: e})
		}
	})
	r.condition.next = now // an Xid may have changed what the driver wants done: who hears of it needs to know
}

// tell says something to each who watches a GPU or an instance of it.
func (r *reader) tell(whole *device, what func(*device) *gpu.Event) {
	r.each(func(_ string, d *device) {
		if d != nil && d.gpu.UUID == whole.UUID {
			r.say(gpu.Line{Event: what(d)})
		}
	})
}

// say writes a line. Who can't be told anything is left.
func (r *reader) say(line gpu.Line) {
	if err := gpu.WriteLine(r.out, line); err != nil {
		r.broken = err
	}
	r.spoke = time.Now()
}

// end closes the library, when nobody waits for its events any more.
func (r *reader) end() {
	r.ear.hush()
	for r.ear.set != nil {
		if h := <-r.ear.heard; h.ended {
			r.ear.ended(false, time.Now())
		}
	}
	if r.reads {
		r.library.close()
	}
}
