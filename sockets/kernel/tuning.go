package kernel

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Tuning is how clients' connections are set. 0 leaves a thing as the kernel has it.
type Tuning struct {
	// A client that has been silent for KeepAlive is asked whether it is still there, every KeepInterval, and after KeepCount
	// questions without an answer it is gone. Without it a client whose machine is gone holds its slot for ever.
	KeepAlive, KeepInterval   time.Duration
	KeepCount                 int
	UserTimeout               time.Duration // a client that acknowledges nothing of what it was sent for so long is gone
	SendBuffer, ReceiveBuffer int           // bytes
}

// Tune sets a listener of TCP; what it is set to, its connections are too.
func (t Tuning) Tune(listener int) error {
	for _, set := range []struct {
		what                 string
		level, option, value int
	}{
		{"keep-alive", unix.SOL_SOCKET, unix.SO_KEEPALIVE, int(min(t.KeepAlive, 1))},
		{"keep-alive's time", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, whole(t.KeepAlive, time.Second)},
		{"keep-alive's interval", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, whole(t.KeepInterval, time.Second)},
		{"keep-alive's count", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, t.KeepCount},
		{"the time for an acknowledgement", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, whole(t.UserTimeout, time.Millisecond)},
		{"the send buffer", unix.SOL_SOCKET, unix.SO_SNDBUF, t.SendBuffer},
		{"the receive buffer", unix.SOL_SOCKET, unix.SO_RCVBUF, t.ReceiveBuffer},
	} {
		if set.value == 0 && set.option != unix.SO_KEEPALIVE {
			continue
		}
		if err := unix.SetsockoptInt(listener, set.level, set.option, set.value); err != nil {
			return fmt.Errorf("set %s of a front's clients: %w", set.what, err)
		}
	}
	return nil
}

// whole is d in units, at least one where d isn't 0.
func whole(d, unit time.Duration) int { return int((d + unit - 1) / unit) }
