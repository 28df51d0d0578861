// Package config says how a sidecar may be run. Settings are what a person writes, with the defaults that hold
// where nothing was written; Resolve judges them all together and turns them into a Run, the plain values that the
// daemon builds from. What is wrong is told all at once, each with what to write instead. It opens nothing, asks no
// clock and knows no other room.
package config

import "time"

// Settings are the settings of `autoglm-sidecar run` in the words that a person writes.
type Settings struct {
	Name           string        // of this sidecar, [a-z0-9-]{1,32}
	Listen         []string      // HOST:PORT or unix:PATH that clients connect to, each a front; port 0 takes a free one
	Upstream       string        // HOST:PORT or unix:PATH; empty: {port} or {socket} in the command says it
	Control        string        // path of the control socket; empty: NAME.sock in the runtime directory
	HTTP           string        // HOST:PORT for /livez and /readyz, or "off"
	Drain          time.Duration // how long a restart waits for open streams
	Hold           string        // how long a new stream waits at most: "auto", "0" or a duration
	StartDeadline  time.Duration // how long a worker may show no progress before it is ready
	StopGrace      time.Duration // from TERM to KILL
	Heartbeat      time.Duration // silence of an event stream before a comment is sent; 0: none
	Probe          string        // "tcp" or "http:/PATH"
	State          string        // directory of the ledger; empty: NAME in the state directory
	MaxConnections int           // client connections at a time
	Command        []string      // the worker's program and its arguments; empty: somebody else runs the worker

	// Typed holds the options as they were typed, for the lines that a person is told to type instead.
	Typed []string
}

// Words and bounds of the settings.
const (
	HoldAuto = "auto" // drain + start deadline: every planned restart fits in
	HTTPOff  = "off"

	MostConnections = 1 << 16
	leastHeartbeat  = 100 * time.Millisecond
)

// Defaults returns the settings that hold where a person wrote nothing.
func Defaults() Settings {
	return Settings{
		Name:           "default",
		Listen:         []string{":8000"},
		HTTP:           "127.0.0.1:9700",
		Drain:          2 * time.Minute,
		Hold:           HoldAuto,
		StartDeadline:  15 * time.Minute,
		StopGrace:      30 * time.Second,
		Heartbeat:      10 * time.Second,
		Probe:          "tcp",
		MaxConnections: 4096,
	}
}
