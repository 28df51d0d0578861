package child

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// pidfd is one process, never a later one with the same number (pidfd_open(2)).
type pidfd struct{ file *os.File }

// openPidfd fails with ESRCH where the process was reaped already.
func openPidfd(pid int) (pidfd, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK) // close-on-exec, as all of them are
	if err != nil {
		return pidfd{}, fmt.Errorf("open pidfd of process %d: %w", pid, err)
	}
	return pidfd{os.NewFile(uintptr(fd), "pidfd")}, nil
}

func (p pidfd) close() { p.file.Close() }

// signal sends to this process alone. ESRCH: it was reaped.
func (p pidfd) signal(s syscall.Signal) error { return p.send(s, 0) }

// signalGroup sends to the process group that this process leads or led, all at once, so that none of it can fork
// away meanwhile. EINVAL: a kernel before 6.9.
func (p pidfd) signalGroup(s syscall.Signal) error {
	return p.send(s, unix.PIDFD_SIGNAL_PROCESS_GROUP)
}

func (p pidfd) send(s syscall.Signal, flags int) error {
	var sent error
	err := p.control(func(fd int) { sent = unix.PidfdSendSignal(fd, s, nil, flags) })
	return errors.Join(err, sent)
}

func (p pidfd) control(f func(fd int)) error {
	raw, err := p.file.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) { f(int(fd)) })
}

// wait returns nil as soon as the process is a zombie with no thread left, or reaped. One caller at a time.
func (p pidfd) wait(ctx context.Context) error {
	raw, err := p.file.SyscallConn()
	if err != nil {
		return err
	}
	if err := p.file.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { p.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	// A pidfd can't be read; to Go's poller it becomes readable when the process is gone.
	err = raw.Read(func(fd uintptr) bool { return readable(int(fd)) })
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ctx.Err()
	}
	return err
}

func readable(fd int) bool {
	set := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(set, 0)
	return err == nil && n == 1
}
