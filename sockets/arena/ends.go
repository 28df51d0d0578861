package arena

import (
	"sync/atomic"
	"unsafe"
)

// Ends is a ring of what people are to be told of single streams: that one was cut, what a restart did to it. Lanes put
// records into it and never wait; somebody slower takes them out and writes them to the log and to the disk. It lies in
// the arena, so that what a dead runner had not yet told the next one tells; a record that was being dealt with is told
// twice then. One ring for all lanes: they meet in it seldom, and what is told keeps its order.
type Ends struct {
	*endsHead
	record func(n int64) *End // its place
	kept   int64              // how many places there are
}

type endsHead struct {
	put     atomic.Int64           // records ever put in; who puts holds a lock of its own
	taken   atomic.Int64           // records ever dealt with; by the one who takes
	lost    atomic.Int64           // records that found no room
	refused [refusals]atomic.Int64 // refusals of each code that were told; by the one who takes
}

// endsKept is how many places the ring has: a crash may end the streams of all slots at once.
func endsKept(slots int) int { return min(max(slots, 64), 8192) }

// Ends returns the ring.
func (a *Arena) Ends() Ends {
	kept := int64(endsKept(a.slots))
	return Ends{&a.header().ends, func(n int64) *End { return (*End)(unsafe.Pointer(&a.mem[endsAt(a.slots)+int(n%kept)*endSize])) }, kept}
}

// Told is what an End is about.
type Told uint8

const (
	Ending  Told = iota // the stream has ended
	TooLong             // it goes on unjudged: one of its events is longer than there is room for
	tolds
)

// End is what is told of one stream. Times are CLOCK_MONOTONIC in nanoseconds.
type End struct {
	Restart int64 // that it waited for, or that cut it; 0: none
	Life    int64 // that it was on, 0: none
	Arrived int64
	Waited  int64 // ns that it waited at the gate
	At      int64 // now
	Bytes   int64 // of its answer that the client got
	Status  int32 // of its answer, 0: none begun
	What    Told
	Outcome Outcome
	Cause   Cause
	ID      ID
	Client  Address
	Route   Route
}

// Story is what people may be told of a slot's current stream. Nothing is decided by it.
type Story struct {
	Restart   int64 // the last one that it waited for, 0: none
	Waited    int64 // ns that it has waited at the gate, without the wait under way
	WaitSince int64 // when that began; CLOCK_MONOTONIC ns
	GivenAt   int64 // what its client had got before
	Route     Route
}

// Address is a client's address for people, cut short if need be.
type Address struct {
	Len   int64
	Bytes [56]byte
}

// Route is a request's method and path, without its query, cut short if need be.
type Route struct {
	Len   int64
	Bytes [64]byte
}

// Value returns the address.
func (a *Address) Value() []byte { return a.Bytes[:bounded(a.Len, len(a.Bytes))] }

// Set stores as much of v as fits.
func (a *Address) Set(v string) { a.Len = int64(copy(a.Bytes[:], v)) }

// Value returns the route.
func (r *Route) Value() []byte { return r.Bytes[:bounded(r.Len, len(r.Bytes))] }

// Set stores method and path, as much of them as fits.
func (r *Route) Set(method, path []byte) {
	n := copy(r.Bytes[:], method)
	if n < len(r.Bytes) {
		r.Bytes[n] = ' '
		n++
	}
	n += copy(r.Bytes[n:], path)
	r.Len = int64(n)
}

// bounded: a length that memory gone wrong claims must not take its reader with it.
func bounded(n int64, most int) int { return int(min(max(n, 0), int64(most))) }

// Put adds e, unless there is no room: then it is lost, and counted. Callers see to it that no two do so at once.
func (r Ends) Put(e *End) {
	n := r.put.Load()
	if n-r.taken.Load() >= r.kept {
		r.lost.Add(1)
		return
	}
	*r.record(n) = *e
	r.put.Store(n + 1)
}

// Take returns the oldest records that were not dealt with, and how many places of the ring they took, at most most.
// They stay until Dealt. What no runner can have written is left out.
func (r Ends) Take(most int) (all []End, places int) {
	put, taken := r.put.Load(), r.taken.Load()
	if taken < 0 || put < taken || put-taken > r.kept {
		r.taken.Store(max(put, 0))
		return nil, 0
	}
	for n := taken; n < put && places < most; n++ {
		places++
		if e := r.record(n); e.What < tolds && e.Outcome < outcomes && e.Cause < causes && e.ID.plausible() {
			all = append(all, *e)
		}
	}
	return all, places
}

// Dealt says that so many places were dealt with.
func (r Ends) Dealt(places int) { r.taken.Add(int64(places)) }

// Lost is how many records found no room.
func (r Ends) Lost() int64 { return r.lost.Load() }

// ToldRefusals is how many refusals of that code the log has told of, for the one who tells.
func (r Ends) ToldRefusals(code Refusal) *atomic.Int64 { return &r.refused[code] }
