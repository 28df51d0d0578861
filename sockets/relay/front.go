package relay

import (
	"net/netip"
	"slices"
	"time"

	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/http1"
	"autoglm-sidecar/sockets/kernel"
	"autoglm-sidecar/sockets/loop"
)

// Front is one address that clients connect to. Its place in the list is its number, under which the slots of its clients
// know it, those of a dead runner too.
type Front struct {
	FD int            // descriptor of its listener; -1: nobody comes in here any more, and who has stays
	At kernel.Address // that its listener is bound to, or was; New asks for it where there is a listener

	Forwarded http1.Forwarded // how the worker learns of its clients' addresses
	Trusted   []netip.Prefix  // proxies, whose word about that is added to
	// EarlyAfter is how long a request for an event stream waits before its answer is begun without the worker; 0: never.
	EarlyAfter time.Duration
}

// trusts: what a client from there says of where its requests come from is believed.
func (f *Front) trusts(from netip.Addr) bool {
	from = from.WithZone("") // which no prefix has
	return slices.ContainsFunc(f.Trusted, func(p netip.Prefix) bool { return p.Contains(from) })
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

// accepts says whether a connection that is bound to at may be one of f's. An accepted socket has its listener's address;
// where that is all of a machine's, it has the one that its client took.
func (f Front) accepts(at kernel.Address) bool {
	switch {
	case at == (kernel.Address{}):
		return false
	case f.At.TCP.IsValid() && f.At.TCP.Addr().IsUnspecified():
		return f.At.TCP.Port() == at.TCP.Port()
	default:
		return f.At == at
	}
}

// cameBy finds the front that accepted the connection fd; one that still listens goes first, since two that do don't share
// an address.
func (r *Relay) cameBy(fd int32) (front int, ok bool) {
	at := r.Kernel.Local(fd)
	front = slices.IndexFunc(r.Fronts, func(f Front) bool { return f.FD >= 0 && f.accepts(at) })
	if front < 0 {
		front = slices.IndexFunc(r.Fronts, func(f Front) bool { return f.accepts(at) })
	}
	return front, front >= 0
}

// came says whether the client of c can have come by the front that its record names.
func (r *Relay) came(c *arena.Record) bool {
	return int(c.Front) < len(r.Fronts) && r.Fronts[c.Front].accepts(r.Kernel.Local(c.Client))
}
