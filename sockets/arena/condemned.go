package arena

import "sync/atomic"

// Sum is 128 bits by which a request is known again.
type Sum [2]uint64

// manyCondemned bounds how many requests are remembered at a time. Each has cost two lives, so there won't be as many.
const manyCondemned = 32

// condemned are the requests that lives have died of. Written by any lane.
type condemned struct {
	until atomic.Int64 // CLOCK_MONOTONIC ns at which the last of them is forgotten
	all   [manyCondemned]struct {
		until atomic.Int64 // 0 while it is written
		sum   [2]atomic.Uint64
	}
}

// Condemn remembers a request until then. Where there is no room, the one that would be forgotten first is.
func (a *Arena) Condemn(s Sum, now, until int64) {
	a.condemning.Lock()
	defer a.condemning.Unlock()
	if a.IsCondemned(s, now) {
		return
	}
	c := &a.header().condemned
	oldest := &c.all[0]
	for i := range c.all {
		if c.all[i].until.Load() < oldest.until.Load() {
			oldest = &c.all[i]
		}
	}
	a.crash()
	Max(&c.until, until)
	oldest.until.Store(0)
	oldest.sum[0].Store(s[0])
	oldest.sum[1].Store(s[1])
	a.crash()
	oldest.until.Store(until)
	a.crash()
}

// AnyCondemned says whether any request is remembered.
func (a *Arena) AnyCondemned(now int64) bool { return a.header().condemned.until.Load() > now }

// IsCondemned says whether this one is.
func (a *Arena) IsCondemned(s Sum, now int64) bool {
	c := &a.header().condemned
	for i := range c.all {
		e := &c.all[i]
		until := e.until.Load()
		if until > now && e.sum[0].Load() == s[0] && e.sum[1].Load() == s[1] && e.until.Load() == until {
			return true
		}
	}
	return false
}
