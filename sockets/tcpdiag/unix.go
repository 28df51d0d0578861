package tcpdiag

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// dialPatience bounds a connect to a path; the kernel answers it at once, from the backlog.
const dialPatience = time.Second

// unixOwners connects and asks who called listen(2) on the other end: this is the very socket that a client gets,
// whatever else was bound under the same name once, or elsewhere. Where that process is gone, as after a parent that
// left its socket to its children, whoever holds a listening socket of this name is the owner.
func unixOwners(candidates among, path string) ([]int, error) {
	pid, err := listenedBy(path)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return nil, ErrNobody
	case err == nil && alive(pid):
		return []int{pid}, nil
	}
	named, err := namedListeners(path)
	if err != nil {
		return nil, fmt.Errorf("who listens on %s: %w", path, err)
	}
	if len(named) == 0 {
		return nil, &HiddenError{UID: -1}
	}
	return holders(candidates, named)
}

func listenedBy(path string) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dialPatience)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var listener *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		listener, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, credErr); err != nil {
		return 0, err
	}
	return int(listener.Pid), nil
}

// alive reports whether the process exists and is no zombie, which holds nothing any more. PID 0 stands for a process
// of another namespace.
func alive(pid int) bool {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return false
	}
	stat, err := p.Stat()
	return err == nil && stat.State != "Z" && stat.State != "X"
}

// unixListening is __SO_ACCEPTCON of include/uapi/linux/net.h, in the Flags of /proc/net/unix.
const unixListening = 1 << 16

// namedListeners returns the listening sockets that were bound with this path. procfs gives a path up to its first
// space, so we compare no more.
func namedListeners(path string) ([]listener, error) {
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return nil, err
	}
	table, err := proc.NetUNIX()
	if err != nil {
		return nil, err
	}
	name, _, _ := strings.Cut(filepath.Clean(path), " ")
	var found []listener
	for _, socket := range table.Rows {
		if socket.Flags&unixListening != 0 && socket.Path == name {
			found = append(found, listener{inode: socket.Inode, uid: -1})
		}
	}
	return found, nil
}
