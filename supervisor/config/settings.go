// Package config says how a sidecar may be run. Settings are what a person writes, in a file, as flags, or not at all:
// then the defaults hold. Resolve judges them all together and turns them into a Run, the plain values that the daemon
// builds from. What is wrong is told all at once, each with where it stands and what to write instead. It opens nothing,
// asks no clock and knows no other room but health/timetable, which is a leaf as well.
//
// keys.go is the table of all keys, by which files are read (decode.go), flags are made (flags.go), settings are shown
// (show.go) and editors are told (schema.go); forms.go and lists.go say how values are written. run.go is Resolve;
// engine.go and memory.go are what engines want; redact.go is what nobody gets to see.
package config

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"autoglm-sidecar/health/timetable"
)

// Settings are the settings of `autoglm-sidecar run` in the words that a person writes.
type Settings struct {
	Name          string // of this sidecar, [a-z0-9-]{1,32}
	Mode          Mode
	Engine        Engine            // or EngineAuto
	Listen        []string          // HOST:PORT or unix:PATH that clients connect to, each a front; port 0 takes a free one
	Fronts        []Front           // likewise, from the file; empty: Listen says it
	Upstream      string            // HOST:PORT or unix:PATH; empty: {port} or {socket} in the command says it
	Control       string            // path of the control socket; empty: NAME.sock in the runtime directory
	HTTP          string            // HOST:PORT for /livez and /readyz, or "off"
	Drain         time.Duration     // how long a restart waits for open streams
	Hold          string            // how long a new stream waits at most: "auto", "0" or a duration
	StartDeadline time.Duration     // how long a worker may show no progress before it is ready
	StopGrace     time.Duration     // from TERM to KILL
	Heartbeat     time.Duration     // silence of an event stream before a comment is sent; 0: none
	Probe         string            // "tcp" or "http:/PATH", or "auto"
	ProbeTimeout  time.Duration     // of one such question
	State         string            // directory of the ledger; empty: NAME in the state directory
	User          string            // whom the worker runs as; empty: as we do
	Environment   map[string]string // what the worker gets beside our own
	MemoryShare   float64           // of each GPU that the worker may take; 0: not said
	Ready         Ready
	Queue         Queue
	Replay        Replay
	Limits        Limits
	Pulse         Pulse
	GPU           GPU
	Windows       []timetable.Window // when a planned restart may happen; empty: at any time
	MaxAge        time.Duration      // how long a life may run before it is replaced at a quiet moment; 0: no bound
	MaxAgeJitter  float64            // share of MaxAge that is left to chance, 0 to 1
	Command       []string           // the worker's program and its arguments; empty: somebody else runs the worker

	// Typed holds the options as they were typed, for the lines that a person is told to type instead.
	Typed []string
	// File is what the file is called that was read; empty: none was.
	File string

	flagged map[string]bool     // the keys that flags have said
	from    map[string]Position // where the file says a key
	wrong   Problems            // of the file
	faulty  []string            // the keys of which no more is said: what stands there can't be read
	broken  bool                // the file can't be read at all
}

// Words and bounds of the settings.
const (
	HoldAuto  = "auto" // drain + start deadline: every planned restart fits in
	HTTPOff   = "off"
	ProbeAuto = "auto" // as the engine is asked

	MostConnections = 1 << 16
	leastHeartbeat  = 100 * time.Millisecond
)

// Defaults returns the settings that hold where a person wrote nothing. What an engine's presets say comes before them.
func Defaults() Settings {
	parts := DefaultParts()
	return Settings{
		Name:          "default",
		Mode:          parts.Mode,
		Engine:        EngineAuto,
		Listen:        []string{":8000"},
		HTTP:          "127.0.0.1:9700",
		Drain:         2 * time.Minute,
		Hold:          HoldAuto,
		StartDeadline: 15 * time.Minute,
		StopGrace:     30 * time.Second,
		Heartbeat:     10 * time.Second,
		Probe:         ProbeAuto,
		ProbeTimeout:  10 * time.Second,
		Ready:         parts.Ready,
		Queue:         parts.Queue,
		Replay:        parts.Replay,
		Limits:        parts.Limits,
		Pulse:         parts.Pulse,
		GPU:           parts.GPU,
		MaxAgeJitter:  parts.MaxAgeJitter,
	}
}

// commandKey is the key of the command, which is also what stands behind -- on the command line.
const commandKey = "worker.command"

// SetCommand takes the command from the command line; none leaves the file's.
func (s *Settings) SetCommand(words []string) {
	if len(words) == 0 {
		return
	}
	if _, both := s.from[commandKey]; both {
		s.wrong = append(s.wrong, Problem{At: s.from[commandKey], Setting: commandKey, Text: "is here, and there is a COMMAND behind -- as well; leave one of them away"})
		s.bad(commandKey)
	}
	s.Command = slices.Clone(words)
}

// said reports whether a person said the key, or a program that builds Settings by itself.
func (s Settings) said(path string) bool {
	if _, inFile := s.from[path]; inFile || s.flagged[path] {
		return true
	}
	k, v, ok := find(keys(), path, reflect.ValueOf(&s).Elem())
	if !ok || len(s.from)+len(s.flagged) > 0 {
		return false
	}
	d := Defaults()
	_, was, _ := find(keys(), path, reflect.ValueOf(&d).Elem())
	return !reflect.DeepEqual(k.at(v).Interface(), k.at(was).Interface())
}

// find returns the key at a path that leads through objects only, and the struct that holds it.
func find(o object, path string, v reflect.Value) (key, reflect.Value, bool) {
	name, rest, deeper := strings.Cut(path, ".")
	k, known := o.named(name)
	if !known || !deeper {
		return k, v, known
	}
	inner, isObject := k.form.(object)
	if !isObject {
		return key{}, v, false
	}
	return find(inner, rest, k.at(v))
}

// called returns a setting's name as whoever said it knows it: the key in the file, or the flag, or for what nobody
// said the flag that would say it.
func (s Settings) called(path string) string {
	at := s.position(path)
	flag := flagOf(path)
	switch {
	case at != Position{}, flag == "" && path != commandKey:
		return path
	case path == commandKey:
		return "COMMAND"
	default:
		return "--" + flag
	}
}

// position returns where the file says a key, or the nearest around it that it does say; the zero Position: nowhere, or a
// flag has said it.
func (s Settings) position(path string) Position {
	for outer := range outward(path) {
		if s.flagged[outer] {
			return Position{}
		}
	}
	for outer := range outward(path) {
		k, _, known := find(keys(), outer, reflect.ValueOf(&s).Elem())
		_, isObject := k.form.(object)
		if at, ok := s.from[outer]; ok && !(known && isObject && outer != path) {
			return at
		}
	}
	return Position{}
}

// outward calls yield with a path and all that it lies in.
func outward(path string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for yield(path) {
			end := strings.LastIndexAny(path, ".[")
			if end < 0 {
				return
			}
			path = path[:end]
		}
	}
}

// bad notes that a key's value can't be read.
func (s *Settings) bad(path string) { s.faulty = append(s.faulty, path) }

// isBad reports whether the key, or something in it, can't be read.
func (s Settings) isBad(path string) bool {
	return s.broken || slices.ContainsFunc(s.faulty, func(faulty string) bool {
		if faulty == path || strings.HasPrefix(faulty, path+".") || strings.HasPrefix(faulty, path+"[") {
			return true
		}
		return strings.HasPrefix(path, faulty+".") || strings.HasPrefix(path, faulty+"[")
	})
}

// clone returns settings that share no memory that Resolve writes to.
func (s Settings) clone() Settings {
	s.Fronts, s.Listen, s.Command = slices.Clone(s.Fronts), slices.Clone(s.Listen), slices.Clone(s.Command)
	s.Environment = maps.Clone(s.Environment)
	s.Replay.Paths, s.Pulse.Probes = slices.Clone(s.Replay.Paths), slices.Clone(s.Pulse.Probes)
	s.GPU.Devices, s.GPU.Faults, s.Windows = slices.Clone(s.GPU.Devices), maps.Clone(s.GPU.Faults), slices.Clone(s.Windows)
	s.faulty = slices.Clone(s.faulty)
	return s
}
