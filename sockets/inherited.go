package sockets

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"autoglm-sidecar/sockets/keeper"
)

// find looks for a listener of an earlier runner: at its fixed number, or at the one where that runner had just bound
// it when it died. nil: there is none.
func find(name string, fixed int, serves func(net.Addr) bool) (*Listener, error) {
	if keeper.Gen() == 0 {
		return nil, nil
	}
	if have := boundTo(fixed); serves(have) {
		return &Listener{Name: name, FD: fixed, Addr: have, Inherited: true}, nil
	}
	strays, err := keeper.Strays()
	if err != nil {
		return nil, fmt.Errorf("open listener %s: %w", name, err)
	}
	for _, fd := range strays {
		have := boundTo(fd)
		if !serves(have) {
			continue
		}
		at, err := keeper.Place(fd, fixed)
		if err != nil {
			return nil, fmt.Errorf("keep listener %s: %w", name, err)
		}
		return &Listener{Name: name, FD: at, Addr: have, Inherited: true}, nil
	}
	return nil, nil
}

// Retire ends the listener that an earlier runner left at a fixed number. found: there was one.
func Retire(name string, fixed int) (found bool, err error) {
	have := boundTo(fixed)
	if keeper.Gen() == 0 || have == nil {
		return false, nil
	}
	return true, (&Listener{Name: name, FD: fixed, Addr: have, Inherited: true}).Close()
}

// boundTo returns the address that a listening socket is bound to; nil: fd is none.
func boundTo(fd int) net.Addr {
	if listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || listening == 0 {
		return nil
	}
	address, err := unix.Getsockname(fd)
	if err != nil {
		return nil
	}
	switch a := address.(type) {
	case *unix.SockaddrInet4:
		return &net.TCPAddr{IP: a.Addr[:], Port: a.Port}
	case *unix.SockaddrInet6:
		return &net.TCPAddr{IP: a.Addr[:], Port: a.Port, Zone: zoneName(a.ZoneId)}
	case *unix.SockaddrUnix:
		return &net.UnixAddr{Name: a.Name, Net: "unix"}
	}
	return nil
}

func zoneName(index uint32) string {
	if index == 0 {
		return ""
	}
	link, err := net.InterfaceByIndex(int(index))
	if err != nil {
		return ""
	}
	return link.Name
}

// servesTCP says whether a socket bound to have is the one that wanted asks for. Any port will do for port 0, and for
// all addresses the form that this machine has for them.
func servesTCP(have net.Addr, network string, wanted *net.TCPAddr) bool {
	tcp, ok := have.(*net.TCPAddr)
	if !ok || wanted.Port != 0 && tcp.Port != wanted.Port {
		return false
	}
	if onlyIPv4 := len(tcp.IP) == net.IPv4len; network == "tcp4" && !onlyIPv4 {
		return false
	}
	if wanted.IP == nil || wanted.IP.IsUnspecified() {
		return tcp.IP.IsUnspecified()
	}
	return tcp.IP.Equal(wanted.IP) && tcp.Zone == wanted.Zone
}

// servesUnix says whether a socket bound to have can still be reached by path: its file may have been removed.
func servesUnix(have net.Addr, path string) bool {
	bound, ok := have.(*net.UnixAddr)
	if !ok || bound.Name != path {
		return false
	}
	info, err := os.Lstat(path)
	return err == nil && info.Mode().Type() == os.ModeSocket
}
