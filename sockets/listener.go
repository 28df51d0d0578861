// Package sockets opens the listeners that outlive us. Each lies at a fixed number of the keeper's descriptor table: the
// first runner binds it there, each later one finds it, still listening, with the connections that came in between in
// its backlog. So no client is refused while we die.
//
// What streams through them is the affair of the rooms below: relay, gate, arena and the rest.
package sockets

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"autoglm-sidecar/sockets/keeper"
)

// Listener is a listening socket. It does not block, and no child of ours inherits it.
type Listener struct {
	Name      string   // for people: front, control, http
	FD        int      // its fixed number; without a keeper, whichever it got
	Addr      net.Addr // what it is bound to; where port 0 was asked for, the port that it got
	Inherited bool     // an earlier runner bound it
}

// NetListener returns a net.Listener on the same socket, for net/http. It has a descriptor of its own: closing it stops
// accepting there and leaves l as it is, and after our death it is a stray, which the next runner closes.
func (l *Listener) NetListener() (net.Listener, error) {
	fd, err := duplicate(uintptr(l.FD))
	if err != nil {
		return nil, fmt.Errorf("use listener %s: %w", l.Name, err)
	}
	file := os.NewFile(uintptr(fd), l.Name)
	defer file.Close() // FileListener makes one more
	listener, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("use listener %s: %w", l.Name, err)
	}
	return listener, nil
}

// Close ends it for good: connections are refused from now on. The file of a unix socket is removed.
func (l *Listener) Close() error {
	var removed error
	if l.Addr.Network() == "unix" {
		removed = os.Remove(l.Addr.String())
	}
	if err := errors.Join(keeper.Vacate(l.FD), removed); err != nil {
		return fmt.Errorf("close listener %s: %w", l.Name, err)
	}
	return nil
}

// keep moves the socket of a listener to the fixed number, in the place of whatever was there.
func keep(name string, fixed int, bound net.Listener) (*Listener, error) {
	defer bound.Close() // its own descriptor; the socket goes on
	fd, err := socketOf(bound)
	if err != nil {
		return nil, fmt.Errorf("keep listener %s: %w", name, err)
	}
	at, err := keeper.Place(fd, fixed)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("keep listener %s: %w", name, err)
	}
	return &Listener{Name: name, FD: at, Addr: bound.Addr()}, nil
}

// socketOf returns a new descriptor of a listener's socket.
func socketOf(l net.Listener) (int, error) {
	conn, ok := l.(syscall.Conn)
	if !ok {
		return -1, fmt.Errorf("%T has no descriptor", l)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return -1, err
	}
	var fd int
	var dupErr error
	if err := raw.Control(func(its uintptr) { fd, dupErr = duplicate(its) }); err != nil {
		return -1, err
	}
	return fd, dupErr
}

// duplicate gives a descriptor another number, behind the fixed ones.
func duplicate(fd uintptr) (int, error) {
	return unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, keeper.EndFixed)
}
