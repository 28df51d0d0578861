package daemon

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/keeper"
)

// A connection may need so many descriptors: the client's, the worker's, and the two of a pipe before each that is a unix
// socket. Some are for everything else.
const (
	descriptorsEach  = 6
	descriptorsSpare = 200
)

// slots is how many client connections there may be: as many as were asked for, if there are descriptors for them.
func (d *daemon) slots() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > 1<<30 {
		return d.Limits.Connections
	}
	most := max(1, (int(limit.Cur)-descriptorsSpare)/descriptorsEach)
	if most < d.Limits.Connections {
		d.Log.Warn("fewer connections than --max-connections: the limit of open files (ulimit -n, LimitNOFILE=) is too low",
			"connections", most, "wanted", d.Limits.Connections, "files", limit.Cur)
	}
	return min(most, d.Limits.Connections)
}

// openMemory finds the arena that an earlier runner left, or makes one. found says which.
func openMemory(s arena.Size) (a *arena.Arena, found bool, err error) {
	if keeper.Gen() == 0 {
		a, err = arena.Private(s)
		return a, false, err
	}
	a, found, err = arena.Open(keeper.ArenaFD)
	if err != nil || found {
		return a, found, err
	}
	a, err = arena.Create(keeper.ArenaFD, s)
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
