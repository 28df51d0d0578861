package config

import (
	"errors"
	"strings"
	"time"
)

// Probe is the question that tells whether a worker is ready.
type Probe struct {
	Kind string // "tcp": it accepts a connection; "http": it answers GET Path with 2xx
	Path string // begins with /; http only
	// Timeout is how long an answer may take.
	Timeout time.Duration
}

// String returns the probe as a person writes it.
func (p Probe) String() string {
	if p.Kind == "http" {
		return "http:" + p.Path
	}
	return p.Kind
}

// ParseProbe reads tcp or http:/PATH.
func ParseProbe(text string) (Probe, error) {
	if text == "tcp" {
		return Probe{Kind: "tcp"}, nil
	}
	path, ok := strings.CutPrefix(text, "http:")
	if !ok {
		return Probe{}, errors.New("must be tcp or http:/PATH, as in http:/health")
	}
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") {
		return Probe{}, errors.New("http: is followed by a path only, as in http:/health; the address is the worker's")
	}
	for _, c := range []byte(path) {
		if c <= ' ' || c >= 0x7f || c == '#' {
			return Probe{}, errors.New("the path must be written in ASCII, without spaces and #")
		}
	}
	return Probe{Kind: "http", Path: path}, nil
}
