package keeper

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// prepare lays everything out that keeper and runners share. false: it can't, and the program goes on without.
//
//go:nosplit
//go:norace
func prepare() bool {
	own.pid = call(unix.SYS_GETPID, 0, 0, 0)
	takeFileLimit()
	if page := findPage(); page != nil {
		own.gen = max(page.Gen, page.Ready) // after an upgrade; or this was the runner of a keeper that is dead
	} else if !occupy() {
		return false
	}
	growTable()
	// The arena holds prompts and answers; who may open /proc/PID/fd/100 of keeper or runner reads them all.
	call(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0)
	// Orphans of the worker, and what a dead runner started, become our children and not somebody else's.
	call(unix.SYS_PRCTL, unix.PR_SET_CHILD_SUBREAPER, 1, 0)
	takeSignals()
	own.absence = Present
	return true
}

// takeFileLimit raises the keeper's own soft limit for good: it has to open /proc/self/fd when the runner's streams
// hold the lower numbers. Each runner is given the old one back before Go starts. Go then raises it itself, and gives
// the old one back to all that it starts.
//
//go:nosplit
//go:norace
func takeFileLimit() {
	call6(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, 0, uintptr(unsafe.Pointer(&own.limit)), 0, 0)
	soft := own.limit.soft
	own.limit.soft = own.limit.hard
	setFileLimit()
	own.limit.soft = soft
}

//go:nosplit
//go:norace
func setFileLimit() {
	call6(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, uintptr(unsafe.Pointer(&own.limit)), 0, 0, 0)
}

// growTable makes the descriptor table as large as it will ever be, while nobody shares it. Later, with threads or a
// clone about, each doubling waits for the other processors (RCU), and accept stands still for 10 ms.
//
//go:nosplit
//go:norace
func growTable() {
	for n := uintptr(tableSize - 1); n > EndFixed; n /= 2 {
		if fd := call(unix.SYS_FCNTL, ArenaFD, unix.F_DUPFD_CLOEXEC, n); fd >= 0 {
			call(unix.SYS_CLOSE, uintptr(fd), 0, 0)
			return
		}
	}
}

// occupy puts /dev/null and the two pipes on the fixed numbers.
//
//go:nosplit
//go:norace
func occupy() bool {
	null := call6(unix.SYS_OPENAT, atWorkingDirectory, text(devNull), unix.O_RDWR|unix.O_CLOEXEC, 0, 0, 0)
	if null < 0 {
		return cannot(null)
	}
	for fd := uintptr(FirstFixed); fd < EndFixed; fd++ {
		if r := call(unix.SYS_DUP3, uintptr(null), fd, unix.O_CLOEXEC); r < 0 {
			return cannot(r)
		}
	}
	call(unix.SYS_CLOSE, uintptr(null), 0, 0)
	if r := pipeAt(ExitsReadFD, ExitsWriteFD); r < 0 {
		return cannot(r)
	}
	call(unix.SYS_FCNTL, ExitsWriteFD, unix.F_SETFL, unix.O_NONBLOCK)
	if r := pipeAt(OutputReadFD, OutputWriteFD); r < 0 {
		return cannot(r)
	}
	// The worker writes into it, also while nobody reads: it must not block over a take-over, and never get EAGAIN.
	// A user who has many pipes is refused, and has 64 KiB.
	call(unix.SYS_FCNTL, OutputWriteFD, unix.F_SETPIPE_SZ, outputSize)
	return true
}

const (
	devNull            = "/dev/null\x00"
	atWorkingDirectory = ^uintptr(99) // AT_FDCWD
)

// pipeAt makes a pipe whose read end does not block.
//
//go:nosplit
//go:norace
func pipeAt(read, write uintptr) int {
	if r := call(unix.SYS_PIPE2, uintptr(unsafe.Pointer(&own.pair)), unix.O_CLOEXEC, 0); r < 0 {
		return r
	}
	r, w := uintptr(own.pair[0]), uintptr(own.pair[1])
	call(unix.SYS_DUP3, r, read, unix.O_CLOEXEC)
	call(unix.SYS_DUP3, w, write, unix.O_CLOEXEC)
	call(unix.SYS_CLOSE, r, 0, 0)
	call(unix.SYS_CLOSE, w, 0, 0)
	return call(unix.SYS_FCNTL, read, unix.F_SETFL, unix.O_NONBLOCK)
}

//go:nosplit
//go:norace
func cannot(result int) bool {
	own.absence = CouldNotPrepare
	own.failed = uintptr(-result)
	return false
}

// findPage is the arena's first page, once there is an arena. It is looked for again and again until then, so a
// half-made one must be told from a whole one: sealed, long enough, with its magic.
//
//go:nosplit
//go:norace
func findPage() *Page {
	if own.page == 0 {
		if seals := call(unix.SYS_FCNTL, ArenaFD, unix.F_GET_SEALS, 0); seals < 0 || seals&unix.F_SEAL_SHRINK == 0 {
			return nil
		}
		size := unsafe.Sizeof(Page{})
		if call(unix.SYS_FSTAT, ArenaFD, uintptr(unsafe.Pointer(&own.stat)), 0) < 0 || own.stat.Size < int64(size) {
			return nil
		}
		r := call6(unix.SYS_MMAP, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED, ArenaFD, 0)
		if r < 0 {
			return nil
		}
		own.page = uintptr(r)
		if mappedPage().Magic != Magic {
			call(unix.SYS_MUNMAP, own.page, size, 0)
			own.page = 0
			return nil
		}
		mappedPage().Gen = max(mappedPage().Gen, own.gen)
	}
	return mappedPage()
}

// mappedPage reads the address as a pointer; a conversion would be one, too, that vet has to warn of.
//
//go:nosplit
//go:norace
func mappedPage() *Page { return *(**Page)(unsafe.Pointer(&own.page)) }
