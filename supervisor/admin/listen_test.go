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
	"testing"
	"time"
)

func TestWhoHoldsTheControlSocketIsNamed(t *testing.T) {
	f := newFake()
	f.status = Status{Name: "gpu0", Keeper: 4711}
	path := serveFake(t, f, Options{})
	err := WhoListens(t.Context(), path)
	if err == nil || !strings.Contains(err.Error(), "sidecar gpu0 is running already, PID 4711") {
		t.Errorf("got %v, want who is running already", err)
	}
	if _, err := NewClient(path).Status(t.Context()); err != nil {
		t.Errorf("the sidecar that was there can't be asked any more: %v", err)
	}
}

// The kernel takes connections for a process that is stopped, up to the backlog.
func TestASidecarThatDoesNotAnswer(t *testing.T) {
	path := filepath.Join(shortDir(t), "a.sock")
	l := listen(t, path)
	defer l.Close()
	err := NewClient(path).ask(t.Context(), http.MethodGet, "/v1/status", nil, 50*time.Millisecond, &Status{})
	want := "control socket " + path + ": the sidecar does not answer within 50ms; it may be stopped or hanging"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := WhoListens(ctx, path); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("a second sidecar gets %v, want that the first does not answer", err)
	}
}

func TestThePeerIsTheProcessThatConnected(t *testing.T) {
	l := listen(t, filepath.Join(shortDir(t), "a.sock"))
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
	l := listen(t, stale)
	l.Close()
	missing := filepath.Join(dir, "missing.sock")
	_, err := Find([]string{missing, stale})
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
