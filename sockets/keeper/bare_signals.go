package keeper

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// watched are the signals that would end a process, come from outside and can be caught. The keeper blocks them and
// takes them by rt_sigtimedwait, so it needs no handlers; the runner has them as they were.
//
// Not among them: faults of our own; SIGTSTP, SIGTTIN and SIGTTOU, since a terminal that stops the runner must stop
// the keeper too, or that would find a hang (after SIGCONT its own look is late and it counts anew).
const watched = 1<<(unix.SIGHUP-1) | 1<<(unix.SIGINT-1) | 1<<(unix.SIGQUIT-1) | 1<<(unix.SIGABRT-1) |
	1<<(unix.SIGUSR1-1) | 1<<(unix.SIGUSR2-1) | 1<<(unix.SIGPIPE-1) | 1<<(unix.SIGALRM-1) | 1<<(unix.SIGTERM-1) |
	1<<(unix.SIGSTKFLT-1) | 1<<(unix.SIGCHLD-1) | 1<<(unix.SIGXCPU-1) | 1<<(unix.SIGXFSZ-1) |
	1<<(unix.SIGVTALRM-1) | 1<<(unix.SIGPROF-1) | 1<<(unix.SIGIO-1) | 1<<(unix.SIGPWR-1) |
	allRealtime

const (
	allRealtime = 1<<64 - 1<<31 // 32 to 64
	onlyChild   = 1 << (unix.SIGCHLD - 1)

	setBytes      = 8 // of a set of signals
	defaultAction = 0
	ignoreAction  = 1
)

// takeSignals blocks the watched ones and remembers what was blocked before. BecomeKeeper has blocked them already,
// so that none ends us between its execve and here.
//
//go:nosplit
//go:norace
func takeSignals() {
	own.set = watched
	call6(unix.SYS_RT_SIGPROCMASK, unix.SIG_BLOCK, uintptr(unsafe.Pointer(&own.set)), uintptr(unsafe.Pointer(&own.mask)), setBytes, 0, 0)
	if own.gen > 0 {
		own.mask &^= watched
	}
	// Inherited from a parent that ignores it, SIGCHLD would never come and a dead runner never be noticed.
	setAction(uintptr(unix.SIGCHLD), defaultAction)
}

//go:nosplit
//go:norace
func setMask(mask uint64) {
	own.set = mask
	call6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&own.set)), 0, setBytes, 0, 0)
}

//go:nosplit
//go:norace
func setAction(signal uintptr, action uint64) {
	own.action[0] = action
	call6(unix.SYS_RT_SIGACTION, signal, uintptr(unsafe.Pointer(&own.action)), 0, setBytes, 0, 0)
}

// nextSignal waits for a signal until the next look is due; 0 or less: there was none. While a runner takes over, signals
// for it stay where they are: it has no handlers yet, and most would end it.
//
//go:nosplit
//go:norace
func nextSignal() int {
	wait := max(own.watch.due-monotonic(), 0)
	own.set = watched
	if page := findPage(); page != nil && page.Ready != own.gen {
		wait = min(wait, int64(readyPause))
		own.set = onlyChild
	}
	own.pause.Sec, own.pause.Nsec = wait/1e9, wait%1e9
	return call6(unix.SYS_RT_SIGTIMEDWAIT, uintptr(unsafe.Pointer(&own.set)), uintptr(unsafe.Pointer(&own.info)),
		uintptr(unsafe.Pointer(&own.pause)), setBytes, 0, 0)
}

// passOn gives the runner a signal that was meant for it. What a process sent has si_code <= 0 and came to us alone;
// what the kernel sent, a terminal's Ctrl-C above all, has reached the runner by itself.
//
//go:nosplit
//go:norace
func passOn(signal int) {
	switch signal {
	case int(unix.SIGCHLD):
		return
	case int(unix.SIGQUIT), int(unix.SIGABRT):
		own.quit = monotonic()
	case int(unix.SIGTERM), int(unix.SIGINT):
		if page := findPage(); page != nil {
			page.Leaving = 1 // if this runner dies before it has heard it, the next one knows
		}
	}
	if own.info.code <= 0 {
		call(unix.SYS_KILL, uintptr(own.runner), uintptr(signal), 0)
	}
}
