package sockets_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"autoglm-sidecar/sockets"
	"autoglm-sidecar/sockets/keeper"
)

// shortDir is a directory whose sockets' paths fit (107 bytes).
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sockets")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func listenAt(t *testing.T, path string) (*sockets.Listener, error) {
	return sockets.Listen(t.Context(), "front", keeper.FrontFD, "unix:"+path)
}

func TestAUnixFrontServesOwnerAndGroupAndGoesWithItsFile(t *testing.T) {
	for _, mask := range []int{0, 0o022, 0o077} {
		t.Run(fmt.Sprintf("umask %03o", mask), func(t *testing.T) {
			before := unix.Umask(mask)
			defer unix.Umask(before)
			path := filepath.Join(shortDir(t), "made", "a.sock")
			l, err := listenAt(t, path)
			if err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(path)
			if err != nil || info.Mode().Perm() != 0o660 {
				t.Errorf("the socket has mode %v, %v; want 0660", info.Mode(), err)
			}
			if l.Addr.Network() != "unix" || l.Addr.String() != path {
				t.Errorf("it is bound to %s %s", l.Addr.Network(), l.Addr)
			}
			if fd, _, err := unix.Accept(l.FD); !errors.Is(err, unix.EAGAIN) {
				t.Errorf("accept with nobody there: %d, %v; expected EAGAIN", fd, err)
			}
			c, err := net.Dial("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the file is left behind: %v", err)
			}
		})
	}
}

func TestASocketFileThatNobodyAnswersAtIsReplaced(t *testing.T) {
	path := filepath.Join(shortDir(t), "a.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	l, err := listenAt(t, path)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

func TestASocketFileInUseIsLeftAloneAndNamesItsOwner(t *testing.T) {
	path := filepath.Join(shortDir(t), "a.sock")
	first, err := listenAt(t, path)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	_, err = listenAt(t, path)
	want := fmt.Sprintf("open listener front: unix:%s is in use by sockets.test (PID %d)", path, os.Getpid())
	if _, ok := errors.AsType[*sockets.InUseError](err); !ok || !errors.Is(err, unix.EADDRINUSE) || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("the first one is gone: %v", err)
	}
	c.Close()
}

func TestWhatIsInAUnixFrontsWayIsSaid(t *testing.T) {
	dir := shortDir(t)
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, says := range map[string]string{
		plain:                        plain + ": there is a file of this name that is no socket",
		filepath.Join(plain, "sock"): "mkdir " + plain + ": not a directory",
		filepath.Join(dir, strings.Repeat("x", 120)): "invalid argument",
		dir: "is no socket",
	} {
		_, err := listenAt(t, path)
		if err == nil || !strings.HasPrefix(err.Error(), "open listener front: ") || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v, want %q in it", path, err, says)
		}
	}
	if got, err := os.ReadFile(plain); err != nil || string(got) != "precious" {
		t.Errorf("the file is %q, %v now", got, err)
	}
}

func TestOfManyThatStartAtOnceOneGetsTheFile(t *testing.T) {
	path := filepath.Join(shortDir(t), "a.sock")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	var rivals sync.WaitGroup
	got := make(chan *sockets.Listener, 16)
	for range cap(got) {
		rivals.Go(func() {
			if l, err := listenAt(t, path); err == nil {
				got <- l
			}
		})
	}
	rivals.Wait()
	if n := len(got); n != 1 {
		t.Errorf("%d of %d got the file, want one", n, cap(got))
	}
	for range len(got) {
		(<-got).Close()
	}
}
