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

// frontMode is the mode of a front's file: its owner and its group may connect.
const frontMode = 0o660

// bindFile makes a listener at path: it makes the directory if there is none, removes a socket file that nobody listens
// on any more, and refuses one that somebody does, or that is no socket. The file stays when the listener closes, since a
// runner may die and the next one go on with the same descriptor.
func bindFile(ctx context.Context, path string) (*net.UnixListener, error) {
	unlock, err := lockDir(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer unlock()
	if err := clearStale(path); err != nil {
		return nil, err
	}
	// bind gives the file the mode of the socket less the umask: so it is never wider than it shall be.
	narrow := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var chmodErr error
		err := c.Control(func(fd uintptr) { chmodErr = unix.Fchmod(int(fd), frontMode) })
		return errors.Join(err, chmodErr)
	}}
	l, err := narrow.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	u := l.(*net.UnixListener)
	u.SetUnlinkOnClose(false)
	if err := os.Chmod(path, frontMode); err != nil {
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
func clearStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
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
		return err
	}
	in := &InUseError{Address: "unix:" + path}
	if in.Owners, err = tcpdiag.Owners("unix", path); err != nil {
		in.Hidden = err.Error()
	}
	return in
}
