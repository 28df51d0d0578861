// Package kernel is the only room with system calls on streams: accept, connect, read, send, close, and the questions
// that a take-over asks (how many bytes did the dead process take out of this socket, how many did it hand over?).
// The answers rest on what the kernel counts, so they hold whenever and wherever the process died.
//
// Beside the real one, Linux, there is a fake in the folder below, that can be killed before and after each call.
package kernel

import (
	"net/netip"
	"syscall"
)

// Errno is a system call's error; 0 is none.
type Errno = syscall.Errno

// Address is where a worker listens: a TCP address, or the path of a unix socket.
type Address struct {
	TCP  netip.AddrPort
	Unix string
}

func (a Address) String() string {
	if a.Unix != "" {
		return "unix:" + a.Unix
	}
	return a.TCP.String()
}

// Conn is one connection, a client's or to a worker. A unix socket counts nothing that was put into it, so bytes reach it
// through a pipe of its own: what the pipe still holds tells how much went on.
type Conn struct {
	Socket       int32
	PipeR, PipeW int32 // -1 on TCP
}

// None is no connection.
var None = Conn{-1, -1, -1}

// Kernel is what the relay needs of the kernel. No call blocks. EAGAIN comes back as such, EINTR never.
type Kernel interface {
	// Now is CLOCK_MONOTONIC in nanoseconds.
	Now() int64

	// Accept takes a client's connection from a listener. Adopt makes one of a socket that a dead runner had accepted, and of
	// which nothing was read.
	Accept(listener int) (Conn, Errno)
	Adopt(socket int32) (Conn, Errno)
	// Connect begins a connection to a worker; Connected tells, when it is writable, how that went.
	Connect(to Address) (Conn, Errno)
	Connected(socket int32) Errno
	// Quiet says that there is nothing to read from a connection, neither a byte nor its end.
	Quiet(socket int32) bool

	Read(fd int32, b []byte) (int, Errno)
	// Send gives b to a TCP socket.
	Send(fd int32, b []byte) (int, Errno)
	// Pipe puts b into an empty pipe; Pour moves up to n bytes from the pipe into its unix socket.
	Pipe(c Conn, b []byte) (int, Errno)
	Pour(c Conn, n int) (int, Errno)

	// HalfClose sends a FIN and goes on reading. Reset makes the close that follows an RST; unix sockets know none, there the
	// peer hears of a close as of an error only where something of its own was left unread.
	HalfClose(fd int32)
	Reset(fd int32)
	Close(fd int32)

	// Taken is how many bytes were ever read from fd, of which noted were noted. It fails where the kernel can't tell.
	Taken(fd int32, noted int64) (int64, error)
	// Lap must be called on a unix socket after each quarter of a GiB taken from it, or Taken fails.
	Lap(socket int32)
	// Given is how many bytes TCP socket fd ever accepted; connected says that we connected it, rather than accepted it. It
	// may be one too high after a HalfClose, once the connection is over.
	Given(fd int32, connected bool) (int64, error)
	// Untaken is how many bytes that were given to fd its other end has not taken, and their wrapping in the kernel; a TCP peer
	// takes them by acknowledging them. It is for comparing with itself: 0 where the kernel can't tell.
	Untaken(fd int32) int64
	// InPipe is how many bytes a connection's pipe holds. It fails where c's pipe is none.
	InPipe(c Conn) (int64, error)

	// Descriptors lists the sockets and pipes that a dead runner left and that lie at no fixed number. Local is the address that
	// stream socket fd is bound to, an accepted one's that of its listener (or the one of several that its client took); zero
	// for what is bound to none, or is no such socket.
	Descriptors() ([]int32, error)
	Local(fd int32) Address
	// Peer is the address of the other end, for people; of a unix socket's, whose process it was that connected. PeerAddr is
	// the same without the port, zero where the other end has no IP address.
	Peer(fd int32) string
	PeerAddr(fd int32) netip.Addr
}
