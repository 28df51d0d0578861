package config

import (
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

const frontsKey = "fronts"

// asked returns the fronts that were asked for: those of the flags, which know only addresses, or those of the file.
func (s Settings) asked() (fronts []Front) {
	if len(s.Fronts) > 0 && !s.flagged[frontsKey] {
		return s.Fronts
	}
	for _, listen := range s.Listen {
		fronts = append(fronts, DefaultFront(listen))
	}
	return fronts
}

// listenKey is the path of a front's address.
func listenKey(i int) string { return below(element(frontsKey, i), "listen") }

// judgeFronts returns the fronts that are asked for, as they are to be bound.
func (s Settings) judgeFronts(j *judge) (fronts []Front) {
	asked := s.asked()
	switch n := len(asked); {
	case n == 0:
		j.addf(frontsKey, "", "is where clients connect, and there is none; write %s", j.as(frontsKey, ":8000"))
	case n > MostFronts && len(s.Fronts) == 0:
		j.addf(frontsKey, "", "is there %d times: at most %d", n, MostFronts)
	}
	for i, f := range asked {
		text := f.Listen
		listen, err := ParseListen(text)
		if text == "" {
			err = fmt.Errorf("is missing: where clients connect, as in %s", j.as(listenKey(i), ":8000"))
		}
		j.add(listenKey(i), text, err)
		if err != nil {
			continue
		}
		if at := slices.IndexFunc(asked[:i], func(before Front) bool { return collide(before.Listen, text) }); at >= 0 {
			j.addf(listenKey(i), text, "%s accepts there already", j.as(listenKey(at), asked[at].Listen))
		}
		f.Listen = listen
		fronts = append(fronts, f)
	}
	return fronts
}

// judgeDoors looks for fronts in the way of our own sockets, and of the worker's.
func (s Settings) judgeDoors(j *judge, r *Run) {
	for i, f := range s.asked() {
		listen := f.Listen
		said := j.as(listenKey(i), listen)
		switch {
		case r.Control != "" && collide(listen, "unix:"+r.Control):
			j.addf(listenKey(i), listen, "is the control socket")
		case r.HTTP != "" && collide(listen, r.HTTP) && !s.said("http") && s.position(listenKey(i)) != (Position{}):
			j.addf(listenKey(i), listen, "is where %s answers; take another port, or write http: %s or http: off", j.as("http", r.HTTP), beside(r.HTTP))
		case r.HTTP != "" && collide(listen, r.HTTP):
			j.addf("http", s.HTTP, "is where %s accepts clients; write %s, or %s", said, j.as("http", beside(s.HTTP)), j.as("http", HTTPOff))
		case r.Upstream.Network != "" && goesRound(listen, r.Upstream):
			j.addf("worker.upstream", r.Upstream.String(), "is what %s accepts on, so each stream would go round for ever", said)
		}
	}
}
