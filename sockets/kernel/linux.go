package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"autoglm-sidecar/sockets/keeper"
)

// Linux is the real kernel.
type Linux struct{}

var _ Kernel = Linux{}

// Go reads CLOCK_MONOTONIC without a system call, and counts it from a beginning of its own. goZero and kernelZero are
// one moment in both.
var goZero, kernelZero = func() (time.Time, int64) {
	var zero time.Time
	var kernel int64
	closest := time.Hour
	for range 8 { // the one in which least happened in between tells best
		var t unix.Timespec
		before := time.Now()
		_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // it can't fail for this clock
		if took := time.Since(before); took < closest {
			closest, zero, kernel = took, before.Add(took/2), t.Nano()
		}
	}
	return zero, kernel
}()

// Now implements Kernel. A runner's may differ by a microsecond from that of the one before.
func (Linux) Now() int64 { return kernelZero + int64(time.Since(goZero)) }

// raw calls the kernel without telling Go's scheduler: none of these calls block, and handing the processor over
// costs more than they do. What is passed as a pointer must not lie on a stack, which may move before the call.
//
//go:uintptrescapes
func raw(call, a, b, c, d, e uintptr) (int, Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(call, a, b, c, d, e, 0)
		switch errno {
		case 0:
			return int(n), 0
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}

// Events asks an epoll set what there is, and waits for it at most for ms milliseconds. Raw like the rest: telling Go's
// scheduler of each call wakes its monitor thread, which cost 2 µs a token (seen in a profile as futex calls below
// entersyscall). So a wait must be short: the processor is held meanwhile. A signal, with which Go asks for it, ends it
// with EINTR.
func Events(set uintptr, events []unix.EpollEvent, ms int) (int, Errno) {
	n, _, e := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, set, uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)),
		uintptr(ms), 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(n), 0
}

// Accept implements Kernel.
func (Linux) Accept(listener int) (Conn, Errno) {
	fd, e := raw(unix.SYS_ACCEPT4, uintptr(listener), 0, 0, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if e != 0 {
		return None, e
	}
	c, e := Linux{}.Adopt(int32(fd))
	if e != 0 {
		unix.Close(fd)
	}
	return c, e
}

// Adopt implements Kernel.
func (Linux) Adopt(socket int32) (Conn, Errno) {
	if nodelay(int(socket)) == unix.EOPNOTSUPP {
		return countable(int(socket))
	}
	return Conn{socket, -1, -1}, 0
}

// countable makes a connection of a fresh unix socket: from now on it is known how much was taken from it and given to it.
func countable(fd int) (Conn, Errno) {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEEK_OFF, peekStart); err != nil {
		return None, errno(err)
	}
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		return None, errno(err)
	}
	return Conn{int32(fd), int32(p[0]), int32(p[1])}, 0
}

// nodelay is for tokens: none may wait for an acknowledgement of the one before. A unix socket answers EOPNOTSUPP.
func nodelay(fd int) error { return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) }

// Connect implements Kernel.
func (Linux) Connect(to Address) (Conn, Errno) {
	if to.Unix != "" {
		return connectUnix(to.Unix)
	}
	var (
		family = unix.AF_INET
		sa     unix.Sockaddr
		ip     = to.TCP.Addr().Unmap()
	)
	if ip.Is4() {
		sa = &unix.SockaddrInet4{Port: int(to.TCP.Port()), Addr: ip.As4()}
	} else {
		family, sa = unix.AF_INET6, &unix.SockaddrInet6{Port: int(to.TCP.Port()), Addr: ip.As16()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return None, errno(err)
	}
	_ = nodelay(fd) // it fails only on what is no TCP
	if err := unix.Connect(fd, sa); err != nil && err != unix.EINPROGRESS {
		unix.Close(fd)
		return None, errno(err)
	}
	return Conn{int32(fd), -1, -1}, 0
}

func connectUnix(path string) (Conn, Errno) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return None, errno(err)
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		unix.Close(fd)
		return None, errno(err)
	}
	c, e := countable(fd)
	if e != 0 {
		unix.Close(fd)
	}
	return c, e
}

func errno(err error) Errno {
	if e, ok := errors.AsType[Errno](err); ok {
		return e
	}
	return unix.EINVAL
}

// Connected implements Kernel.
func (Linux) Connected(socket int32) Errno {
	e, err := unix.GetsockoptInt(int(socket), unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return errno(err)
	}
	return Errno(e)
}

// Quiet implements Kernel. A peek into a unix socket moves the count of what was taken, but only where there is something
// to see.
func (Linux) Quiet(socket int32) bool {
	var one [1]byte
	_, e := raw(unix.SYS_RECVFROM, uintptr(socket), uintptr(unsafe.Pointer(&one[0])), 1, unix.MSG_DONTWAIT|unix.MSG_PEEK, 0)
	return e == unix.EAGAIN
}

// Read implements Kernel. By recvfrom, which has a shorter way to a socket than read.
func (Linux) Read(fd int32, b []byte) (int, Errno) {
	return raw(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT, 0)
}

// Send implements Kernel.
func (Linux) Send(fd int32, b []byte) (int, Errno) {
	return raw(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0)
}

// Pipe implements Kernel.
func (Linux) Pipe(c Conn, b []byte) (int, Errno) {
	return raw(unix.SYS_WRITE, uintptr(c.PipeW), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0, 0)
}

// Pour implements Kernel.
func (Linux) Pour(c Conn, n int) (int, Errno) {
	for {
		moved, err := unix.Splice(int(c.PipeR), nil, int(c.Socket), nil, n, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
		switch {
		case err == nil:
			return int(moved), 0
		case err != unix.EINTR:
			return 0, errno(err)
		}
	}
}

// HalfClose implements Kernel. A peer that is gone already needs none.
func (Linux) HalfClose(fd int32) { _ = unix.Shutdown(int(fd), unix.SHUT_WR) }

// Reset implements Kernel.
func (Linux) Reset(fd int32) {
	_ = unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
}

// Close implements Kernel.
func (Linux) Close(fd int32) { _ = unix.Close(int(fd)) }

// Descriptors implements Kernel.
func (Linux) Descriptors() ([]int32, error) {
	strays, err := keeper.Strays()
	fds := make([]int32, 0, len(strays))
	for _, fd := range strays {
		fds = append(fds, int32(fd))
	}
	return fds, err
}

// Local implements Kernel.
func (Linux) Local(fd int32) Address {
	if kind, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TYPE); err != nil || kind != unix.SOCK_STREAM {
		return Address{}
	}
	sa, err := unix.Getsockname(int(fd))
	if err != nil {
		return Address{}
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return Address{TCP: netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))}
	case *unix.SockaddrInet6:
		ip := netip.AddrFrom16(sa.Addr).Unmap()
		if sa.ZoneId != 0 { // one of a link, and another link may have it too
			ip = ip.WithZone(fmt.Sprint(sa.ZoneId))
		}
		return Address{TCP: netip.AddrPortFrom(ip, uint16(sa.Port))}
	case *unix.SockaddrUnix:
		if strings.HasPrefix(sa.Name, "@") { // it has no name, or an abstract one
			return Address{}
		}
		return Address{Unix: sa.Name}
	default:
		return Address{}
	}
}

// Peer implements Kernel.
func (Linux) Peer(fd int32) string {
	if at := peer(fd); at.IsValid() {
		return at.String()
	}
	if sa, err := unix.Getpeername(int(fd)); err == nil && sa != nil {
		return peerProcess(int(fd))
	}
	return ""
}

// PeerAddr implements Kernel.
func (Linux) PeerAddr(fd int32) netip.Addr { return peer(fd).Addr() }

// peer is zero for a socket that is no TCP connection, or none any more.
func peer(fd int32) netip.AddrPort {
	sa, err := unix.Getpeername(int(fd))
	if err != nil {
		return netip.AddrPort{}
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	default:
		return netip.AddrPort{}
	}
}

// peerProcess says whose process it was that connected. It has no PID where it is in a namespace that we don't see.
func peerProcess(fd int) string {
	of, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	switch {
	case err != nil:
		return ""
	case of.Pid == 0:
		return fmt.Sprintf("unix uid %d", of.Uid)
	default:
		return fmt.Sprintf("unix uid %d pid %d", of.Uid, of.Pid)
	}
}
