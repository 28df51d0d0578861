//go:build cgo && linux

package main

import (
	"math"
	"slices"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"autoglm-sidecar/gpu"
)

const (
	// waitFor is how long one call waits for an event. It bounds how long we wait for the waiting to end, too: to close NVML
	// under a call of it is not safe.
	waitFor = 5 * time.Second
	// After a failure of the waiting, or where no GPU could be registered, we listen again, ever more slowly: a lost GPU makes each
	// waiting fail at once.
	firstPause, longestPause = time.Second, time.Minute
)

// none is NVML's number of an instance that there is not.
const none = math.MaxUint32

// ear listens for Xids. It belongs to the reader; only a goroutine that waits (listening) runs beside it.
type ear struct {
	gpus     []*device // wanted
	heard    chan heard
	set      nvml.EventSet // nil: nobody waits
	on       []*device     // wanted when the set was made
	began    time.Time
	leave    chan struct{} // closed: the waiting is to end; nil: it was
	pause    time.Duration
	next     time.Time       // not to listen before
	listened map[string]bool // GPUs that were registered once: until they are again, events are lost
}

// heard is what the waiting came to: an event, or its end.
type heard struct {
	event  nvml.EventData
	ended  bool
	failed bool // ended by itself
}

func newEar() *ear {
	return &ear{heard: make(chan heard), pause: firstPause, listened: map[string]bool{}}
}

// listening waits until it fails or is told to leave.
func listening(set nvml.EventSet, to chan<- heard, leave <-chan struct{}) {
	for {
		event, r := wait(set)
		switch r {
		case nvml.SUCCESS:
			to <- heard{event: event}
		case nvml.ERROR_TIMEOUT:
		default:
			to <- heard{ended: true, failed: true}
			return
		}
		select {
		case <-leave:
			to <- heard{ended: true}
			return
		default:
		}
	}
}

// tend sees to it that the wanted GPUs are listened to. It returns those that are listened to again after a gap.
func (e *ear) tend(l *library, now time.Time) (again []*device) {
	same := slices.EqualFunc(e.gpus, e.on, func(a, b *device) bool { return a.UUID == b.UUID })
	switch {
	case e.set != nil && !same:
		e.hush()
		return nil
	case e.set != nil || len(e.gpus) == 0 || !l.has[xidEvents] || same && now.Before(e.next):
		return nil
	}
	set, on := l.listen(e.gpus)
	e.on = e.gpus
	if set == nil {
		e.slower(now)
		return nil
	}
	for _, d := range on {
		if e.listened[d.UUID] {
			again = append(again, d)
		}
		e.listened[d.UUID] = true
	}
	e.set, e.began, e.leave = set, now, make(chan struct{})
	go listening(set, e.heard, e.leave)
	return again
}

// hush asks the waiting to end.
func (e *ear) hush() {
	if e.leave != nil {
		close(e.leave)
		e.leave = nil
	}
}

// ended takes down a set that nobody waits for any more.
func (e *ear) ended(failed bool, now time.Time) {
	free(e.set)
	e.set, e.leave = nil, nil
	if !failed {
		return
	}
	if now.Sub(e.began) > 2*waitFor {
		e.pause = firstPause // it had worked
	}
	e.slower(now)
}

func (e *ear) slower(now time.Time) {
	e.next = now.Add(e.pause)
	e.pause = min(2*e.pause, longestPause)
}

// due is when tend has something to do by itself; ok is false for never.
func (e *ear) due(l *library) (at time.Time, ok bool) {
	return e.next, e.set == nil && len(e.gpus) > 0 && l.has[xidEvents]
}

// eventOf says an event to one who watches d: nil if it is none of his. An event that names no instance is one of them all.
func eventOf(d *device, of string, e nvml.EventData) *gpu.Event {
	if d.gpu.UUID != of || e.EventType != nvml.EventTypeXidCriticalError {
		return nil
	}
	instance := d.gpu != d
	if instance && (e.GpuInstanceId != none && e.GpuInstanceId != d.GI || e.ComputeInstanceId != none && e.ComputeInstanceId != d.CI) {
		return nil
	}
	return &gpu.Event{Device: d.UUID, Xid: e.EventData, GI: number(e.GpuInstanceId), CI: number(e.ComputeInstanceId)}
}

// number is an instance's, 0 for none.
func number(id uint32) uint32 {
	if id == none {
		return 0
	}
	return id
}
