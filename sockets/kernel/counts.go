package kernel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// The peek offset of a unix socket starts at peekStart and is lowered by the kernel with each byte that is read from
// it. Long before it would reach zero it is raised again by peekLap, which changes nothing modulo peekLap: so no base
// need be noted beside it, and no moment of death is special.
const (
	peekStart = 1 << 30
	peekLap   = 1 << 29
)

// States of a TCP connection. In some of them the peer's FIN has arrived and counts as one byte received, in some ours
// was sent and counts as one byte given.
const (
	stateSynSent   = 2
	stateFinWait1  = 4
	stateFinWait2  = 5
	stateTimeWait  = 6
	stateClose     = 7
	stateCloseWait = 8
	stateLastAck   = 9
	stateClosing   = 11
)

// Taken implements Kernel. TCP: what arrived less what is queued, less the peer's FIN. Unix: by the peek offset,
// counted on from noted.
func (Linux) Taken(fd int32, noted int64) (int64, error) {
	domain, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return 0, fmt.Errorf("ask for the domain of socket %d: %w", fd, err)
	}
	if domain == unix.AF_UNIX {
		return takenUnix(int(fd), noted)
	}
	info, queued, err := settled(int(fd), unix.SIOCINQ)
	if err != nil {
		return 0, err
	}
	n := int64(info.Bytes_received) - int64(queued)
	switch info.State {
	case stateCloseWait, stateLastAck, stateClosing, stateTimeWait:
		n--
	case stateClose: // after an RST, or FINs of both sides, nobody knows whether a FIN was counted
		if n != noted {
			return 0, fmt.Errorf("connection of socket %d is over: %d or %d bytes were taken from it", fd, n-1, n)
		}
	}
	return n, nil
}

func takenUnix(fd int, noted int64) (int64, error) {
	offset, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEEK_OFF)
	if err != nil {
		return 0, fmt.Errorf("ask for the peek offset of socket %d: %w", fd, err)
	}
	if offset < 0 { // it was just accepted, and nothing is read before this is set
		return 0, nil
	}
	return noted + (-int64(offset)-noted)&(peekLap-1), nil // peekStart is a multiple of peekLap
}

// Lap implements Kernel. Reading and raising are two calls of the one thread that reads this socket, so nothing moves
// between them. A socket that refuses either is broken, which its next read will say.
func (Linux) Lap(socket int32) {
	offset, err := unix.GetsockoptInt(int(socket), unix.SOL_SOCKET, unix.SO_PEEK_OFF)
	if err == nil && offset < peekLap {
		_ = unix.SetsockoptInt(int(socket), unix.SOL_SOCKET, unix.SO_PEEK_OFF, offset+peekLap)
	}
}

// Given implements Kernel: what the peer acknowledged and what waits for that. Our SYN counts one on a connection
// that we opened. TCP only: for a unix socket see InPipe.
func (Linux) Given(fd int32, connected bool) (int64, error) {
	info, queued, err := settled(int(fd), unix.SIOCOUTQ)
	if err != nil {
		return 0, err
	}
	n := int64(info.Bytes_acked) + int64(queued)
	if connected && info.State != stateSynSent {
		n--
	}
	switch info.State {
	case stateFinWait1, stateFinWait2, stateLastAck, stateClosing, stateTimeWait:
		n--
	}
	return max(n, 0), nil
}

// settled asks for a socket's totals and for one of its queues. Two calls can't be atomic, so it asks until nothing
// moved in between.
func settled(fd int, queue uint) (*unix.TCPInfo, int, error) {
	for {
		before, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return nil, 0, fmt.Errorf("ask for the totals of socket %d: %w", fd, err)
		}
		n, err := unix.IoctlGetInt(fd, queue)
		if err != nil {
			return nil, 0, fmt.Errorf("ask for the queue of socket %d: %w", fd, err)
		}
		after, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return nil, 0, fmt.Errorf("ask for the totals of socket %d: %w", fd, err)
		}
		if before.Bytes_received == after.Bytes_received && before.Bytes_acked == after.Bytes_acked && before.State == after.State {
			return after, n, nil
		}
	}
}

// Untaken implements Kernel.
func (Linux) Untaken(fd int32) int64 {
	n, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
	if err != nil {
		return 0
	}
	return int64(n)
}

// InPipe implements Kernel.
func (Linux) InPipe(c Conn) (int64, error) {
	var from, to unix.Stat_t
	if err := errors.Join(unix.Fstat(int(c.PipeR), &from), unix.Fstat(int(c.PipeW), &to)); err != nil {
		return 0, fmt.Errorf("look at pipe %d, %d: %w", c.PipeR, c.PipeW, err)
	}
	if from.Mode&unix.S_IFMT != unix.S_IFIFO || from.Dev != to.Dev || from.Ino != to.Ino || !mode(c.PipeR, unix.O_RDONLY) || !mode(c.PipeW, unix.O_WRONLY) {
		return 0, fmt.Errorf("descriptors %d and %d aren't the ends of one pipe", c.PipeR, c.PipeW)
	}
	n, err := unix.IoctlGetInt(int(c.PipeR), unix.SIOCINQ)
	if err != nil {
		return 0, fmt.Errorf("ask for the content of pipe %d: %w", c.PipeR, err)
	}
	return int64(n), nil
}

// mode says whether fd was opened for want.
func mode(fd int32, want int) bool {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	return err == nil && flags&unix.O_ACCMODE == want
}
