package daemon

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/keeper"
)

// openMemory finds the arena that an earlier runner left, or makes one. found says which.
func openMemory(slots int) (a *arena.Arena, found bool, err error) {
	if keeper.Gen() == 0 {
		a, err = arena.Private(slots)
		return a, false, err
	}
	a, found, err = arena.Open(keeper.ArenaFD)
	if err != nil || found {
		return a, found, err
	}
	a, err = arena.Create(keeper.ArenaFD, slots)
	return a, false, err
}

// monotonic is CLOCK_MONOTONIC, in which everything that outlives a runner is timed.
func monotonic() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(fmt.Sprintf("daemon: this machine has no monotonic clock: %v", err))
	}
	return time.Duration(t.Nano())
}
