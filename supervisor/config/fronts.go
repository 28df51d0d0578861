package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// MostFronts is how many fronts there may be: each has a fixed place in what outlives a runner.
const MostFronts = 4

// ParseListen reads an address that clients connect to, HOST:PORT or unix:PATH, and returns it as it is to be bound: a
// relative path becomes absolute. No host means all of this machine's; port 0 takes a free one.
func ParseListen(text string) (string, error) {
	if !strings.HasPrefix(text, "unix:") {
		if strings.HasPrefix(text, "/") {
			return "", fmt.Errorf("a socket is written unix:%s", text)
		}
		return text, checkListen(text)
	}
	a, err := ParseAddress(text)
	return a.String(), err
}

// judgeFronts returns the fronts that are asked for.
func (s Settings) judgeFronts(p *Problems) (fronts []Front) {
	switch n := len(s.Listen); {
	case n == 0:
		p.add("--listen", "", errors.New("is where clients connect, and there is none; write --listen :8000"))
	case n > MostFronts:
		p.addf("--listen", "is there %d times: at most %d", n, MostFronts)
	}
	for i, text := range s.Listen {
		listen, err := ParseListen(text)
		p.add("--listen", text, err)
		if err != nil {
			continue
		}
		if at := slices.IndexFunc(s.Listen[:i], func(before string) bool { return collide(before, text) }); at >= 0 {
			p.addf("--listen", "%q: --listen %s accepts there already", text, s.Listen[at])
		}
		fronts = append(fronts, DefaultFront(listen))
	}
	return fronts
}

// judgeDoors looks for fronts in the way of our own sockets, and of the worker's.
func (s Settings) judgeDoors(p *Problems, r *Run) {
	for _, listen := range s.Listen {
		switch {
		case r.Control != "" && collide(listen, "unix:"+r.Control):
			p.addf("--listen", "%q: is the control socket", listen)
		case r.HTTP != "" && collide(listen, r.HTTP):
			p.addf("--http", "%q: is where --listen %s accepts clients; write --http %s, or --http off", s.HTTP, listen, beside(s.HTTP))
		case r.Upstream.Network != "" && goesRound(listen, r.Upstream):
			p.addf("--upstream", "%q: is what --listen %s accepts on, so each stream would go round for ever", r.Upstream, listen)
		}
	}
}
