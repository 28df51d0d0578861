package sockets

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"autoglm-sidecar/sockets/tcpdiag"
)

// socketMode is the mode of a socket's file: its owner and its group may connect.
const socketMode = 0o660

// bindFile does it for ListenUnix. Its errors name the path.
func bindFile(ctx context.Context, path string, taken func() error) (*net.UnixListener, error) {
	unlock, err := lockDir(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer unlock()
	if err := clearStale(path, taken); err != nil {
		return nil, err
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
		return nil, errors.Join(err, os.Remove(path))
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

// clearStale removes the socket file that a dead process left.
func clearStale(path string, taken func() error) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("%s: %w", path, err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s: there is a file of this name that is no socket; move it away, or write another path", path)
	}
	c, err := net.Dial("unix", path)
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return os.Remove(path)
	case err == nil:
		c.Close()
	case !errors.Is(err, unix.EAGAIN): // its backlog is full, so there is somebody
		return fmt.Errorf("%s: %w", path, err)
	}
	return taken()
}

// inUseAt finds out who listens on path.
func inUseAt(path string) *InUseError {
	e := &InUseError{Address: "unix:" + path}
	var err error
	if e.Owners, err = tcpdiag.Owners("unix", path); err != nil {
		e.Hidden = err.Error()
	}
	return e
}
