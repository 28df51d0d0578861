package keeper

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"time"
)

// Magic marks an arena, whatever its layout.
const Magic = 0x6d6c676f747561 // "autoglm" in memory

// Page is the first page of the arena, the only part that the keeper knows, so it is the same in all layouts and all
// versions: fields are added at the end and never moved. Each field has one writer. The runner stores with sync/atomic,
// since the keeper looks at any time; the keeper, which has no sync/atomic (a race build calls into the race detector
// for it), stores plain aligned words, and the ring of deaths only while no runner lives.
type Page struct {
	Magic  uint64 // by the arena, last of all that makes it one
	Layout uint64 // by the arena: the version of everything behind this page

	Gen       int64  // by the keeper: the runner that it started last
	Takeovers int64  // by the keeper: runners started after another one
	LostExits int64  // by the keeper: exits that the pipe had no room for
	Noted     uint64 // by the keeper: deaths written to Deaths so far

	Ready   int64     // by the runner: its Gen, once its loops run
	Trial   int64     // for the upgrade
	Leaving int64     // 1: the sidecar is to go. By the keeper at SIGTERM and SIGINT, or by the runner
	Halted  int64     // by the runner: when it gave up after too many deaths, CLOCK_MONOTONIC in ns; 0: it has not
	Loops   int64     // by the runner: how many of Ticks are alive
	Ticks   [16]int64 // by loop i: see Tick

	Deaths [304]Death // by the keeper, a ring: death number n (from 0) is at n % 304

	Asked    int64 // by the runner, 1: execute the file at NextExeFD; by the keeper, 0: it does
	Upgrades int64 // by the keeper: files that it executed, or tried to
	Undone   int64 // by the keeper: of these, those that were given back or failed their trial
	Errno    int64 // by the keeper: why execve gave the last one back; 0: it did not
	Failed   int64 // by the keeper: the last runner that failed its trial, or that asked for what was given back
}

// PageVersion is of all pages whose fields mean what they mean here. A program of another one can't follow this one.
const PageVersion = 1

// Death is the end of one runner.
type Death struct {
	Gen    uint32
	When   uint32 // tenths of a second of CLOCK_MONOTONIC: 13 years fit
	Status uint16 // as wait(2) gives it
	Why    Why
	Ready  bool // it had come so far
}

// Why says what kind of death it was.
type Why uint8

// The kinds of death.
const (
	WhyExit    Why = iota + 1 // it ended itself; 2 is a panic
	WhySignal                 // somebody killed it, or a fault of its own
	WhyHang                   // its ticks stood still, and the keeper killed it
	WhyUpgrade                // the keeper killed it to execute the next program
)

// At is when it died, in the time of CLOCK_MONOTONIC.
func (d Death) At() time.Duration { return time.Duration(d.When) * (time.Second / 10) }

// String describes the death as a log line does.
func (d Death) String() string {
	status := syscall.WaitStatus(d.Status)
	switch {
	case d.Why == WhyHang && d.Ready:
		return "hung: a loop stood still"
	case d.Why == WhyHang:
		return "hung: it did not get ready"
	case d.Why == WhyUpgrade:
		return "killed for an upgrade"
	case d.Why == WhySignal:
		return fmt.Sprintf("killed by signal %d (%v)", int(status.Signal()), status.Signal())
	case status.ExitStatus() == exitPanic:
		return "panicked (exit status 2)"
	}
	return fmt.Sprintf("exited with status %d", status.ExitStatus())
}

// exitPanic is the status with which Go's runtime ends a program that panicked or that it can't go on with.
const exitPanic = 2

// Tick notes that loop i moves. A loop that does not tick for 3 s is the runner's death.
func (p *Page) Tick(i int) { atomic.AddInt64(&p.Ticks[i], 1) }

// SetReady says that this runner has taken over and that its first loops of Ticks tick from now on.
func (p *Page) SetReady(loops int) {
	atomic.StoreInt64(&p.Loops, int64(loops))
	atomic.StoreInt64(&p.Ready, Gen())
}

// Leave notes that the sidecar is to go, so that a runner started from now on knows.
func (p *Page) Leave() { atomic.StoreInt64(&p.Leaving, 1) }

// IsLeaving says whether the sidecar is to go. To be asked from time to time, with the ticks, and not only at the start:
// a Ctrl-C that ended the runner before is heard by the keeper alone, and noted here a moment later.
func (p *Page) IsLeaving() bool { return atomic.LoadInt64(&p.Leaving) != 0 }

// LastDeaths returns the deaths that are still in the ring, oldest first.
func (p *Page) LastDeaths() []Death {
	size := uint64(len(p.Deaths))
	deaths := make([]Death, 0, min(p.Noted, size))
	for n := p.Noted - min(p.Noted, size); n < p.Noted; n++ {
		deaths = append(deaths, p.Deaths[n%size])
	}
	return deaths
}
