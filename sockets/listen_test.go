package sockets_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"autoglm-sidecar/sockets"
	"autoglm-sidecar/sockets/keeper"
)

func listen(t *testing.T, address string) *sockets.Listener {
	t.Helper()
	l, err := sockets.Listen(t.Context(), "front", keeper.FrontFD, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestListenTakesAddressesAsPeopleWriteThem(t *testing.T) {
	for _, test := range []struct{ address, dial, refused string }{
		{"127.0.0.1:0", "127.0.0.1", "127.0.0.2"},
		{":0", "127.0.0.1", ""},
		{"0.0.0.0:0", "127.0.0.1", "::1"},
		{"localhost:0", "localhost", ""},
	} {
		t.Run(test.address, func(t *testing.T) {
			l := listen(t, test.address)
			port := fmt.Sprint(l.Addr.(*net.TCPAddr).Port)
			c, err := net.Dial("tcp", net.JoinHostPort(test.dial, port))
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
			if test.refused != "" {
				if c, err := net.Dial("tcp", net.JoinHostPort(test.refused, port)); err == nil {
					c.Close()
					t.Errorf("%s is connected too", test.refused)
				}
			}
		})
	}
}

func TestListenOnIPv6(t *testing.T) {
	if l, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Skipf("this machine has no IPv6: %v", err)
	} else {
		l.Close()
	}
	for _, address := range []string{"[::1]:0", "[::]:0", ":0"} {
		l := listen(t, address)
		c, err := net.Dial("tcp", fmt.Sprintf("[::1]:%d", l.Addr.(*net.TCPAddr).Port))
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		c.Close()
	}
}

func TestListenerIsFitForALoop(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	if fd, _, err := unix.Accept(l.FD); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("accept with nobody there: %d, %v; expected EAGAIN", fd, err)
	}
	if protocol, err := unix.GetsockoptInt(l.FD, unix.SOL_SOCKET, unix.SO_PROTOCOL); err != nil || protocol != unix.IPPROTO_TCP {
		t.Errorf("protocol %d, %v; expected plain TCP", protocol, err)
	}
	if flags, err := unix.FcntlInt(uintptr(l.FD), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("flags %#x, %v; expected close-on-exec", flags, err)
	}
}

func TestAnAddressInUseNamesItsOwner(t *testing.T) {
	for _, test := range []struct{ first, second string }{
		{"127.0.0.1", "127.0.0.1"},
		{"127.0.0.1", ""},
		{"127.0.0.1", "0.0.0.0"},
		{"", "127.0.0.1"},
		{"", ""},
	} {
		t.Run(test.first+" then "+test.second, func(t *testing.T) {
			first := listen(t, test.first+":0")
			address := fmt.Sprintf("%s:%d", test.second, first.Addr.(*net.TCPAddr).Port)
			_, err := sockets.Listen(t.Context(), "front", keeper.FrontFD, address)
			inUse, ok := errors.AsType[*sockets.InUseError](err)
			if !ok || !errors.Is(err, unix.EADDRINUSE) {
				t.Fatalf("got %v, expected an InUseError", err)
			}
			if len(inUse.Owners) != 1 || inUse.Owners[0] != os.Getpid() {
				t.Errorf("owners %v, expected this test, %d", inUse.Owners, os.Getpid())
			}
			want := fmt.Sprintf("open listener front: %s is in use by sockets.test (PID %d)", address, os.Getpid())
			if err.Error() != want {
				t.Errorf("got %q, expected %q", err, want)
			}
		})
	}
}

func TestListenSaysWhatIsWrong(t *testing.T) {
	for address, says := range map[string]string{
		"8000":             "missing port",
		"192.0.2.1:0":      "cannot assign requested address",
		"127.0.0.1:x":      "unknown port",
		"127.0.0.1:123456": "invalid port",
	} {
		_, err := sockets.Listen(t.Context(), "front", keeper.FrontFD, address)
		if err == nil || !strings.Contains(err.Error(), says) || !strings.HasPrefix(err.Error(), "open listener front: ") {
			t.Errorf("%s: got %v, expected %q in it", address, err, says)
		}
	}
}

func TestNetListenerEndsAlone(t *testing.T) {
	l, err := sockets.Listen(t.Context(), "front", keeper.FrontFD, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		listener, err := l.NetListener()
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			if c, err := listener.Accept(); err == nil {
				c.Write([]byte("hello"))
				c.Close()
			}
		}()
		if got := hear(t, l.Addr); got != "hello" {
			t.Errorf("heard %q", got)
		}
		listener.Close()
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if c, err := net.Dial("tcp", l.Addr.String()); err == nil {
		c.Close()
		t.Error("connected after the end")
	}
}

// hear connects and returns all that the other side says.
func hear(t *testing.T, to net.Addr) string {
	t.Helper()
	c, err := net.Dial(to.Network(), to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	said, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(said)
}

func TestListenUnixSaysWhoIsThere(t *testing.T) {
	path := filepath.Join(shortDir(t), "control.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	refusal := errors.New("a sidecar is there")
	_, err = sockets.ListenUnix(t.Context(), "control", keeper.ControlFD, path, func() error { return refusal })
	if !errors.Is(err, refusal) {
		t.Errorf("got %v", err)
	}
}
