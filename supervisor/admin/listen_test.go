package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestTheSocketIsForOwnerAndGroup(t *testing.T) {
	for _, mask := range []int{0, 0o022, 0o077} {
		t.Run(fmt.Sprintf("umask %03o", mask), func(t *testing.T) {
			before := unix.Umask(mask)
			defer unix.Umask(before)
			path := filepath.Join(shortDir(t), "a.sock")
			l, err := Listen(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			info, err := os.Stat(path)
			if err != nil || info.Mode().Perm() != 0o660 {
				t.Errorf("the socket has mode %v, %v; want 0660", info.Mode(), err)
			}
		})
	}
}

func TestTheSocketOutlivesItsListener(t *testing.T) {
	path := filepath.Join(shortDir(t), "a.sock")
	l, err := Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the file went with the listener (%v): the next runner's clients would not find it", err)
	}
	// Nobody listens on it now, so it is stale.
	l, err = Listen(t.Context(), path)
	if err != nil {
		t.Fatalf("a stale socket is in the way: %v", err)
	}
	l.Close()
}

func TestASocketInUseIsLeftAlone(t *testing.T) {
	f := newFake()
	f.status = Status{Name: "gpu0", Keeper: 4711}
	path := serveFake(t, f, Options{})
	_, err := Listen(t.Context(), path)
	if err == nil || !strings.Contains(err.Error(), "sidecar gpu0 is running already, PID 4711") {
		t.Errorf("got %v, want who is running already", err)
	}
	if _, err := NewClient(path).Status(t.Context()); err != nil {
		t.Errorf("the sidecar that was there can't be asked any more: %v", err)
	}
}

func TestAFileInTheWayIsNotRemoved(t *testing.T) {
	path := filepath.Join(shortDir(t), "a.sock")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(t.Context(), path); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("got %v, want that the file is no socket", err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "precious" {
		t.Errorf("the file is %q, %v now", got, err)
	}
}

func TestAPlaceThatCannotBeBoundIsToldOnce(t *testing.T) {
	dir := shortDir(t)
	path := filepath.Join(dir, strings.Repeat("x", 120))
	if _, err := Listen(t.Context(), path); err == nil || err.Error() != path+": bind: invalid argument" {
		t.Errorf("a path that is too long gives %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "plain"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, "plain", "a.sock")
	if _, err := Listen(t.Context(), path); err == nil || err.Error() != path+": mkdir "+filepath.Dir(path)+": not a directory" {
		t.Errorf("a file for a directory gives %v", err)
	}
}

// The kernel takes connections for a process that is stopped, up to the backlog.
func TestASidecarThatDoesNotAnswer(t *testing.T) {
	path := filepath.Join(shortDir(t), "a.sock")
	l, err := Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = NewClient(path).ask(t.Context(), http.MethodGet, "/v1/status", nil, 50*time.Millisecond, &Status{})
	want := "control socket " + path + ": the sidecar does not answer within 50ms; it may be stopped or hanging"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Listen(ctx, path); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("a second sidecar gets %v, want that the first does not answer", err)
	}
}

func TestOfManySidecarsThatStartAtOnceOneGetsTheSocket(t *testing.T) {
	path := filepath.Join(shortDir(t), "a.sock")
	stale, err := Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	stale.Close()
	const rivals = 16
	var wg sync.WaitGroup
	listeners := make(chan net.Listener, rivals)
	for range rivals {
		wg.Go(func() {
			if l, err := Listen(t.Context(), path); err == nil {
				listeners <- l
				runServer(t, func(ctx context.Context) error { return ServeControl(ctx, l, newFake(), Options{}) })
			}
		})
	}
	wg.Wait()
	if got := len(listeners); got != 1 {
		t.Errorf("%d of %d got the socket, want one", got, rivals)
	}
}

func TestThePeerIsTheProcessThatConnected(t *testing.T) {
	l, err := Listen(t.Context(), filepath.Join(shortDir(t), "a.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	far, err := bound(l).Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	got, err := peerOf(far)
	want := Peer{UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), PID: int32(os.Getpid())}
	if err != nil || got != want {
		t.Errorf("peer is %+v, %v; want %+v", got, err, want)
	}

	near, other := net.Pipe()
	defer near.Close()
	if p, err := peerOf(other); err == nil {
		t.Errorf("a connection without credentials gives %+v", p)
	}
	if _, known := peerFrom(withPeer(t.Context(), other)); known {
		t.Error("a connection without credentials has a peer")
	}
}

func TestNobodyRunning(t *testing.T) {
	dir := shortDir(t)
	stale := filepath.Join(dir, "stale.sock")
	l, err := Listen(t.Context(), stale)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	missing := filepath.Join(dir, "missing.sock")
	_, err = Find([]string{missing, stale})
	n, ok := errors.AsType[NotRunning](err)
	want := fmt.Sprintf("no sidecar is running (tried %s: no such socket; %s: nobody listens on it any more)", missing, stale)
	if !ok || n.Forbidden() || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Find([]string{plain, dir}); err == nil || err.Error() != "no sidecar is running (tried "+plain+": is no socket; "+dir+": is no socket)" {
		t.Errorf("a plain file and a directory give %v", err)
	}
	closed := NotRunning{{Path: "/x", Err: fs.ErrPermission}}
	if !closed.Forbidden() || closed.Error() != "may not ask the sidecar (tried /x: permission denied)" {
		t.Errorf("a socket that may not be opened gives: %v", closed)
	}

	path := serveFake(t, newFake(), Options{})
	if c, err := Find([]string{missing, path}); err != nil || c.Path() != path {
		t.Errorf("the second socket of two is not found: %v", err)
	}
}
