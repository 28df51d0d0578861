package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
)

// Address says where a worker listens, as package net writes it.
type Address struct {
	Network string // "tcp" or "unix"; empty: not known yet
	Addr    string // HOST:PORT, where HOST may be a name, or an absolute path
}

// IsZero reports whether the address is not known yet.
func (a Address) IsZero() bool { return a == Address{} }

// String returns the address as a person writes it.
func (a Address) String() string {
	if a.Network == "unix" {
		return "unix:" + a.Addr
	}
	return a.Addr
}

// longestSocketPath is what struct sockaddr_un holds, less its closing NUL (unix(7)).
const longestSocketPath = 107

// ParseAddress reads HOST:PORT or unix:PATH. A missing host is this machine; a relative path becomes absolute.
func ParseAddress(text string) (Address, error) {
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		if path == "" {
			return Address{}, errors.New("unix: needs a path, as in unix:/run/worker.sock")
		}
		path, err := socketPath(path)
		return Address{Network: "unix", Addr: path}, err
	}
	if bare, ok := strings.CutPrefix(text, "http://"); ok {
		return Address{}, fmt.Errorf("is a URL; write %s", strings.TrimRight(bare, "/"))
	}
	if strings.HasPrefix(text, "https://") {
		return Address{}, errors.New("the way to a worker is plain HTTP on this machine; TLS to a worker is not spoken")
	}
	if strings.HasPrefix(text, "/") {
		return Address{}, fmt.Errorf("a socket is written unix:%s", text)
	}
	a, err := splitTCP(text, false)
	if err != nil {
		return Address{}, err
	}
	if a.host == "" {
		a.host = "127.0.0.1"
	}
	if err := checkHost(a.host); err != nil {
		return Address{}, err
	}
	return Address{Network: "tcp", Addr: net.JoinHostPort(a.host, strconv.Itoa(int(a.port)))}, nil
}

// socketPath makes a path absolute and refuses one that no socket address can hold.
func socketPath(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if len(path) > longestSocketPath {
		return "", fmt.Errorf("%s has %d bytes, and the path of a socket at most %d", path, len(path), longestSocketPath)
	}
	return path, nil
}

type hostPort struct {
	host string
	port uint16
}

func splitTCP(text string, zero bool) (hostPort, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		if _, err := strconv.ParseUint(text, 10, 16); err == nil {
			return hostPort{}, fmt.Errorf("write :%s", text)
		}
		return hostPort{}, errors.New("must be HOST:PORT, as in 127.0.0.1:8001")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 && !zero {
		return hostPort{}, fmt.Errorf("%q is no port", port)
	}
	return hostPort{host: host, port: uint16(n)}, nil
}

// checkHost takes an IP address or what a resolver may be asked for (RFC 1123, and _ as in container names).
func checkHost(host string) error {
	if strings.Contains(host, ":") || strings.Trim(host, "0123456789.") == "" {
		if _, err := netip.ParseAddr(host); err != nil {
			return fmt.Errorf("%q is no IP address", host)
		}
		return nil
	}
	for _, c := range host {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_':
		default:
			return fmt.Errorf("%q is no host name", host)
		}
	}
	return nil
}

// goesRound reports whether a stream sent to the upstream would come back through the front.
func goesRound(listen string, upstream Address) bool {
	if upstream.Network == "unix" {
		return collide(listen, upstream.String())
	}
	front, err := splitTCP(listen, true)
	if err != nil {
		return false
	}
	worker, err := splitTCP(upstream.Addr, false)
	if err != nil || worker.port != front.port {
		return false
	}
	everywhere := front.host == "" || front.host == "0.0.0.0" || front.host == "::"
	return worker.host == front.host || everywhere && isLoopback(worker.host) || isLoopback(front.host) && isLoopback(worker.host)
}

// collide reports whether two addresses to listen on can't both be bound. Port 0 is another one each time.
func collide(a, b string) bool {
	if strings.HasPrefix(a, "unix:") || strings.HasPrefix(b, "unix:") {
		one, err := ParseAddress(a)
		other, errOther := ParseAddress(b)
		return err == nil && errOther == nil && one == other
	}
	one, err := splitTCP(a, true)
	other, errOther := splitTCP(b, true)
	if err != nil || errOther != nil || one.port == 0 || one.port != other.port {
		return false
	}
	return one.host == other.host || covers(one.host, other.host) || covers(other.host, one.host)
}

// beside returns the address with the next port; text is one that can be split.
func beside(text string) string {
	a, _ := splitTCP(text, true)
	port := a.port + 1
	if port == 0 {
		port = a.port - 1
	}
	return net.JoinHostPort(a.host, strconv.Itoa(int(port)))
}

// covers reports whether a listener at host takes what comes to other, too. No host is all addresses of both families,
// as is ::; 0.0.0.0 is all of IPv4.
func covers(host, other string) bool {
	switch host {
	case "", "::":
		return true
	case "0.0.0.0":
		return !strings.Contains(other, ":")
	case "localhost":
		return isLoopback(other)
	default:
		return false
	}
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}
