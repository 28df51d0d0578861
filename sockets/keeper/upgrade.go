package keeper

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Upgrade asks the keeper to execute the program that is open at fd, which it takes. This process is killed for it, a
// moment later. Whether the file is fit is the caller's to find out: the keeper sees only whether the kernel takes it, and
// then whether the runner of it stays alive.
func Upgrade(p *Page, fd int) error {
	if own.gen == 0 {
		return fmt.Errorf("upgrade: %w", errNoKeeper)
	}
	if _, err := Place(fd, NextExeFD); err != nil {
		return fmt.Errorf("upgrade: %w", err)
	}
	atomic.StoreInt64(&p.Asked, 1)
	// The keeper looks twice a second, and at once when it hears of a child. If it can't be woken it is dead, and its
	// successor will look.
	_ = unix.Kill(own.pid, unix.SIGCHLD)
	return nil
}

// Upgrades is what has come of the upgrades so far.
type Upgrades struct {
	Tried   int64         // files that the keeper executed, or tried to
	Undone  int64         // of these, those that the kernel gave back or that failed their trial
	OnTrial bool          // the program that runs is on trial: if its runner dies, the one before it comes back
	Left    time.Duration // of the trial
	Failed  int64         // the last runner whose program was undone, or that asked for one which was given back; 0: none
	Why     string        // what happened to it; empty: nothing, or it is forgotten
}

// Upgraded tells of the upgrades; now is the time of CLOCK_MONOTONIC.
func (p *Page) Upgraded(now time.Duration) Upgrades {
	u := Upgrades{
		Tried: atomic.LoadInt64(&p.Upgrades), Undone: atomic.LoadInt64(&p.Undone), Failed: atomic.LoadInt64(&p.Failed),
	}
	if since := atomic.LoadInt64(&p.Trial); since != 0 {
		u.OnTrial, u.Left = true, max(0, trialTime-(now-time.Duration(since)))
	}
	if errno := atomic.LoadInt64(&p.Errno); errno != 0 {
		u.Why = "the kernel did not execute it: " + syscall.Errno(errno).Error()
		return u
	}
	for _, d := range p.LastDeaths() {
		if int64(d.Gen) == u.Failed {
			u.Why = "its runner " + d.String()
		}
	}
	return u
}
