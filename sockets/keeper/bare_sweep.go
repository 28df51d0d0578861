package keeper

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	openDescriptors = "/proc/self/fd\x00"

	// Where an entry of a directory (struct linux_dirent64) has its length and its name.
	entryLength = 16
	entryName   = 19
)

// sweep closes what a dead runner's runtime left open: epoll sets, which would go on watching, timers, eventfds,
// pidfds, files. Sockets stay: the streams. So do pipes: a stream to a worker's unix socket has bytes in one. Which of
// these belong to nobody only the next runner can tell (Strays).
//
//go:nosplit
//go:norace
func sweep() { eachDescriptor(sweepThem) }

// What is done to each open descriptor but stdin, stdout and stderr.
const (
	sweepThem = iota
	passThem  // through execve
	keepThem  // from it, as they were before
)

//go:nosplit
//go:norace
func eachDescriptor(what int) {
	dir := call6(unix.SYS_OPENAT, atWorkingDirectory, text(openDescriptors), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0, 0, 0)
	if dir < 0 { // no /proc: all numbers, in 5 ms
		for fd := range uintptr(tableSize) {
			doOne(what, fd)
		}
		return
	}
	for {
		n := call(unix.SYS_GETDENTS64, uintptr(dir), uintptr(unsafe.Pointer(&own.entries)), unsafe.Sizeof(own.entries))
		if n <= 0 {
			break
		}
		for at := 0; at < n; {
			entry := unsafe.Add(unsafe.Pointer(&own.entries), at)
			if fd, ok := decimal((*byte)(unsafe.Add(entry, entryName))); ok && fd != uintptr(dir) {
				doOne(what, fd)
			}
			at += int(*(*uint16)(unsafe.Add(entry, entryLength)))
		}
	}
	call(unix.SYS_CLOSE, uintptr(dir), 0, 0)
}

//go:nosplit
//go:norace
func doOne(what int, fd uintptr) {
	switch {
	case fd <= 2:
	case what == passThem:
		call(unix.SYS_FCNTL, fd, unix.F_SETFD, 0)
	case what == keepThem:
		call(unix.SYS_FCNTL, fd, unix.F_SETFD, unix.FD_CLOEXEC)
	default:
		sweepOne(fd)
	}
}

//go:nosplit
//go:norace
func sweepOne(fd uintptr) {
	if FirstFixed <= fd && fd < EndFixed {
		return
	}
	if call(unix.SYS_FSTAT, fd, uintptr(unsafe.Pointer(&own.stat)), 0) < 0 {
		return
	}
	switch own.stat.Mode & unix.S_IFMT {
	case unix.S_IFSOCK, unix.S_IFIFO:
	default:
		call(unix.SYS_CLOSE, fd, 0, 0)
	}
}

// decimal reads a file name that is a number; "." and ".." are none.
//
//go:nosplit
//go:norace
func decimal(name *byte) (uintptr, bool) {
	n := uintptr(0)
	for p := name; *p != 0; p = (*byte)(unsafe.Add(unsafe.Pointer(p), 1)) {
		if *p < '0' || *p > '9' {
			return 0, false
		}
		n = n*10 + uintptr(*p-'0')
	}
	return n, true
}
