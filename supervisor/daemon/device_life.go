package daemon

import (
	"context"
	"errors"
	"time"

	"autoglm-sidecar/gpu"
	"autoglm-sidecar/gpu/watch"
	"autoglm-sidecar/supervisor"
)

// What the worker's GPUs have to do with its lives: what they use before a life begins is looked at, its processes are known, and after
// its end its memory is waited for.

// deviceDriver is a driver whose lives use devices.
type deviceDriver struct {
	supervisor.Driver
	devices *devices
}

// freshLook is how long a life's start, or a look at memory that comes back, waits for the reader: an exporter looks each 5 s.
const freshLook = 6 * time.Second

// Start looks at the devices first: what they use now is not the life's. What forbids a life may have been seen only now, or so short
// ago that the machine hasn't heard of it.
func (d deviceDriver) Start(ctx context.Context, life supervisor.Life) (supervisor.Process, error) {
	d.devices.launch(ctx, life)
	if why := d.devices.bar(); why != "" {
		return nil, errors.New(why)
	}
	p, err := d.Driver.Start(ctx, life)
	if err == nil {
		d.devices.members.of(p)
	}
	return p, err
}

// Find knows the processes of a life that goes on.
func (d deviceDriver) Find(ctx context.Context, life supervisor.Life, pid int) (supervisor.Process, bool, error) {
	p, found, err := d.Driver.Find(ctx, life, pid)
	if found && err == nil {
		d.devices.members.of(p)
	}
	return p, found, err
}

func (v *devices) launch(ctx context.Context, life supervisor.Life) {
	fresh, cancel := context.WithTimeout(ctx, freshLook)
	defer cancel()
	v.await(fresh)
	looked := v.lookNow(fresh) && v.sees()
	v.members.of(nil) // what the driver still lists of the life before is not this one's
	v.mu.Lock()
	defer v.mu.Unlock()
	v.watch.Launch(int64(life), looked)
	v.stale = true
}

// lookNow has the devices looked at, if they are read at all.
func (v *devices) lookNow(ctx context.Context) (looked bool) {
	if v.source == nil {
		return false
	}
	if kind := v.source.State().Kind; kind != gpu.SourceReads && kind != gpu.SourceStarts {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, freshLook)
	defer cancel()
	return v.source.Now(ctx) == nil
}

// releaseEvery is how often memory that is to come back is looked at.
const releaseEvery = 500 * time.Millisecond

// reclaimer waits for a life's memory.
type reclaimer struct{ devices *devices }

// Release returns when the memory of the worker's devices is as it was before the life began, or enough of it is free. Where the devices
// can't be looked at it waits for a fixed time: a driver needs some.
func (r reclaimer) Release(ctx context.Context, _ supervisor.Life) error {
	v := r.devices
	began, since, patience := v.time(), v.clock(), min(watch.BlindWait, v.ReclaimTime*3/4)
	seen := since
	if v.Exporter != "" {
		began += time.Duration(float64(exportedAge) * v.pace) // what it tells before may be of the life's own beginning
	}
	v.holds("")
	every := time.NewTicker(releaseEvery)
	defer every.Stop()
	for {
		switch {
		case v.lookNow(ctx) && v.sees():
			seen = v.clock()
			waited := seen - since
			if waited >= v.ReclaimTime*3/4 {
				waited = time.Hour // where that is short, each wait has to end within it
			}
			if v.released(began, waited) {
				return nil
			}
		case !v.mayHold(), v.clock()-seen >= patience:
			return nil
		default:
			v.holds("the GPUs can't be read: it has " + patience.String())
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-every.C:
		}
	}
}

// released says whether all memory is free by looks since began, and notes who holds it.
func (v *devices) released(began, waited time.Duration) bool {
	v.mu.Lock()
	pids := v.watch.ListedOfAll()
	v.mu.Unlock()
	names := map[int]string{} // found out before anything is locked
	for _, pid := range pids {
		names[pid] = nameOf(pid)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	free, held := v.watch.Free(began, waited, func(pid int) string { return names[pid] })
	v.held = held
	return free
}

// sees says whether the worker's devices can be looked at.
func (v *devices) sees() bool {
	view := v.view()
	return view.blind() == nil && len(view.Looks) > 0
}

// mayHold says whether the life may have left memory on any device.
func (v *devices) mayHold() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.watch.MayHold()
}

// holds notes who has the memory that is waited for.
func (v *devices) holds(who string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.held = who
}

// Held says who is waited for.
func (r reclaimer) Held() string {
	r.devices.mu.Lock()
	defer r.devices.mu.Unlock()
	return r.devices.held
}
