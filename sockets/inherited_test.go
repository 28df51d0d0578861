package sockets

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

func TestServesTCP(t *testing.T) {
	tcp := func(ip string, port int) net.Addr {
		a := &net.TCPAddr{IP: net.ParseIP(ip), Port: port}
		if four := a.IP.To4(); four != nil {
			a.IP = four // as getsockname of an IPv4 socket gives it
		}
		return a
	}
	for _, test := range []struct {
		have   net.Addr
		wanted string
		serves bool
	}{
		{tcp("127.0.0.1", 8000), "127.0.0.1:8000", true},
		{tcp("127.0.0.1", 8000), "127.0.0.1:0", true},
		{tcp("127.0.0.1", 8000), "127.0.0.1:8001", false},
		{tcp("127.0.0.1", 8000), "127.0.0.2:8000", false},
		{tcp("127.0.0.1", 8000), ":8000", false},
		{tcp("::", 8000), ":8000", true},
		{tcp("::", 8000), "[::]:8000", true},
		{tcp("::", 8000), "0.0.0.0:8000", false},
		{tcp("::", 8000), "[::1]:8000", false},
		{tcp("0.0.0.0", 8000), ":8000", true}, // a machine without IPv6
		{tcp("0.0.0.0", 8000), "0.0.0.0:8000", true},
		{tcp("::1", 8000), "[::1]:8000", true},
		{&net.UnixAddr{Name: "127.0.0.1:8000"}, "127.0.0.1:8000", false},
		{nil, "127.0.0.1:8000", false},
	} {
		network := networkOf(test.wanted)
		wanted, err := net.ResolveTCPAddr(network, test.wanted)
		if err != nil {
			t.Fatal(err)
		}
		if got := servesTCP(test.have, network, wanted); got != test.serves {
			t.Errorf("%v for %s: got %v, expected %v", test.have, test.wanted, got, test.serves)
		}
	}
}

func TestServesUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	have := &net.UnixAddr{Name: path, Net: "unix"}
	if servesUnix(have, path) {
		t.Error("a path that is gone serves")
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if servesUnix(have, path) {
		t.Error("a path that is a file serves")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", have)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if !servesUnix(have, path) {
		t.Error("a path that is there does not serve")
	}
	if servesUnix(have, path+"2") || servesUnix(&net.TCPAddr{}, path) || servesUnix(nil, path) {
		t.Error("another address serves")
	}
}

func TestBoundTo(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	fd, err := socketOf(l)
	if err != nil {
		t.Fatal(err)
	}
	defer os.NewFile(uintptr(fd), "listener").Close()
	if got := boundTo(fd); got == nil || got.String() != l.Addr().String() {
		t.Errorf("listener: got %v, expected %v", got, l.Addr())
	}
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	file, err := c.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if got := boundTo(int(file.Fd())); got != nil {
		t.Errorf("connection: got %v, expected none", got)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if got := boundTo(int(null.Fd())); got != nil {
		t.Errorf("/dev/null: got %v, expected none", got)
	}
}
