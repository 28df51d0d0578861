package sockets

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// Listen finds the listener for address at the fixed number, or binds it there. The address is HOST:PORT or unix:PATH; no
// host means all addresses of this machine, of both families, 0.0.0.0 all of IPv4. An address that is in use gives an
// *InUseError.
func Listen(ctx context.Context, name string, fixed int, address string) (*Listener, error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return ListenUnix(ctx, name, fixed, path, func() error { return inUseAt(path) })
	}
	network := networkOf(address)
	wanted, err := net.ResolveTCPAddr(network, address)
	if err != nil {
		return nil, fmt.Errorf("open listener %s: %w", name, err)
	}
	found, err := find(name, fixed, func(have net.Addr) bool { return servesTCP(have, network, wanted) })
	if found != nil || err != nil {
		return found, err
	}
	var config net.ListenConfig
	config.SetMultipathTCP(false) // its sockets count bytes in another way than TCP's
	bound, err := config.Listen(ctx, network, address)
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, fmt.Errorf("open listener %s: %w", name, inUse(address))
	}
	if err != nil {
		return nil, fmt.Errorf("open listener %s: %w", name, err)
	}
	return keep(name, fixed, bound)
}

// networkOf keeps 0.0.0.0 to IPv4: package net would listen on IPv6, too.
func networkOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return "tcp"
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.Is4() {
		return "tcp4"
	}
	return "tcp"
}

// ListenUnix finds the unix listener for path at the fixed number, or binds it there: it makes the directory if there is
// none, and removes a socket file that nobody listens on any more. Where somebody does, taken says what is wrong. The file
// stays when the runner dies, and is removed by Close.
func ListenUnix(ctx context.Context, name string, fixed int, path string, taken func() error) (*Listener, error) {
	found, err := find(name, fixed, func(have net.Addr) bool { return servesUnix(have, path) })
	if found != nil || err != nil {
		return found, err
	}
	bound, err := bindFile(ctx, path, taken)
	if err != nil {
		return nil, fmt.Errorf("open listener %s: %w", name, err)
	}
	return keep(name, fixed, bound)
}
