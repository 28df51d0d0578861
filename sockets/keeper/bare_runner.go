package keeper

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const keeperName = "autoglm-keeper\x00"

// startRunner clones. It returns twice: true in the runner, which goes on into Go's runtime, false in the keeper.
//
//go:nosplit
//go:norace
func startRunner() bool {
	own.gen++
	if page := findPage(); page != nil {
		page.Gen = own.gen
		page.Takeovers++
	}
	own.ended, own.hung = false, false
	for range cloneTries {
		own.runner = call6(unix.SYS_CLONE, unix.CLONE_FILES|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		switch {
		case own.runner == 0:
			settleRunner()
			return true
		case own.runner > 0:
			// Another name than the program's, so that `pkill -9 autoglm-sidecar` does not hit us both.
			call(unix.SYS_PRCTL, unix.PR_SET_NAME, text(keeperName), 0)
			own.watch.begin(monotonic())
			return false
		}
		own.pause = unix.Timespec{Nsec: int64(clonePause)}
		call6(unix.SYS_PPOLL, 0, 0, uintptr(unsafe.Pointer(&own.pause)), 0, 0, 0)
	}
	say("autoglm-sidecar: the keeper can't start a runner: clone fails for want of processes or memory\n")
	call(unix.SYS_EXIT_GROUP, exitNoProcess, 0, 0)
	return false
}

// settleRunner is the runner's first work, in front of Go's runtime.
//
//go:nosplit
//go:norace
func settleRunner() {
	setFileLimit()
	call(unix.SYS_PRCTL, unix.PR_SET_NAME, own.name, 0)
	// Until Go has handlers, OrphanedSignal would end us; ignored, it is lost, and Orphaned tells. It is asked for
	// here, since it goes with the thread: this one, the first, is the only one that lives as long as the process.
	setAction(parentDeath, ignoreAction)
	call(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, parentDeath, 0)
	// Go seeds math/rand and its maps with 16 bytes that the kernel laid on the first stack. All runners have
	// copies of that one stack: with the same bytes each would draw the numbers of the one before it.
	if own.random != 0 {
		call(unix.SYS_GETRANDOM, own.random, 16, unix.GRND_NONBLOCK)
	}
	setMask(own.mask)
}

// attend stays at the runner's side until it is dead.
//
//go:nosplit
//go:norace
func attend() {
	for !own.ended {
		if signal := nextSignal(); signal > 0 {
			passOn(signal)
		}
		reap()
		if !own.ended && own.watch.hangs(monotonic(), findPage(), own.gen) {
			own.hung = true
			killRunner()
		}
		endTrial()
		if !own.ended && isAsked() {
			killRunner() // it loses nothing by it, so that is the way to stop it
		}
	}
}

//go:nosplit
//go:norace
func killRunner() { call(unix.SYS_KILL, uintptr(own.runner), uintptr(unix.SIGKILL), 0) }

// reap waits for all dead children. The runner's death is reported only when the last of its threads is gone, so
// none of them writes beside its successor. Others are the worker and its orphans: noted for ReadExits.
//
//go:nosplit
//go:norace
func reap() {
	for {
		pid := call6(unix.SYS_WAIT4, ^uintptr(0), uintptr(unsafe.Pointer(&own.status)), unix.WNOHANG, 0, 0, 0)
		if pid <= 0 {
			return
		}
		if pid == own.runner {
			own.ended, own.death = true, own.status
			continue
		}
		own.pair[0], own.pair[1] = int32(pid), own.status
		r := call(unix.SYS_WRITE, ExitsWriteFD, uintptr(unsafe.Pointer(&own.pair)), exitBytes)
		if page := findPage(); page != nil && r < 0 {
			page.LostExits++
		}
	}
}

//go:nosplit
//go:norace
func noteDeath() {
	page := findPage()
	if page == nil {
		return
	}
	why := WhyExit
	switch {
	case own.hung:
		why = WhyHang
	case killedBy() == uintptr(unix.SIGKILL) && page.Asked != 0:
		why = WhyUpgrade
	case killedBy() != 0:
		why = WhySignal
	}
	page.Deaths[page.Noted%uint64(len(page.Deaths))] = Death{
		Gen: uint32(own.gen), When: uint32(monotonic() / 1e8), Status: uint16(own.death), Why: why, Ready: page.Ready == own.gen,
	}
	page.Noted++
}

//go:nosplit
//go:norace
func killedBy() uintptr { return uintptr(own.death & 0x7f) }

//go:nosplit
//go:norace
func exitedWith() uintptr { return uintptr(own.death >> 8 & 0xff) }

// worthAnother says whether the dead runner is to have a successor. A runner that is killed while the sidecar leaves
// has one too: it finds Page.Leaving and leaves. Not for programs on trial, for which any end is a failure.
//
//go:nosplit
//go:norace
func worthAnother() bool {
	page := findPage()
	switch {
	case page == nil:
		return false // it never served: wrong flags, which end with 2 as a panic does, or a port in use
	case killedBy() == 0 && exitedWith() != exitPanic:
		return false // it ended by its own will
	case page.Ready == own.gen:
		own.lives = 0
		return true
	}
	own.lives++
	if own.lives < unreadyLives {
		return true
	}
	say("autoglm-sidecar: the keeper gives up: five runners in a row died before they were ready\n")
	return false
}

// hasLeft says whether the runner has done what it was asked for at last. One that dies of something else while the
// sidecar leaves has a successor.
//
//go:nosplit
//go:norace
func hasLeft() bool {
	page := findPage()
	return page != nil && page.Leaving != 0 && own.death == 0
}

// wasToDie is after Ctrl-\, or the watchdog of a service manager.
//
//go:nosplit
//go:norace
func wasToDie() bool { return own.quit != 0 && monotonic()-own.quit < int64(quitWindow) }

// leave ends the keeper as the runner ended: the same status, or the same death.
//
//go:nosplit
//go:norace
func leave() {
	if signal := killedBy(); signal != 0 {
		setAction(signal, defaultAction)
		setMask(0)
		call(unix.SYS_KILL, uintptr(own.pid), signal, 0)
		// Process 1 of a container can't be killed by its own signal.
		call(unix.SYS_EXIT_GROUP, 128+signal, 0, 0)
	}
	call(unix.SYS_EXIT_GROUP, exitedWith(), 0, 0)
}
