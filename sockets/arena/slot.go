package arena

import (
	"slices"
	"sync/atomic"

	"autoglm-sidecar/sockets/http1"
	"autoglm-sidecar/sockets/openai"
	"autoglm-sidecar/sockets/sse"
)

// Phase is how far a client connection is with its current stream.
type Phase uint8

const (
	Head   Phase = iota // waiting for a request, or in the middle of its head
	Held                // the head is whole; it waits at the gate
	Relay               // it passed: bytes flow both ways, or the worker is being connected to
	Flush               // the worker's side is done with; the answer's rest goes to the client
	Linger              // the answer is out before the request was in: read and drop, so that the answer isn't lost
	phases              // how many a record can have

	Ended = phases // only of a working copy: its slot is free
)

// Flag is a fact about the current stream.
type Flag uint32

const (
	KeepAlive     Flag = 1 << iota // the client's connection goes on after this answer
	Continue                       // the client expects 100-continue and hasn't got it
	RequestDone                    // the whole request was judged
	AnswerBegun                    // a final head was committed to the output
	EventStream                    // the answer is read event by event
	Judged                         // its end is judged by the dialect too
	Opaque                         // nobody can judge its end: encoded, of an unknown dialect, or ended by a FIN
	ChunkedUp                      // the request goes out in chunks
	LastChunkUp                    // whose last one was written
	LastChunkDown                  // the answer's last chunk was written
	Reset                          // end the client's connection by RST: nothing else shows that the answer is short
	Waited                         // it was held at the gate, or queued
	Queued                         // it was queued: its wait began while the gate was open
	Continued                      // the client was told to go on
	Repeatable                     // it may be given to a second life though the first had got all of it
	Uncopied                       // not all of it is kept, so it can't be given to a second life
	WorkerKeeps                    // the worker's connection goes on after this answer
	Reused                         // the worker's connection carried other streams before
	Fresh                          // a connection that was kept has failed this stream: the next one is to be new
	EarlyAnswer                    // the answer was begun before a worker had said anything, and whoever does goes on with it
	flags                          // beyond all of them
)

// Half is one direction. Offsets count bytes since the connection was opened, so that the kernel's own totals can
// be compared: In is the source's side, Out is the destination's.
type Half struct {
	InBase  int64 // byte k of the source lies at in[k-InBase]
	Judged  int64 // up to here the scanners have read
	OutBase int64 // byte k of the destination lies at out[k-OutBase]
	Safe    int64 // up to here may be sent
	Out     int64 // up to here was written; behind Safe lies the beginning of an event
}

// Record is a slot's state of affairs, committed as a whole.
type Record struct {
	Client int32 // descriptor
	Worker int32 // descriptor, -1 for none
	PipeR  int32 // pipe in front of a unix worker's socket, -1 for none; see the kernel room
	PipeW  int32

	ClientPipeR int32 // pipe in front of a unix client's socket, likewise
	ClientPipeW int32

	Front   uint8 // that the client came in by, its number in the table of fronts
	Phase   Phase
	Outcome Outcome // decided, counted when the flush is over
	Cause   Cause
	Method  http1.Method
	Minor   uint8         // of the client's HTTP/1 version
	Framing http1.Framing // of the answer to the client
	Kind    openai.Kind
	Lives   uint8 // that had got some of it and were lost before they answered
	Crashes uint8 // of lives that had got all of it and had answered nothing
	Flags   Flag

	Status  int32 // of the answer
	HeadLen int32 // of the request
	HeadAt  int64 // offset of the request's first byte

	Life      int64 // that it passed to; 0 while it didn't
	LostOn    int64 // the life that had got all of it and whose connection was lost, until it is known whether that life has died; else 0
	Kept      int64 // bytes of the request, from HeadAt on, that lie in the slot's chain of blocks
	GivenFrom int64 // what the worker's connection had been given before this request
	Arrived   int64 // CLOCK_MONOTONIC ns at which the request's head was whole, its place at the gate
	HoldUntil int64

	Up, Down Half
	Request  http1.Body
	Answer   http1.Body
	Events   sse.Scanner
	Dialect  openai.State
	Wish     openai.Wish // of a request that waits: whether it asks for an event stream
}

// Has says whether f is set.
func (r *Record) Has(f Flag) bool { return r.Flags&f != 0 }

// Set sets f.
func (r *Record) Set(f Flag) { r.Flags |= f }

// Clear clears f.
func (r *Record) Clear(f Flag) { r.Flags &^= f }

// Descriptors returns those that the record names.
func (r *Record) Descriptors() []int32 {
	return slices.DeleteFunc([]int32{r.Client, r.Worker, r.PipeR, r.PipeW, r.ClientPipeR, r.ClientPipeW}, func(fd int32) bool { return fd < 0 })
}

// Noted are the counts that are stored after each system call that moved bytes: what was taken from a source and
// what was given to a destination since its connection was opened. After a death the kernel knows better, by what
// one call moved at the most.
type Noted struct {
	UpTaken   int64 // from the client
	UpGiven   int64 // to the worker
	DownTaken int64 // from the worker
	DownGiven int64 // to the client
	UpPiped   int64 // put into the pipe in front of a unix worker
	DownPiped int64 // put into the pipe in front of a unix client
}

// Slot is one client connection. Only its loop writes it.
type Slot struct {
	used    int64 // 0 free, 1 in use
	gen     uint64
	Suspect int64 // deaths in a row at which its loop was at work on it
	Noted   Noted
	records [2]Record
	ID      ID // the request id of the current stream
	Story   Story
}

// ID is a request id, printable ASCII.
type ID struct {
	Len   int64
	Bytes [http1.MaxRequestID]byte
}

// Value returns the id.
func (d *ID) Value() []byte { return d.Bytes[:d.Len] }

// Set stores a copy of v, which must fit.
func (d *ID) Set(v []byte) { d.Len = int64(copy(d.Bytes[:], v)) }

// Used says whether slot i holds a connection.
func (a *Arena) Used(i int) bool { return atomic.LoadInt64(&a.Slot(i).used) != 0 }

// Fill puts a new connection into free slot i: all its fields, then the one store that makes it exist.
func (a *Arena) Fill(i int, r *Record) {
	s := a.Slot(i)
	a.crash()
	*s = Slot{}
	s.records[0] = *r
	a.crash()
	atomic.StoreInt64(&s.used, 1)
	a.crash()
}

// Free makes slot i exist no more. It comes before its descriptors are closed: a slot must never name a number that
// somebody else got in the meantime.
func (a *Arena) Free(i int) {
	a.crash()
	atomic.StoreInt64(&a.Slot(i).used, 0)
	a.crash()
}

// Committed returns slot i's record as it was last committed.
func (a *Arena) Committed(i int) *Record {
	s := a.Slot(i)
	return &s.records[atomic.LoadUint64(&s.gen)&1]
}

// Commit makes r the record of slot i: a copy beside the one in force, then one store.
func (a *Arena) Commit(i int, r *Record) {
	s := a.Slot(i)
	next := s.gen + 1
	if a.Crash != nil {
		half := *r
		half.Up, half.Down = s.records[next&1].Up, s.records[next&1].Down
		a.Crash()
		s.records[next&1] = half // half written
		a.Crash()
	}
	s.records[next&1] = *r
	a.crash()
	atomic.StoreUint64(&s.gen, next)
	a.crash()
}

// Note stores a count after the system call that moved it.
func (a *Arena) Note(count *int64, value int64) {
	a.crash()
	atomic.StoreInt64(count, value)
	a.crash()
}
