package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const socketMode = 0o660 // the socket's group may look

// Listen opens the control socket at path: it makes the directory if there is none, removes a socket file that
// nobody listens on any more, and refuses one that somebody does. The file stays when the listener closes, since a
// runner may die and the next one go on with the same descriptor; Remove it when the sidecar ends for good. Errors name
// the path; the caller says what was being opened.
func Listen(ctx context.Context, path string) (*net.UnixListener, error) {
	unlock, err := lockDir(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer unlock()
	if err := clearStale(ctx, path); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	// bind gives the file the mode of the socket less the umask: so it is never wider than it shall be.
	narrow := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var chmodErr error
		err := c.Control(func(fd uintptr) { chmodErr = unix.Fchmod(int(fd), socketMode) })
		return errors.Join(err, chmodErr)
	}}
	l, err := narrow.Listen(ctx, "unix", path)
	if err != nil {
		if bind, ok := errors.AsType[*net.OpError](err); ok {
			err = bind.Err // less the path, which is told already
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	u := l.(*net.UnixListener)
	u.SetUnlinkOnClose(false)
	if err := os.Chmod(path, socketMode); err != nil {
		u.Close()
		return nil, err
	}
	return u, nil
}

// lockDir makes the directory and keeps others from looking for stale files in it until unlock is called: two
// sidecars that start at once must not take each other's new socket for an old one.
func lockDir(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX); err != nil {
		d.Close()
		return nil, err
	}
	return func() { d.Close() }, nil
}

// clearStale removes the socket file of a dead sidecar.
func clearStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("there is a file of this name that is no socket; move it away, or write another --control")
	}
	c, err := net.Dial("unix", path)
	if errors.Is(err, unix.ECONNREFUSED) {
		return os.Remove(path)
	}
	if err != nil {
		return err
	}
	c.Close()
	return inUse(ctx, path)
}

// inUse names who listens on path.
func inUse(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	s, err := NewClient(path).Status(ctx)
	if ctx.Err() != nil {
		return errors.New("somebody listens on it and does not answer; it may be a sidecar that is stopped or hanging")
	}
	if err != nil {
		return errors.New("somebody listens on it who is no sidecar")
	}
	pid := s.Keeper
	if pid == 0 {
		pid = s.Runner
	}
	return fmt.Errorf("sidecar %s is running already, PID %d; write another --name, or stop it", s.Name, pid)
}

// mostConns bounds the connections to one admin listener: their descriptors are taken from the same table as those
// of clients' streams.
const mostConns = 64

// bounded is a listener with at most mostConns connections; more wait in the backlog.
type bounded struct {
	net.Listener
	places chan struct{}
	done   chan struct{}
	once   sync.Once
}

func bound(l net.Listener) *bounded {
	return &bounded{Listener: l, places: make(chan struct{}, mostConns), done: make(chan struct{})}
}

func (b *bounded) Accept() (net.Conn, error) {
	select {
	case b.places <- struct{}{}:
	case <-b.done:
		return nil, net.ErrClosed
	}
	c, err := b.Listener.Accept()
	if err != nil {
		<-b.places
		return nil, err
	}
	u, _ := c.(*net.UnixConn)
	return &boundedConn{Conn: c, passed: passed{unix: u}, free: sync.OnceFunc(func() { <-b.places })}, nil
}

func (b *bounded) Close() error {
	b.once.Do(func() { close(b.done) })
	return b.Listener.Close()
}

// boundedConn gives its place back when it closes.
type boundedConn struct {
	net.Conn
	passed passed
	free   func()
}

func (c *boundedConn) Read(p []byte) (int, error) {
	if c.passed.wanted {
		return c.passed.read(p)
	}
	return c.Conn.Read(p)
}

func (c *boundedConn) Close() error {
	defer c.free()
	c.passed.drop()
	return c.Conn.Close()
}
