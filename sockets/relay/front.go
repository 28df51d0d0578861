package relay

import (
	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/kernel"
	"autoglm-sidecar/sockets/loop"
)

// Front is one address that clients connect to. Its place in the list is its number, under which the slots of its clients
// know it, those of a dead runner too.
type Front struct {
	FD int            // descriptor of its listener; -1: nobody comes in here any more, and who has stays
	At kernel.Address // that its listener is bound to, or was; New asks for it where there is a listener
}

// frontToken is the listener's of front i.
func frontToken(i int) uint64 { return loop.MaxToken - uint64(i) }

// frontOf finds the front that a token is of.
func (l *lane) frontOf(token uint64) (front int, ok bool) {
	i := loop.MaxToken - token
	return int(i), i < uint64(len(l.relay.Fronts))
}

// listening appends the fronts that have a listener.
func (l *lane) listening(to []int) []int {
	for i, f := range l.relay.Fronts {
		if f.FD >= 0 {
			to = append(to, i)
		}
	}
	return to
}

// cameBy finds the front that accepted the connection fd. An accepted socket has its listener's address; where that is all
// of a machine's, it has the one that its client took.
func (r *Relay) cameBy(fd int32) (front int, ok bool) {
	at := r.Kernel.Local(fd)
	if at == (kernel.Address{}) {
		return 0, false
	}
	for i, f := range r.Fronts {
		if f.At == at || f.At.TCP.IsValid() && f.At.TCP.Addr().IsUnspecified() && f.At.TCP.Port() == at.TCP.Port() {
			return i, true
		}
	}
	return 0, false
}

// came says whether the client of c came by the front that its record names.
func (r *Relay) came(c *arena.Record) bool {
	front, ok := r.cameBy(c.Client)
	return ok && front == int(c.Front)
}
