package probe_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"autoglm-sidecar/health/probe"
)

// TestReach gives each way in which a server may answer, or not, and wants the error and the reach that a caller
// tells them apart by.
func TestReach(t *testing.T) {
	const whole = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	tests := []struct {
		name   string
		server func(net.Conn) // nil: nobody listens
		http   bool
		want   error
		reach  probe.Reach
	}{
		{name: "tcp, nobody listens", want: probe.ErrRefused, reach: probe.Nowhere},
		{name: "http, nobody listens", http: true, want: probe.ErrRefused, reach: probe.Nowhere},
		{name: "tcp, accepted", server: hang, reach: probe.Passed},
		{name: "http, silent", http: true, server: hang, want: probe.ErrNoAnswer, reach: probe.Connected},
		{name: "http, closed at once", http: true, server: func(net.Conn) {}, want: probe.ErrBroken, reach: probe.Connected},
		{name: "http, speaks something else", http: true, server: says("220 mail ready\r\n"), want: probe.ErrBroken, reach: probe.Connected},
		{name: "http, 503", http: true, server: says("HTTP/1.1 503 Loading\r\nContent-Length: 0\r\n\r\n"), want: &probe.StatusError{Code: 503}, reach: probe.Answered},
		{name: "http, redirect", http: true, server: says("HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"), want: &probe.StatusError{Code: 302}, reach: probe.Answered},
		{name: "http, 200", http: true, server: says(whole), reach: probe.Passed},
		{name: "http, 204 after 103", http: true, server: says("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"), reach: probe.Passed},
		{name: "http, body to the close", http: true, server: says("HTTP/1.0 200 OK\r\n\r\nok"), reach: probe.Passed},
		{name: "http, body cut short", http: true, server: says("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"), want: probe.ErrBroken, reach: probe.Connected},
		{name: "http, body without an end", http: true, server: func(c net.Conn) {
			says("HTTP/1.1 200 OK\r\n\r\n")(c)
			flood(c)
		}, reach: probe.Passed},
		{name: "http, head without an end", http: true, server: func(c net.Conn) {
			says("HTTP/1.1 200 OK\r\nA: ")(c)
			flood(c)
		}, want: probe.ErrBroken, reach: probe.Connected},
		{name: "http, body that stops", http: true, server: func(c net.Conn) {
			says("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok")(c)
			hang(c)
		}, want: probe.ErrNoAnswer, reach: probe.Connected},
	}
	for _, network := range []string{"tcp", "unix"} {
		for _, tt := range tests {
			t.Run(network+" "+tt.name, func(t *testing.T) {
				address := serve(t, network, tt.server)
				ask := probe.TCP(network, address)
				if tt.http {
					ask = probe.HTTP(network, address, "/health")
				}
				patience := 5 * time.Second
				if errors.Is(tt.want, probe.ErrNoAnswer) {
					patience = 500 * time.Millisecond
				}
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()

				err := ask(ctx)
				if !same(err, tt.want) {
					t.Errorf("got the error %v, want %v", err, tt.want)
				}
				if got := probe.ReachOf(err); got != tt.reach {
					t.Errorf("got reach %d, want %d (error: %v)", got, tt.reach, err)
				}
				if err != nil && len(err.Error()) > 80 {
					t.Errorf("the error is not short: %v", err)
				}
			})
		}
	}
}

func TestAskHasItsOwnConnectionEachTime(t *testing.T) {
	asked := make(chan struct{}, 8)
	address := serve(t, "tcp", func(c net.Conn) {
		asked <- struct{}{}
		says("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")(c)
	})
	ask := probe.HTTP("tcp", address, "/health")
	for range 3 {
		if err := ask(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(asked); got != 3 {
		t.Errorf("3 questions came over %d connections, want 3", got)
	}
}

// A full queue takes no connection, and the dial hangs.
func TestAFullQueueIsNoServer(t *testing.T) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	at, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(at.(*syscall.SockaddrInet4).Port))
	ask := probe.TCP("tcp", address)
	for range 10 { // a queue of 0 holds one or two
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		err = ask(ctx)
		cancel()
		if err != nil {
			break
		}
	}
	if !errors.Is(err, probe.ErrUnconnected) {
		t.Errorf("got %v, want %v", err, probe.ErrUnconnected)
	}
}

func TestStaleSocketIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stale.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if err := probe.TCP("unix", path)(t.Context()); !errors.Is(err, probe.ErrRefused) {
		t.Errorf("a socket file without a listener gave %v, want %v", err, probe.ErrRefused)
	}
}

// A connection that met itself is made by hand: bind, then connect to the own address.
func TestConnectionToItselfIsRefused(t *testing.T) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	self, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Connect(fd, self); err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "self")
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if !probe.MetItself(conn) {
		t.Errorf("%v connected to %v was taken for a server", conn.LocalAddr(), conn.RemoteAddr())
	}
}

func same(got, want error) bool {
	if status, ok := errors.AsType[*probe.StatusError](want); ok {
		have, ok := errors.AsType[*probe.StatusError](got)
		return ok && *have == *status
	}
	return errors.Is(got, want)
}

// serve answers each connection with answer and closes it; with nil it returns an address at which nobody listens.
func serve(t *testing.T, network string, answer func(net.Conn)) string {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	if answer == nil {
		l.Close()
		return l.Addr().String()
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				head := make([]byte, 4096)
				if n, err := conn.Read(head); err == nil && n > 0 {
					answer(conn)
				}
			}()
		}
	}()
	return l.Addr().String()
}

func says(answer string) func(net.Conn) { return func(c net.Conn) { io.WriteString(c, answer) } }

// hang keeps the connection until the client leaves.
func hang(c net.Conn) { io.Copy(io.Discard, c) }

// flood writes until the client leaves.
func flood(c net.Conn) {
	for {
		if _, err := io.WriteString(c, strings.Repeat("x", 4096)); err != nil {
			return
		}
	}
}
