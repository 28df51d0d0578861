package check

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// A client that leaves costs GPU time until the worker knows. Leavers note when they closed their connection, and the worker
// is asked when it saw its own close.

// noticeWithin is how soon the worker must know.
const noticeWithin = time.Second

// departures are the clients that left; mu guards all.
type departures struct {
	mu   sync.Mutex
	left map[string]*departure // by X-Request-Id
}

type departure struct {
	life    string
	at      time.Time
	noticed time.Time // zero: the worker has not said so yet
	due     bool      // the worker was asked after noticeWithin
}

// note is called by a client just before it leaves.
func (d *departures) note(id, life string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.left == nil {
		d.left = map[string]*departure{}
	}
	d.left[id] = &departure{life: life, at: time.Now()}
}

// compare takes in what a life of the worker says.
func (d *departures) compare(s simState) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, seen := range s.Departures {
		if mine := d.left[seen.RequestID]; mine != nil && mine.noticed.IsZero() {
			mine.noticed = time.UnixMicro(seen.NoticedUnixMicro)
		}
	}
	asked := time.UnixMicro(s.NowUnixMicro)
	for _, mine := range d.left {
		if mine.life == s.Life && asked.Sub(mine.at) > noticeWithin {
			mine.due = true
		}
	}
}

// result is how long the worker took to know of each client of which it had to know, and those that it knew of too late.
// A client whose life ended within noticeWithin is in neither.
func (d *departures) result() (noticed *Histogram, late []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	noticed = new(Histogram)
	for id, mine := range d.left {
		switch after := mine.noticed.Sub(mine.at); {
		case mine.noticed.IsZero() && mine.due:
			late = append(late, fmt.Sprintf("%s left at %s and the worker never noticed", id, mine.at.Format("15:04:05.000")))
		case mine.noticed.IsZero():
		case after > noticeWithin:
			late = append(late, fmt.Sprintf("%s left and the worker noticed after %v", id, after))
			fallthrough
		default:
			noticed.Record(after)
		}
	}
	return noticed, late
}

// watch asks the worker again and again until ctx ends. While there is none it has nothing to say.
func (d *departures) watch(ctx context.Context, side *Sidecar) {
	for ctx.Err() == nil {
		if s, err := side.simState(ctx); err == nil {
			d.compare(s)
		}
		rest(ctx, noticeWithin/4)
	}
}
