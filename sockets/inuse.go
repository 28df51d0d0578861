package sockets

import (
	"errors"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"autoglm-sidecar/sockets/tcpdiag"
)

// InUseError: the address has a listener already. It is EADDRINUSE.
type InUseError struct {
	Address string
	Owners  []int  // PIDs of those who can be seen
	Hidden  string // why others can't; "": there are none
}

// Error names the owners.
func (e *InUseError) Error() string {
	var owners []string
	for _, pid := range e.Owners {
		owners = append(owners, tcpdiag.Describe(pid))
	}
	text := e.Address + " is in use"
	if len(owners) > 0 {
		text += " by " + strings.Join(owners, ", ")
	}
	if e.Hidden != "" {
		text += " (" + e.Hidden + ")"
	}
	return text
}

// Unwrap returns unix.EADDRINUSE.
func (e *InUseError) Unwrap() error { return unix.EADDRINUSE }

// inUse finds out who is in the way of a listener on address.
func inUse(address string) *InUseError {
	e := &InUseError{Address: address}
	for _, taken := range inTheWay(address) {
		owners, err := tcpdiag.Owners("tcp", taken)
		if errors.Is(err, tcpdiag.ErrNobody) {
			continue
		}
		e.Owners = owners
		if err != nil {
			e.Hidden = err.Error()
		}
		return e
	}
	return e
}

// inTheWay returns the addresses whose listeners exclude one on address: itself, and for one on all addresses of this
// machine each of those.
func inTheWay(address string) []string {
	wanted, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil
	}
	port := wanted.AddrPort().Port()
	if wanted.IP != nil && !wanted.IP.IsUnspecified() {
		return []string{wanted.AddrPort().String()}
	}
	addresses := []string{
		netip.AddrPortFrom(netip.IPv4Unspecified(), port).String(),
		netip.AddrPortFrom(netip.IPv6Unspecified(), port).String(),
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return addresses
	}
	for _, a := range own {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			addresses = append(addresses, netip.AddrPortFrom(prefix.Addr(), port).String())
		}
	}
	return addresses
}
