package keeper

import (
	"fmt"
	"syscall"
	"time"
)

// The crash-loop limits. A death by the runner's own fault will most likely come again, so few are borne; a kill -9 by
// a person, a test or the kernel's want of memory says nothing of the next runner, so many are.
const (
	ownFaultLimit  = 30
	ownFaultWindow = 30 * time.Second
	anyLimit       = 300
	anyWindow      = 60 * time.Second
)

// CrashLoop says whether runners died so often that another take-over would help nobody, and why. It is asked by a
// runner as its first work, now being the time of CLOCK_MONOTONIC. The limits: more than 30 deaths in 30 s by the
// runner's own fault (a panic, SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE, a hang), or more than 300 in 60 s of any cause.
func CrashLoop(p *Page, now time.Duration) (reason string, halted bool) {
	var ownFault, all int
	var last, lastOwn Death
	for _, d := range p.LastDeaths() {
		age := now - d.At()
		if age <= anyWindow {
			all++
			last = d
		}
		if age <= ownFaultWindow && d.ownFault() {
			ownFault++
			lastOwn = d
		}
	}
	switch {
	case ownFault > ownFaultLimit:
		return fmt.Sprintf("the runner died %d times in %v by its own fault, the last one %v", ownFault, ownFaultWindow, lastOwn), true
	case all > anyLimit:
		return fmt.Sprintf("the runner died %d times in %v, the last one %v", all, anyWindow, last), true
	}
	return "", false
}

func (d Death) ownFault() bool {
	status := syscall.WaitStatus(d.Status)
	switch d.Why {
	case WhyHang:
		return true
	case WhyExit:
		return status.ExitStatus() == exitPanic
	case WhySignal:
		switch status.Signal() {
		case syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGABRT, syscall.SIGILL, syscall.SIGFPE:
			return true
		}
	case WhyUpgrade:
	}
	return false
}
