package relay

import (
	"encoding/binary"
	"net/netip"

	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/gate"
	"autoglm-sidecar/sockets/http1"
)

// from is the address of the client's end; the kernel is asked once a connection, so it needs no place in the arena.
func (l *lane) from(c *conn) netip.Addr {
	if !c.asked {
		c.from, c.asked = l.k.PeerAddr(c.r.Client), true
	}
	return c.from
}

// ticket is what the stream shows at the gate.
func (l *lane) ticket(c *conn) gate.Ticket {
	return gate.Ticket{
		Arrived: c.r.Arrived, Client: household(l.from(c)), Slot: c.index, Loop: int32(l.id), Queued: c.r.Has(arena.Queued),
	}
}

// household is who counts as one client: an IPv4 address, or the 64 bits of an IPv6 address that its network is given
// (RFC 4291, 2.5.4: whoever has one of these has them all). All clients without an IP address are one.
func household(a netip.Addr) uint64 {
	switch {
	case !a.IsValid():
		return 0
	case a.Unmap().Is4():
		b := a.As16()
		return binary.BigEndian.Uint64(b[8:]) // ::ffff:a.b.c.d; no network has 0:0:ffff:xxxx of it as its first half
	default:
		b := a.As16()
		return binary.BigEndian.Uint64(b[:8])
	}
}

// trusts: what this client says of where its requests come from is believed. A client without an address is on this machine,
// and may open the front's file.
func (l *lane) trusts(c *conn) bool {
	from := l.from(c)
	return !from.IsValid() || l.relay.Fronts[c.r.Front].trusts(from)
}

// origin is what the worker is told of where a request comes from. It depends on nothing but the connection and its front, so
// it is the same however often the request is sent.
func (l *lane) origin(c *conn) http1.Origin {
	by := l.relay.Fronts[c.r.Front].Forwarded
	if by == http1.ForwardedOff {
		return http1.Origin{}
	}
	return http1.Origin{By: by, Client: l.from(c), Trusted: l.trusts(c)}
}
