package keeper

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// call makes a system call of up to three arguments; its result, or -errno.
//
// syscall.RawSyscall6 ends in a stub that is ABIInternal itself. An assembly stub of ours would be ABI0, and the
// compiler loads g from thread-local storage after each call of one: before the runtime that is a fault.
//
//go:nosplit
//go:norace
func call(number, a, b, c uintptr) int { return call6(number, a, b, c, 0, 0, 0) }

//go:nosplit
//go:norace
func call6(number, a, b, c, d, e, f uintptr) int {
	r, _, errno := syscall.RawSyscall6(number, a, b, c, d, e, f)
	if errno != 0 {
		return -int(errno)
	}
	return int(r)
}

// text is the address of a constant that ends in "\x00", for the kernel.
//
//go:nosplit
//go:norace
func text(s string) uintptr { return uintptr(unsafe.Pointer(unsafe.StringData(s))) }

// same says whether the C string at p is s, which ends in "\x00" too.
//
//go:nosplit
//go:norace
func same(p *byte, s string) bool {
	for i := range len(s) {
		if *(*byte)(unsafe.Add(unsafe.Pointer(p), i)) != s[i] {
			return false
		}
	}
	return true
}

// monotonic is the time of CLOCK_MONOTONIC in ns.
//
//go:nosplit
//go:norace
func monotonic() int64 {
	call(unix.SYS_CLOCK_GETTIME, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&own.clock)), 0)
	return own.clock.Sec*1e9 + own.clock.Nsec
}

// say writes a last word to stderr, if that takes it at once: a keeper that waits for somebody to read its log is
// no keeper.
//
//go:nosplit
//go:norace
func say(line string) {
	own.poll = unix.PollFd{Fd: 2, Events: unix.POLLOUT}
	own.pause = unix.Timespec{}
	if call6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&own.poll)), 1, uintptr(unsafe.Pointer(&own.pause)), 0, 0, 0) == 1 {
		call(unix.SYS_WRITE, 2, text(line), uintptr(len(line)))
	}
}
