package arena

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Account is what the supervisor's side counts and no runner's death may take back. What the kinds of deaths mean
// is known there.
type Account struct {
	Deaths      [8]atomic.Int64 // of runners, by kind
	DeathsSeen  atomic.Uint64   // how many of the keeper's notes are in that
	StateErrors atomic.Int64    // times that something could not be kept on disk
	ClockJumps  atomic.Int64    // times that the wall clock was seen to jump
}

// Account returns it.
func (a *Arena) Account() *Account { return &a.header().account }

// Size is how much memory the arena could come to, Touched how much of it there is now; 0 where nobody can tell.
func (a *Arena) Size() int64 { return int64(len(a.mem)) }

// Touched is described with Size.
func (a *Arena) Touched() int64 {
	var file unix.Stat_t
	if a.fd < 0 || unix.Fstat(a.fd, &file) != nil {
		return 0
	}
	return file.Blocks * 512
}
