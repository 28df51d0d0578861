// Package keeper lets the sidecar die without its streams. The program's entry point is here, in front of Go's
// runtime: it clones the process once, with one descriptor table for both. The child goes on into the runtime and is
// the runner, the sidecar as people know it. The parent never starts Go: it is the keeper, which waits, passes
// signals on, looks at the runner's ticks, and when the runner dies, of whatever cause, clones the next one. All
// sockets are still open then, at the numbers they had, and the next runner takes over from the arena.
//
// The files named bare_*.go are the keeper proper. They run where there is no runtime: no stack that grows, no heap,
// no goroutine, no panic. Each function there is go:nosplit and go:norace, works on package variables and makes raw
// system calls; a test reads the machine code and refuses any call into the runtime. The other files are ordinary
// Go, for the runner: what it asks of its keeper, and what both know of the arena's first page.
//
// It takes -ldflags '-E autoglm-sidecar/sockets/keeper.Entry' and internal linking (CGO_ENABLED=0, or
// -linkmode=internal with -race): an external linker drops -E without a word. A program built otherwise runs as
// well, has no keeper, and Info says so. On arm64 it is built and linked by the tests, and was run in an emulated
// machine (make arm64).
package keeper

import (
	"syscall"
	"time"
)

// The fixed descriptors: what must be found again by a runner that knows nothing yet. The keeper puts /dev/null on
// all of them before Go starts, so that no other file ever gets one of these numbers. They stay clear of the numbers
// from 3 on, where a service manager hands sockets over.
const (
	FirstFixed = 100

	ArenaFD       = 100 // the arena's memfd, sealed; its first page is a Page
	OldExeFD      = 101 // while an upgrade is on trial: the program to go back to
	NextExeFD     = 102 // the program that an upgrade is to execute
	ExitsReadFD   = 103 // a pipe of exits of other children than the runner: see ReadExits
	ExitsWriteFD  = 104
	FrontFD       = 105 // the first front's listener
	ControlFD     = 106 // the control socket's listener
	HTTPFD        = 107 // the listener of --http
	OutputReadFD  = 108 // what the worker prints, non-blocking
	OutputWriteFD = 109 // the worker's stdout and stderr, blocking; open here too, so that our death is no EPIPE
	LifeFD        = 110 // the pidfd of the life
	MoreFrontsFD  = 111 // the second front's listener; the other fronts' follow
	FoundingFD    = 115 // what the first runner was told and found: see Founding

	EndFixed = 116 // the first number behind them; those in between are spare
)

// FrontAt is the fixed number of the listener of front i, counted from 0.
func FrontAt(i int) int {
	if i == 0 {
		return FrontFD
	}
	return MoreFrontsFD + i - 1
}

// OrphanedSignal is what the kernel sends to the runner when its keeper is gone (PR_SET_PDEATHSIG). A realtime signal
// of no meaning to anybody else; Go drops it where nobody asked for it.
const OrphanedSignal = syscall.Signal(40)

// NoKeeperVariable is the environment variable that, set to 1, makes `run` start without a keeper: for a debugger,
// under which a stopped runner must not count as a hanging one.
const NoKeeperVariable = "AUTOGLM_SIDECAR_NO_KEEPER"

// What the keeper goes by. It looks at the ticks twice a second; a loop ticks ten times a second.
const (
	lookEvery     = 500 * time.Millisecond
	lateLook      = 500 * time.Millisecond // a look that comes later than this finds a machine that stood still, not a hang
	stillLooks    = 6                      // looks without a change of one loop's tick: it hangs
	readyPause    = 10 * time.Millisecond  // how soon the keeper sees that a runner is ready, and can hear signals
	unreadyLooks  = 40                     // looks without "ready": 20 s
	unreadyLives  = 5                      // in a row: the program can't start, and the keeper gives up
	trialTime     = 30 * time.Second       // a program that an upgrade brought goes back if its runner dies within this
	trialLooks    = 10                     // looks without "ready" in that time: 5 s, since the old program waits
	quitWindow    = 10 * time.Second       // a death so soon after SIGQUIT or SIGABRT was wanted
	tableSize     = 1 << 16                // descriptors that the table is grown to
	outputSize    = 256 << 10              // bytes of the worker's output that wait for the next runner
	cloneTries    = 50                     // at clonePause each, for a machine that is out of processes
	clonePause    = 200 * time.Millisecond
	exitNoProcess = 111 // the keeper's exit status where it could not clone
)

// Entry is the program's entry point, to be named to the linker and to nobody else.
func Entry()
