package arena

import "sync/atomic"

// Outcome is how a stream ended.
type Outcome uint8

const (
	Pending       Outcome = iota
	Complete              // the whole answer was given to the client
	ClientGone            // the client left before that
	ClientStalled         // the client took no byte for too long
	Refused               // turned away at the gate, or for what it was
	WorkerError           // the worker's own whole error answer
	Cut                   // the answer ended before its end; Cause says why
	Unjudged              // whole by its framing; nobody knows its dialect
	outcomes              // how many
)

var outcomeNames = [outcomes]string{
	Pending: "pending", Complete: "complete", ClientGone: "client_gone", ClientStalled: "client_stalled",
	Refused: "refused", WorkerError: "worker_error", Cut: "cut", Unjudged: "unjudged",
}

func (o Outcome) String() string { return outcomeNames[o] }

// Cause is why a stream was cut.
type Cause uint8

const (
	NoCause    Cause = iota
	Crash            // the worker's connection or its process died
	Deadline         // it ran past a drain that doesn't wait
	Abort            // the worker gave it up: finish_reason "abort"
	ErrorEvent       // the worker said so in the stream
	Truncated        // the answer ended without its end
	Malformed        // the worker's bytes were no HTTP
	Poison           // it was being worked on at three deaths of ours in a row
	causes           // how many
)

var causeNames = [causes]string{
	NoCause: "", Crash: "crash", Deadline: "deadline", Abort: "abort", ErrorEvent: "error_event",
	Truncated: "truncated", Malformed: "malformed", Poison: "poison",
}

func (c Cause) String() string { return causeNames[c] }

// Counters are one loop's, and outlive it. An end may be counted twice at a death, never missed.
type Counters struct {
	Working atomic.Int64 // slot being worked on, plus 1; 0 between events. Read after a death only

	Accepted    atomic.Int64 // client connections
	Streams     atomic.Int64 // requests whose head was whole
	Outcomes    [outcomes]atomic.Int64
	Causes      [causes]atomic.Int64
	Waited      atomic.Int64 // streams that were held at the gate
	HoldEver    atomic.Int64 // ns, the longest hold
	LongestHold atomic.Int64 // ns, since the mark
	LongestGap  atomic.Int64 // ns between two sends to a client of one event stream, since the mark
	Heartbeats  atomic.Int64
	Shed        atomic.Int64 // idle connections closed because slots ran out
	Stalled     atomic.Int64 // times that a front stopped accepting because none could be had

	Gaps     Histogram[GapScale]     // between two sends to a client of one event stream
	Holds    Histogram[HoldScale]    // how long streams waited for a life
	Queued   Histogram[QueueScale]   // how long streams waited for their turn while a life served
	Firsts   Histogram[FirstScale]   // from a request's arrival to the first byte of its answer, all waits included
	Connects Histogram[ConnectScale] // of connections to the worker

	// What take-overs found and mended.
	Mended     atomic.Int64 // streams that went on
	Untaken    atomic.Int64 // bytes taken and not noted
	Ungiven    atomic.Int64 // bytes given and not noted
	Unjudged   atomic.Int64 // bytes read and not judged
	Unsent     atomic.Int64 // judged and not sent
	Adopted    atomic.Int64 // accepted and not yet in a slot
	Orphans    atomic.Int64 // sockets and pipes that no slot named, closed
	Impossible atomic.Int64 // slots that disagreed with the kernel, cut alone
	Poisoned   atomic.Int64
}

// Mark is the state of the counters when the restart under way began, so that what it did to streams can be told
// whatever dies meanwhile. Written by the supervisor's side; Restart last.
type Mark struct {
	Restart              atomic.Int64 // its id
	Cut, Waited, Refused atomic.Int64
}

// Mark returns the mark.
func (a *Arena) Mark() *Mark { return &a.header().mark }

// Max raises m to v.
func Max(m *atomic.Int64, v int64) {
	for old := m.Load(); v > old && !m.CompareAndSwap(old, v); old = m.Load() {
	}
}
