package sim

import (
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// departuresKept is how many clients that left are remembered.
const departuresKept = 1024

// State is what GET /sim/state answers.
type State struct {
	Simulated      bool        `json:"simulated"` // always true
	PID            int         `json:"pid"`
	Life           string      `json:"life"`         // the nonce: system_fingerprint of every answer of this process
	Ready          bool        `json:"ready"`        // the start delay is over
	Leaving        bool        `json:"leaving"`      // a signal to end came
	Connections    int64       `json:"connections"`  // open now
	Requests       int64       `json:"requests"`     // all with a head that could be read, those to /sim/state and /sim/faults apart
	Malformed      int64       `json:"malformed"`    // connections or bodies whose bytes were not HTTP
	Open           int64       `json:"open"`         // answers (and echoes) not ended
	MostAtOnce     int         `json:"most_at_once"` // answers that ever ran at once, each until just before its last bytes
	Whole          int64       `json:"whole"`        // answers sent to their end as they were meant to be
	Broken         int64       `json:"broken"`       // answers that this worker cut by a fault
	ClientsLeft    int64       `json:"clients_left"`
	Tokens         int64       `json:"tokens"`
	Departures     []Departure `json:"departures"` // the last 1,024 clients that left, oldest first
	Faults         Faults      `json:"faults"`
	NowUnixMicro   int64       `json:"now_unix_us"` // this worker's clock, for comparison
	StartUnixMicro int64       `json:"start_unix_us"`
}

// Departure is one client that left before its answer ended.
type Departure struct {
	RequestID        string `json:"request_id"` // X-Request-Id of the request
	Path             string `json:"path"`
	While            string `json:"while"`            // request (its body), prompt (before the first token), tokens, hung
	Tokens           int64  `json:"tokens"`           // sent by then
	AfterMS          int64  `json:"after_ms"`         // since the request's head
	NoticedUnixMicro int64  `json:"noticed_unix_us"`  // when this worker noticed: subtract when you closed
	Reason           string `json:"reason,omitempty"` // how it was noticed: EOF for FIN, or the error
	Remote           string `json:"remote,omitempty"` // the client's address
}

// counters are the numbers of State, each written by whoever sees the thing happen.
type counters struct {
	connections, requests, malformed, open, whole, broken, clientsLeft, tokens atomic.Int64

	departing  sync.Mutex // guards departures
	departures []Departure
}

// lastDepartures is a copy of the clients that left.
func (c *counters) lastDepartures() []Departure {
	c.departing.Lock()
	defer c.departing.Unlock()
	return slices.Clone(c.departures)
}

// depart notes a client that left.
func (c *counters) depart(r *http.Request, while string, tokens int64, began time.Time, reason, remote string) {
	now := time.Now()
	c.departing.Lock()
	defer c.departing.Unlock()
	defer c.clientsLeft.Add(1) // last: who sees the count finds the note
	if len(c.departures) == departuresKept {
		c.departures = append(c.departures[:0], c.departures[1:]...)
	}
	c.departures = append(c.departures, Departure{
		RequestID: r.Header.Get("X-Request-Id"), Path: r.URL.Path, While: while, Tokens: tokens,
		AfterMS: now.Sub(began).Milliseconds(), NoticedUnixMicro: now.UnixMicro(), Reason: reason, Remote: remote,
	})
}
