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
	Concurrency int // 0: no bound
}

// Replay says which requests are given to a second life when the first has failed before it answered.
type Replay struct {
	Paths      []string // ends of paths whose POST may be sent again; GET and HEAD always may
	Budget     int64    // bytes of all copies of bodies together; 0: the smaller of 512 MiB and a quarter of the cgroup's limit
	PerRequest int64    // bytes of one body's copy
}

// Limits bound what clients may do. A time or rate of 0 is no bound, where that is allowed.
type Limits struct {
	Connections  int // of clients at a time
	PerAddress   int // of one client address at a time; 0: no bound
	HeadSize     int // bytes of a request's head
	HeadTime     time.Duration
	BodyRate     int64         // bytes a second that a request's body must come with, after BodyGrace
	BodyGrace    time.Duration // before the rate is asked for
	Stalled      time.Duration // a client that takes nothing for so long is client_stalled
	Idle         time.Duration // of a client's connection between two requests
	UserTimeout  time.Duration // TCP_USER_TIMEOUT of a client's connection
	KeepAlive    time.Duration // TCP keep-alive: idle, interval and count
	KeepInterval time.Duration
	KeepCount    int
	SendBuffer   int           // SO_SNDBUF of a client's connection in bytes; 0: the kernel's own choice
	ReceiveBuf   int           // SO_RCVBUF likewise
	WorkerIdle   time.Duration // of a kept connection to the worker; below the worker's own time, 0: none is kept
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
			UserTimeout: time.Minute,
			KeepAlive:   30 * time.Second, KeepInterval: 10 * time.Second, KeepCount: 3,
			WorkerIdle: 2 * time.Second,
		},
		Pulse: Pulse{
			Hung: 2 * time.Minute, Prefill: 5 * time.Minute,
			Window: time.Minute, Passive: 0.5,
		},
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
