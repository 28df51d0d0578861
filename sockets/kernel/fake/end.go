package fake

import "net/netip"

// End is the far end of a connection: a client's, or the worker's. What is done at it is done by other processes, so
// no hook runs.
type End struct {
	k *Kernel
	s *socket
}

// SomeClient is the address of clients of which nothing else is said.
var SomeClient = netip.MustParseAddr("192.0.2.1")

// Client connects to the TCP front.
func (k *Kernel) Client() *End { return k.ClientAt(Front, SomeClient) }

// ClientAt connects to a front, to a TCP one from an address.
func (k *Kernel) ClientAt(front int, from netip.Addr) *End {
	at := BoundTo(front)
	ours, theirs := k.pair(at, at.Unix != "")
	if at.Unix == "" {
		ours.from = from
	}
	k.backlog[int32(front)] = append(k.backlog[int32(front)], ours)
	return &End{k, theirs}
}

// Worker accepts a connection to the worker, nil where there is none.
func (k *Kernel) Worker() *End {
	if len(k.dialled) == 0 {
		return nil
	}
	s := k.dialled[0]
	k.dialled = k.dialled[1:]
	return &End{k, s}
}

// Refuse makes connections to the worker fail from now on, or not.
func (k *Kernel) Refuse(on bool) { k.refuse = on }

// Write puts as much of b into the connection as fits and returns how much that was.
func (e *End) Write(b []byte) int {
	n, _ := e.k.put(e.s, b)
	return n
}

// Read takes up to most bytes; ended says that no more will come, broken that it was by an RST.
func (e *End) Read(most int) (b []byte, ended, broken bool) {
	n := min(most, len(e.s.in))
	b = e.s.in[:n:n]
	e.s.in = e.s.in[n:]
	if n == 0 {
		return nil, e.s.fin || e.s.reset, e.s.reset
	}
	return b, false, false
}

// Window sets how much this end lets pile up before it is read.
func (e *End) Window(bytes int) { e.s.room = bytes }

// HalfClose ends what this end sends.
func (e *End) HalfClose() { e.s.finish() }

// Close ends the connection, by an RST where something was left unread.
func (e *End) Close() { e.s.close() }

// Reset ends the connection by an RST.
func (e *End) Reset() { e.s.gone, e.s.peer.fin, e.s.peer.reset = true, true, true }

// Closed says whether the other side has closed.
func (e *End) Closed() bool { return e.s.peer.gone }

// Descriptor is the number under which the other side has the connection, -1 where it was not accepted, or is closed.
func (e *End) Descriptor() int32 {
	for fd, file := range e.k.files {
		if file == e.s.peer {
			return fd
		}
	}
	return -1
}
