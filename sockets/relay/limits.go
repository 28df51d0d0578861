package relay

import (
	"fmt"
	"sync"
	"time"

	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/http1"
	"autoglm-sidecar/sockets/kernel"
	"autoglm-sidecar/sockets/openai"
)

// Limits bound what clients may do. Of a time, a rate or a number 0 is no bound. What is measured of a client begins anew
// with each runner: a death of ours is none of its faults.
type Limits struct {
	PerAddress int           // connections of one client address at a time
	HeadSize   int           // bytes of a request's head; 0, and above it: http1.MaxHead
	HeadTime   time.Duration // from a head's first byte to its last
	BodyRate   int64         // bytes a second that a request's body must come with, after BodyGrace
	BodyGrace  time.Duration
	Stalled    time.Duration // a client that takes nothing for so long is client_stalled
	Idle       time.Duration // of a connection between two requests, or before the first
}

// leastGrace is what TCP may need to send a packet anew.
const leastGrace = 5 * time.Second

// grace is BodyGrace, but never so short that a packet that gets lost would use it up.
func (m *Limits) grace() int64 { return int64(max(m.BodyGrace, leastGrace)) }

// patience is what is measured of a client while a request of its is under way.
type patience struct {
	credit    int64 // ns that it may still keep us waiting for its body
	wantedAt  int64 // since when nothing came that we would read, 0: we don't wait for it
	blockedAt int64 // since when it hasn't taken anything of what is there for it, 0: it has
	askAt     int64 // when the kernel is asked whether that is so
	untaken   int64 // what the kernel said when it was asked last, -1: it wasn't
}

// stallLooks is how often the kernel is asked in the time after which a client is stalled.
const stallLooks = 4

// observe starts and stops what is measured, after each turn of a connection.
func (l *lane) observe(c *conn) {
	p, m := &c.patience, &l.relay.Limits
	switch wants := l.wantsBody(c); {
	case wants && p.wantedAt == 0:
		p.wantedAt = l.now
	case !wants && p.wantedAt != 0:
		l.fed(c, 0)
	}
	switch {
	case !c.clientBlocked():
		p.blockedAt = 0
	case p.blockedAt == 0:
		p.blockedAt, p.untaken, p.askAt = l.now, -1, l.now+int64(m.Stalled)/stallLooks
	}
}

// wantsBody: we would go on with the request, and it is the client who doesn't. What isn't read because the worker is slow,
// or because the stream waits, is nobody's fault; a worker that answers already doesn't need it.
func (l *lane) wantsBody(c *conn) bool {
	return l.relay.Limits.BodyRate > 0 && c.r.Phase == arena.Relay && l.wantsRequest(c) && !c.clientIn && !c.r.Has(arena.AnswerBegun)
}

// fed ends a wait for a client's body. Each byte that came buys the time that it may take at the lowest rate, up to the
// grace: so the rate is asked for at any time, and not of all that went before.
func (l *lane) fed(c *conn, bytes int) {
	p, m := &c.patience, &l.relay.Limits
	if p.wantedAt != 0 {
		p.credit -= l.now - p.wantedAt
		p.wantedAt = 0
	}
	if m.BodyRate > 0 {
		p.credit = min(p.credit+int64(bytes)*int64(time.Second)/m.BodyRate, m.grace())
	}
}

// patienceEnds is when something of that is over if nothing happens, 0 for never.
func (c *conn) patienceEnds(m *Limits) (at int64) {
	if c.patience.wantedAt != 0 {
		at = c.patience.wantedAt + max(c.patience.credit, 0)
	}
	if m.Stalled > 0 && c.patience.blockedAt != 0 {
		at = sooner(at, c.patience.askAt)
	}
	return at
}

// impatient does what has to be done when it is over. It says whether there was anything.
func (l *lane) impatient(c *conn) bool {
	p, m := &c.patience, &l.relay.Limits
	if at := c.patienceEnds(m); at == 0 || at > l.now {
		return false
	}
	if p.wantedAt != 0 && p.wantedAt+max(p.credit, 0) <= l.now {
		l.refuse(c, 408, "body_timeout", "the request's body came too slowly")
		return true
	}
	// That the socket doesn't get writable says little: it may hold megabytes, of which the client takes some all the time.
	untaken := l.k.Untaken(c.r.Client)
	if p.untaken >= 0 && untaken >= p.untaken && l.now-p.blockedAt >= int64(m.Stalled) {
		l.k.Reset(c.r.Client) // nothing else is sure to tell it that this was not the end
		l.clientEnds(c, arena.ClientStalled)
		return true
	}
	if p.untaken >= 0 && untaken < p.untaken {
		p.blockedAt = l.now
	}
	p.untaken, p.askAt = untaken, l.now+int64(m.Stalled)/stallLooks
	return true
}

// sooner is the earlier of two times of which 0 is never.
func sooner(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// crowd counts the connections of each client address, for all lanes. It is empty where there is no bound.
type crowd struct {
	mu   sync.Mutex // guards here
	here map[uint64]int
}

func (w *crowd) add(client uint64, by int) (now int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.here == nil {
		w.here = map[uint64]int{}
	}
	now = w.here[client] + by
	if w.here[client] = now; now == 0 {
		delete(w.here, client)
	}
	return now
}

// join counts a connection among those of its address, and part takes it out. Trusted addresses are proxies, each of which
// stands for many clients, and who has no address came by a file that may be guarded: they are not counted.
func (l *lane) join(c *conn) {
	if client := l.from(c); l.relay.Limits.PerAddress > 0 && client.IsValid() && !l.trusts(c) {
		l.relay.crowd.add(household(client), 1)
		c.counted = true
	}
}

func (l *lane) part(c *conn) {
	if c.counted {
		l.relay.crowd.add(household(c.from), -1)
	}
}

// turnAway says no to a client whose address has as many connections as it may. It costs no slot, and is said to a whole
// request: where one has come it is read, or the close would take the answer out of the client's own buffer.
func (l *lane) turnAway(client kernel.Conn, front int) bool {
	most := l.relay.Limits.PerAddress
	if most == 0 {
		return false
	}
	at := l.k.PeerAddr(client.Socket)
	if !at.IsValid() || l.relay.Fronts[front].trusts(at) || l.relay.crowd.add(household(at), 0) < most {
		return false
	}
	l.count.TurnedAway.Add(1)
	if len(l.waste) == 0 {
		l.waste = make([]byte, http1.MaxHead)
	}
	// What can't be said isn't: this client has no stream that could be lost.
	_, _ = l.k.Read(client.Socket, l.waste)
	_, _ = l.k.Send(client.Socket, tooMany)
	l.k.HalfClose(client.Socket)
	l.close(client)
	return true
}

// tooMany is what a client is told that has too many connections.
var tooMany = func() []byte {
	body := openai.AppendErrorBody(nil, "too_many_connections", "this address has as many connections as it may have at once")
	return fmt.Appendf(nil, "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"+
		"Retry-After: %d\r\nx-should-retry: true\r\nConnection: close\r\n\r\n%s", len(body), retryAfter, body)
}()
