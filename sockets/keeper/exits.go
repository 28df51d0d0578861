package keeper

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Exit is the end of a process that the keeper was the parent of: the worker (started with CLONE_PARENT), an orphan of
// it, or what a dead runner had started.
type Exit struct {
	PID    int
	Status syscall.WaitStatus
}

// exitBytes is the size of an exit in the pipe: PID and status, 32 bits each, in the machine's order. The keeper writes
// one whole or not at all.
const exitBytes = 8

var errNoKeeper = errors.New("there is no keeper")

// ReadExits calls each for all exits, those from the time of earlier runners first, until ctx is done; then it returns
// ctx's error. One reader at a time. An exit that was read by a runner which died before it made use of it is lost.
func ReadExits(ctx context.Context, each func(Exit)) error {
	if own.gen == 0 {
		return fmt.Errorf("read exits: %w", errNoKeeper)
	}
	// A duplicate, because an os.File closes its descriptor at the end.
	fd, err := unix.FcntlInt(ExitsReadFD, unix.F_DUPFD_CLOEXEC, EndFixed)
	if err != nil {
		return fmt.Errorf("read exits: %w", err)
	}
	pipe := os.NewFile(uintptr(fd), "exits")
	defer pipe.Close()
	stop := context.AfterFunc(ctx, func() { _ = pipe.SetReadDeadline(time.Unix(0, 0)) })
	defer stop()

	buffer := make([]byte, 512*exitBytes)
	for {
		n, err := pipe.Read(buffer)
		for record := buffer[:n]; len(record) >= exitBytes; record = record[exitBytes:] {
			each(Exit{
				PID:    int(binary.NativeEndian.Uint32(record)),
				Status: syscall.WaitStatus(binary.NativeEndian.Uint32(record[4:])),
			})
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return fmt.Errorf("read exits: %w", err)
		}
	}
}
