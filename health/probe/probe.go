// Package probe asks a server whether it is there. A Probe is one question, asked once over a connection of its own;
// its answer is nil, or an error that says in a few words how far the question came: nobody listened, nobody answered
// in time, the answer was broken, or it was an answer with another status. One file holds one protocol. Whoever asks
// decides how often, for how long, and what follows from it.
package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// Probe asks once. nil: the server is there. It returns when ctx ends at the latest.
type Probe func(ctx context.Context) error

// What an error of a Probe can be told apart by, with errors.Is. An answer with a bad status is a StatusError.
var (
	// ErrRefused: nobody listens there (yet), or there is no such socket.
	ErrRefused = errors.New("connection refused")
	// ErrUnconnected: the kernel took no connection before the context ended, as where a queue is full.
	ErrUnconnected = errors.New("not connected in time")
	// ErrNoAnswer: the connection stood, and no answer came before the context ended.
	ErrNoAnswer = errors.New("no answer in time")
	// ErrBroken: what came was no answer of this protocol, or it ended in its middle.
	ErrBroken = errors.New("broken answer")
)

// StatusError is an HTTP answer with a status outside 200 to 299.
type StatusError struct{ Code int }

func (e *StatusError) Error() string { return fmt.Sprintf("answered %d", e.Code) }

// Reach is how far a question came. A server that starts goes through them in this order, so a greater Reach than
// before is progress.
type Reach int

// The reaches, nearest first.
const (
	Nowhere   Reach = iota // nobody listens
	Connected              // somebody listens, and did not answer
	Answered               // somebody answered, and not as hoped
	Passed
)

// ReachOf tells how far the probe came that returned err.
func ReachOf(err error) Reach {
	if err == nil {
		return Passed
	}
	if _, ok := errors.AsType[*StatusError](err); ok {
		return Answered
	}
	if errors.Is(err, ErrNoAnswer) || errors.Is(err, ErrBroken) {
		return Connected
	}
	return Nowhere
}

// dial opens one connection. Its error is ErrRefused wherever nobody listens.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	d.SetMultipathTCP(false)
	conn, err := d.DialContext(ctx, network, address)
	switch {
	case err == nil:
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, os.ErrNotExist):
		return nil, ErrRefused
	case ctx.Err() != nil, isTimeout(err):
		return nil, ErrUnconnected
	default:
		return nil, fmt.Errorf("not connected: %w", cause(err))
	}
	if network != "unix" && metItself(conn) {
		conn.Close()
		return nil, ErrRefused
	}
	return conn, nil
}

// metItself reports whether nobody listens though the connect succeeded: one to a free port of the range that
// connects draw their own port from may hit that very port, and TCP opens it from both ends (RFC 9293, 3.5).
func metItself(conn net.Conn) bool { return conn.LocalAddr().String() == conn.RemoteAddr().String() }

// cause leaves away which addresses and which call an error of package net speaks of: the asker knows them.
func cause(err error) error {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	return err
}

// isTimeout is for a context's deadline, which package net may hear of before the context does.
func isTimeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}
