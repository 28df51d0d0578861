package admin

import (
	"context"
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// Peer is the process at the other end of a unix socket, as the kernel noted it at connect (SO_PEERCRED, unix(7)).
type Peer struct {
	UID, GID uint32
	PID      int32
}

// String is how an action is signed.
func (p Peer) String() string { return fmt.Sprintf("uid %d", p.UID) }

// mayAct reports whether the peer may do more than look: root and the owner of the sidecar.
func (p Peer) mayAct(owner int) bool { return p.UID == 0 || int64(p.UID) == int64(owner) }

// peerOf asks the kernel who connected.
func peerOf(c net.Conn) (Peer, error) {
	if b, ok := c.(*boundedConn); ok {
		c = b.Conn
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return Peer{}, errors.New("no unix socket")
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return Peer{}, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return Peer{}, err
	}
	if credErr != nil {
		return Peer{}, credErr
	}
	return Peer{UID: cred.Uid, GID: cred.Gid, PID: cred.Pid}, nil
}

type peerKey struct{}

// withPeer notes the peer in the context of all requests of a connection. A peer that the kernel can't name is none,
// and may not act.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	if p, err := peerOf(c); err == nil {
		return context.WithValue(ctx, peerKey{}, p)
	}
	return ctx
}

func peerFrom(ctx context.Context) (Peer, bool) {
	p, ok := ctx.Value(peerKey{}).(Peer)
	return p, ok
}
