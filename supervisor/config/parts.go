package config

import (
	"net/netip"
	"time"
)

// The parts of a Run that are more than one value. What each is for, and why its default is what it is, is said in
// docs/configuration.md; the defaults themselves stand in DefaultParts and nowhere else.

// Mode says whether decisions about the worker are carried out.
type Mode string

// The modes.
const (
	Act     Mode = "act"
	Observe Mode = "observe" // decided, logged and counted as would_restart, never done; a person's word still is
)

// Front is one address that clients connect to.
type Front struct {
	Listen string // HOST:PORT or unix:PATH
	// EarlyAfter is how long a request for an event stream waits before its answer is begun without the worker; 0: never.
	EarlyAfter time.Duration
	Forwarded  Forwarded
	Trusted    []netip.Prefix // clients whose own Forwarded or X-Forwarded-For is believed and added to
}

// Forwarded says how the worker learns of its client's address.
type Forwarded string

// The ways to say it.
const (
	ForwardedOff  Forwarded = "off"             // fields of the client's pass as they are
	ForwardedForX Forwarded = "x-forwarded-for" // the usual field
	ForwardedRFC  Forwarded = "forwarded"       // RFC 7239
)

// Queue bounds how many streams the worker has at once; those above it wait, each client address in its turn.
type Queue struct {
	// Concurrency is how many; 0: no bound. It is for the moment after a restart, when all that waited would run over a
	// worker that has just come up, and for clients of which one would push the others aside. An engine has its own queue
	// (vLLM runs 256 sequences at once by default and lets the rest wait): 1,024 keep that one full, and what waits here
	// instead of there can still go to the next life.
	Concurrency int
}

// Replay says which requests are given to a second life when the first has failed before it answered.
type Replay struct {
	Paths      []string // ends of paths whose POST may be sent again; GET and HEAD always may
	Budget     int64    // bytes of all copies of bodies together; 0: the smaller of 512 MiB and a quarter of the cgroup's limit
	PerRequest int64    // bytes of one body's copy
}

// Limits bound what clients may do. A time or rate of 0 is no bound, where that is allowed. They are there for what breaks
// and for who is hostile; none is in the way of a client that is only slow.
type Limits struct {
	// Connections of clients at a time. Each has a slot of 1 KiB, and up to 252 KiB while a stream moves; four descriptors
	// at the most. Beyond it the connection that has been idle longest is closed, and if none is idle new ones wait in the
	// kernel: an open stream is never in question. 4,096 is what a model server's own limits leave far behind.
	Connections int
	// PerAddress is how many of them one client address may have (of IPv6: one network of 64 bits). The newest is answered
	// with 429. 0, none, is the default: behind a load balancer all clients have one address. Trusted addresses and clients
	// of a unix front aren't counted.
	PerAddress int
	// HeadSize is how many bytes a request's head may have. A head has to lie in its slot as a whole; more than the 60 KiB
	// of the default finds no room there. Clients of inference servers send less than 4.
	HeadSize int
	// HeadTime is how long a head may take from its first byte to its last: a client that drips a byte now and then would
	// hold a slot for ever. 30 s are a thousand times what a bad line needs.
	HeadTime time.Duration
	// BodyRate is how many bytes a second a request's body has to come with. It is a rate and not a time, since an image
	// over a bad line takes what it takes. It is asked for only while the worker would take more: neither a held stream nor
	// a slow worker make a client slow. Too slow is answered with 408. 256 is less than any modem's.
	BodyRate int64
	// BodyGrace is how long a client may keep us waiting before the rate is asked for: a pause of a client that computes
	// what it sends. Bytes that come faster earn it back.
	BodyGrace time.Duration
	// Stalled is how long a client may take nothing of an answer that is there for it, before its stream ends as
	// client_stalled. Who takes a byte now and then, by what the kernel says was acknowledged, isn't stalled. Without it one
	// client that sleeps holds up each drain until its deadline. How long an answer takes as a whole has no limit.
	Stalled time.Duration
	// Idle is how long a connection may wait for its next request. Clients end theirs after seconds or minutes, and one that
	// we end at that moment may have a request on its way: so the time is longer than what HTTP clients wait by default.
	Idle time.Duration
	// UserTimeout is how long bytes may stay unacknowledged before the kernel ends the connection (TCP_USER_TIMEOUT): the
	// client's machine is gone. It counts for a client that sleeps too, so it is longer than Stalled and a quarter, or the
	// kernel would be the one to end a stalled client, and call it gone.
	UserTimeout time.Duration
	// KeepAlive is how long a connection is silent before the kernel asks whether the client's machine is still there, and
	// KeepInterval how often it asks then. The client is gone after KeepCount questions, or after UserTimeout if that is set:
	// the kernel then goes by the time. Else a vanished client would keep the worker computing for an answer that nobody
	// reads. 30 s also keep the entries of most NAT boxes alive.
	KeepAlive    time.Duration
	KeepInterval time.Duration
	KeepCount    int
	// SendBuffer and ReceiveBuf are SO_SNDBUF and SO_RCVBUF of a client's connection in bytes. 0: the kernel finds what suits
	// the line, which it knows better. A smaller send buffer makes it sooner known that a client takes nothing.
	SendBuffer int
	ReceiveBuf int
	WorkerIdle time.Duration // of a kept connection to the worker; below the worker's own time, 0: none is kept
}

// Ready says what /readyz answers to.
type Ready string

// The ways to be ready.
const (
	ReadyHolding Ready = "holding" // 200 while a new stream would be taken, now or after a hold
	ReadyServing Ready = "serving" // 200 only while the gate is open: for a service with siblings
)

// Pulse is how a serving worker's health is judged.
type Pulse struct {
	Probes  []PulseProbe
	Hung    time.Duration // streams are open and none got a byte for so long: hung, if a generate probe fails too; 0: never
	Veto    time.Duration // no probe's failure stops a life of which a stream got a byte so recently
	Prefill time.Duration // how long a stream may wait for its first byte before it counts for Hung
	Window  time.Duration // over which passive signals (refused, reset, 5xx, time-outs) are counted
	Passive float64       // share of the window's answers that may fail, 0 to 1
}

// PulseProbe is one question, asked again and again.
type PulseProbe struct {
	Kind     string   // tcp, http, exec or generate
	Path     string   // http and generate
	Command  []string // exec
	Model    string   // generate; empty: the worker's first
	Interval time.Duration
	Timeout  time.Duration
	Jitter   float64 // share of the interval that is left to chance
	Rise     int     // successes in a row that make it well
	Fall     int     // failures in a row that make it sick
}

// DefaultParts returns a Run with the defaults of its parts, and nothing else.
func DefaultParts() Run {
	return Run{
		Mode:  Act,
		Ready: ReadyHolding,
		Queue: Queue{Concurrency: 1024},
		Replay: Replay{
			Paths:      []string{"/chat/completions", "/completions", "/embeddings", "/generate"},
			PerRequest: 16 << 20,
		},
		Limits: Limits{
			Connections: 4096,
			HeadSize:    60 << 10,
			HeadTime:    30 * time.Second,
			BodyRate:    256, BodyGrace: 30 * time.Second,
			Stalled:     time.Minute,
			Idle:        10 * time.Minute,
			UserTimeout: 90 * time.Second,
			KeepAlive:   30 * time.Second, KeepInterval: 10 * time.Second, KeepCount: 3,
			WorkerIdle: 2 * time.Second,
		},
		Pulse: Pulse{
			Hung: 2 * time.Minute, Veto: time.Minute, Prefill: 5 * time.Minute,
			Window: time.Minute, Passive: 0.5,
		},
		GPU:          DefaultGPU(),
		MaxAgeJitter: 0.1,
	}
}

// DefaultFront is a front of which only the address was said.
func DefaultFront(listen string) Front {
	return Front{Listen: listen, EarlyAfter: 20 * time.Second, Forwarded: ForwardedForX}
}

// DefaultPulseProbe is a question of which nothing was said but that there is one.
func DefaultPulseProbe() PulseProbe {
	return PulseProbe{Kind: "tcp", Interval: 10 * time.Second, Timeout: 5 * time.Second, Jitter: 0.1, Rise: 2, Fall: 3}
}
