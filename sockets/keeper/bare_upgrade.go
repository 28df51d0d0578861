package keeper

import (
	"golang.org/x/sys/unix"
)

// An upgrade: the keeper executes another file in its own place, by descriptor. Process, children, descriptors, blocked
// and pending signals, arguments and environment stay; the keeper in front of the new program finds the page, as after
// BecomeKeeper, and clones a runner of the new program, which takes over from the arena.
//
// The runner has asked (Upgrade) and is dead by now. Nobody shares the table, so that what is open can be let through
// execve without a race.

const (
	ownFile  = "/proc/self/exe\x00"
	noName   = "\x00"
	theFiles = 2 // OldExeFD and NextExeFD, neighbours
)

//go:nosplit
//go:norace
func isAsked() bool {
	page := findPage()
	return page != nil && page.Asked != 0
}

//go:nosplit
//go:norace
func onTrial() bool {
	page := findPage()
	return page != nil && page.Trial != 0
}

// upgrade executes the file at NextExeFD, and begins its trial. It returns only if that fails: the next runner is of the
// old program then.
//
//go:nosplit
//go:norace
func upgrade() {
	page := mappedPage()
	page.Asked = 0
	page.Upgrades++
	page.Errno = 0
	before := page.Trial
	if before == 0 { // a program on trial is none to go back to: the one before it stays
		if failed := keepOldFile(); failed < 0 {
			giveBack(page, failed)
			return
		}
	}
	page.Trial = monotonic()
	failed := execute(NextExeFD)
	page.Trial = before
	giveBack(page, failed)
}

// keepOldFile puts the file that we run to where it is found again. A function of its own, as is executeFile: what
// calls execute must leave room on the stack for it, and a system call with six arguments takes much of that.
//
//go:nosplit
//go:norace
func keepOldFile() int {
	file := call6(unix.SYS_OPENAT, atWorkingDirectory, text(ownFile), unix.O_PATH|unix.O_CLOEXEC, 0, 0, 0)
	if file < 0 {
		return file
	}
	call(unix.SYS_DUP3, uintptr(file), OldExeFD, unix.O_CLOEXEC)
	call(unix.SYS_CLOSE, uintptr(file), 0, 0)
	return 0
}

//go:nosplit
//go:norace
func giveBack(page *Page, failed int) {
	page.Undone++
	page.Failed = own.gen
	page.Errno = int64(-failed)
}

// goBack executes the old program. If even that fails, the new one has to go on.
//
//go:nosplit
//go:norace
func goBack() {
	page := mappedPage()
	page.Trial = 0
	page.Undone++
	page.Failed = own.gen
	execute(OldExeFD)
}

// execute returns only where the kernel gives the file back, with everything as it was.
//
//go:nosplit
//go:norace
func execute(fd uintptr) int {
	eachDescriptor(passThem)
	setFileLimit() // the one that we came with, which is the one that the next program comes with
	failed := executeFile(fd)
	takeFileLimit()
	eachDescriptor(keepThem)
	return failed
}

//go:nosplit
//go:norace
func executeFile(fd uintptr) int {
	return call6(unix.SYS_EXECVEAT, fd, text(noName), own.argv, own.envp, unix.AT_EMPTY_PATH, 0)
}

// endTrial lets a program that has stood its trial stay.
//
//go:nosplit
//go:norace
func endTrial() {
	if own.ended || !onTrial() || mappedPage().Ready != own.gen || monotonic()-mappedPage().Trial < int64(trialTime) {
		return
	}
	mappedPage().Trial = 0
	null := call6(unix.SYS_OPENAT, atWorkingDirectory, text(devNull), unix.O_RDWR|unix.O_CLOEXEC, 0, 0, 0)
	if null < 0 {
		return // two files stay open, and nothing else comes of it
	}
	for i := range uintptr(theFiles) {
		call(unix.SYS_DUP3, uintptr(null), OldExeFD+i, unix.O_CLOEXEC)
	}
	call(unix.SYS_CLOSE, uintptr(null), 0, 0)
}
