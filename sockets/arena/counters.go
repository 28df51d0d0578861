package arena

import (
	"slices"
	"sync/atomic"
)

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
	Suspect          // two lives died with nothing but it in common
	Operator         // a person said to cut at once
	causes           // how many
)

var causeNames = [causes]string{
	NoCause: "", Crash: "crash", Deadline: "deadline", Abort: "abort", ErrorEvent: "error_event",
	Truncated: "truncated", Malformed: "malformed", Poison: "poison", Suspect: "suspect", Operator: "operator",
}

func (c Cause) String() string { return causeNames[c] }

// Refusal is what a stream was refused for: the code of the answer that its client got.
type Refusal uint8

const (
	OtherRefusal Refusal = iota
	MalformedRequest
	HeadTooLarge
	HeadTimeout
	NotSupported
	WorkerUnavailable
	RequestSuspected
	BodyTimeout
	refusals // how many
)

var refusalNames = [refusals]string{
	OtherRefusal: "other", MalformedRequest: "malformed_request", HeadTooLarge: "head_too_large", HeadTimeout: "head_timeout",
	NotSupported: "not_supported", WorkerUnavailable: "worker_unavailable",
	RequestSuspected: "request_suspected", BodyTimeout: "body_timeout",
}

func (r Refusal) String() string { return refusalNames[r] }

// RefusalOf is the one with that code.
func RefusalOf(code string) Refusal { return Refusal(max(slices.Index(refusalNames[:], code), 0)) }

// Refusals are all of them.
func Refusals() (all []Refusal) {
	for r := range refusals {
		all = append(all, r)
	}
	return all
}

// Losses and Uncopieds are how many ways there are to lose a worker and to go without a copy. The relay names them.
const (
	Losses    = 4
	Uncopieds = 2
)

// Counters are one loop's, and outlive it. An end may be counted twice at a death, never missed.
type Counters struct {
	Working atomic.Int64 // slot being worked on, plus 1; 0 between events. Read after a death only

	Accepted    atomic.Int64 // client connections
	Streams     atomic.Int64 // requests whose head was whole
	Outcomes    [outcomes]atomic.Int64
	Causes      [causes]atomic.Int64
	Refusals    [refusals]atomic.Int64 // as Outcomes[Refused], by code, when it is answered
	UpBytes     atomic.Int64           // taken from clients; behind by the batch that a runner died in
	DownBytes   atomic.Int64           // given to clients, likewise
	Busy        atomic.Int64           // ns spent on events
	TooLong     atomic.Int64           // streams with an event too long to be judged
	Waited      atomic.Int64           // streams that were held at the gate
	HoldEver    atomic.Int64           // ns, the longest hold
	LongestHold atomic.Int64           // ns, since the mark
	LongestGap  atomic.Int64           // ns between two sends to a client of one event stream, since the mark
	Heartbeats  atomic.Int64
	Early       atomic.Int64 // answers that were begun before the worker had said anything
	EarlyFailed atomic.Int64 // of them, those that became an error
	Shed        atomic.Int64 // idle connections closed because slots ran out
	TurnedAway  atomic.Int64 // connections of addresses that had as many as they may
	Stalled     atomic.Int64 // times that a front stopped accepting because none could be had

	Gaps     Histogram[GapScale]     // between two sends to a client of one event stream
	Holds    Histogram[HoldScale]    // how long streams waited for a life
	Queued   Histogram[QueueScale]   // how long streams waited for their turn while a life served
	Firsts   Histogram[FirstScale]   // from a request's arrival to the first byte of its answer, all waits included
	Connects Histogram[ConnectScale] // of connections to the worker
	// Requests that lost their worker before it answered; see the relay.
	Retries         [Losses]atomic.Int64    // given again, by what was lost
	Uncopied        [Uncopieds]atomic.Int64 // went on without a copy, by why
	Condemned       atomic.Int64            // requests that lives were held to have died of
	SuspectsRefused atomic.Int64            // the same ones, sent again
	Opened          atomic.Int64            // connections to the worker
	Reused          atomic.Int64            // times that one was used again

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
	Restart              atomic.Int64 // its id; of the last one, where none is under way
	Over                 atomic.Int64 // CLOCK_MONOTONIC ns at which it ended, 0: it hasn't
	Cut, Waited, Refused atomic.Int64
}

// Underway is the restart under way, 0 for none.
func (m *Mark) Underway() int64 {
	if m.Over.Load() != 0 {
		return 0
	}
	return m.Restart.Load()
}

// Since is the last restart, if it was still under way at that time or began later; else 0.
func (m *Mark) Since(at int64) int64 {
	if over := m.Over.Load(); over != 0 && over < at {
		return 0
	}
	return m.Restart.Load()
}

// Mark returns the mark.
func (a *Arena) Mark() *Mark { return &a.header().mark }

// Max raises m to v.
func Max(m *atomic.Int64, v int64) {
	for old := m.Load(); v > old && !m.CompareAndSwap(old, v); old = m.Load() {
	}
}
