package tcpdiag

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"

	"github.com/prometheus/procfs"
)

// tcpListen is TCP_LISTEN of include/net/tcp_states.h.
const tcpListen = 10

func tcpOwners(address string) ([]int, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("who listens on %s: %w", address, err)
	}
	nearest, err := nearestListeners(netip.AddrPortFrom(to.Addr().Unmap(), to.Port()))
	if err != nil {
		return nil, fmt.Errorf("who listens on %s: %w", address, err)
	}
	if len(nearest) == 0 {
		return nil, ErrNobody
	}
	return holders(nearest)
}

// nearestListeners returns the listening sockets that the kernel chooses among for a connection to the address: those
// that fit it best, and more than one only where they share the port by SO_REUSEPORT.
func nearestListeners(to netip.AddrPort) ([]listener, error) {
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return nil, err
	}
	v4, err := proc.NetTCP()
	if err != nil {
		return nil, err
	}
	v6, err := proc.NetTCP6()
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a kernel without IPv6 has no such file
		return nil, err
	}
	best := unfit
	var nearest []listener
	for i, socket := range append(v4, v6...) {
		bound, ok := netip.AddrFromSlice(socket.LocalAddr)
		if !ok || socket.St != tcpListen || socket.LocalPort != uint64(to.Port()) {
			continue
		}
		switch f := fitOf(bound, i >= len(v4), to.Addr()); {
		case f == unfit || f < best:
			continue
		case f > best:
			best, nearest = f, nil
		}
		nearest = append(nearest, listener{inode: socket.Inode, uid: int(socket.UID)})
	}
	return nearest, nil
}

// fit is how well a bound address fits a connection's destination. The kernel takes the greatest: the same address
// before any address, a socket of IPv4 before one of IPv6 that also takes IPv4 (compute_score and
// __inet_lookup_listener, net/ipv4/inet_hashtables.c).
type fit int

const (
	unfit fit = iota
	anyMapped
	anyAddress
	sameMapped
	sameAddress
)

// fitOf judges a socket of IPv6 (or not) that is bound to the address. Whether [::] was made for IPv6 only isn't
// listed; it is taken to accept IPv4, so that it counts where nothing fits better.
func fitOf(bound netip.Addr, v6 bool, to netip.Addr) fit {
	mapped := v6 && to.Is4()
	switch {
	case bound.Unmap() == to && mapped:
		return sameMapped
	case bound.Unmap() == to:
		return sameAddress
	case !bound.Unmap().IsUnspecified() || to.Is6() && !v6:
		return unfit
	case mapped:
		return anyMapped
	default:
		return anyAddress
	}
}
