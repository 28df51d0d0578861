package admin

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// written is an open file with that text.
func written(t *testing.T, text string) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestAnUpgradeComesWithItsFileOrWithNone(t *testing.T) {
	f := newFake()
	f.status.Version = "old"
	c := NewClient(serveFake(t, f, Options{}))
	for i, test := range []struct {
		file *os.File
		to   string
	}{{nil, "its own"}, {written(t, "v2"), "v2"}, {nil, "its own"}} {
		u, err := c.Upgrade(t.Context(), test.file)
		if err != nil || u.To != test.to || u.Number != int64(i+1) {
			t.Fatalf("upgrade %d: %+v, %v; want to %s", i+1, u, err, test.to)
		}
		s, err := c.AwaitUpgrade(t.Context(), u, false)
		if err != nil || s.Version != test.to {
			t.Errorf("after it: %+v, %v; want version %s", s, err, test.to)
		}
	}
}

func TestARefusedUpgradeIsToldWhy(t *testing.T) {
	f := newFake()
	f.refuse = &Refusal{Code: Unfit, Message: "no upgrade: it is no program of Linux"}
	c := NewClient(serveFake(t, f, Options{}))
	for _, file := range []*os.File{nil, written(t, "garbage")} {
		_, err := c.Upgrade(t.Context(), file)
		if refusal, ok := errors.AsType[*Refusal](err); !ok || *refusal != *f.refuse.(*Refusal) {
			t.Errorf("got %v, want the refusal", err)
		}
	}
}

func TestAnUpgradeThatWasUndoneIsAnError(t *testing.T) {
	f := newFake()
	c := NewClient(serveFake(t, f, Options{}))
	u, err := c.Upgrade(t.Context(), written(t, "bad"))
	if err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	f.status = Status{Version: "old", Upgrades: Upgrades{Tried: 1, Undone: 1, LastError: "its runner panicked"}}
	f.mu.Unlock()
	s, err := c.AwaitUpgrade(t.Context(), u, true)
	if undone, ok := errors.AsType[*UndoneError](err); !ok || undone.Why != "its runner panicked" || s.Version != "old" {
		t.Errorf("got %+v, %v", s, err)
	}
}

// Whatever a peer passes beside what it asks for is closed.
func TestDescriptorsThatNobodyWantsAreClosed(t *testing.T) {
	f := newFake()
	path := serveFake(t, f, Options{})
	const ask = "GET /v1/status HTTP/1.1\r\nHost: s\r\n\r\n"
	const upgrade = "POST /v1/upgrade HTTP/1.1\r\nHost: s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	send := func(text string, fds ...int) {
		t.Helper()
		if _, _, err := c.(*net.UnixConn).WriteMsgUnix([]byte(text), unix.UnixRights(fds...), nil); err != nil {
			t.Fatal(err)
		}
	}
	last := written(t, "the last one")
	send(ask, pipe[1], pipe[1], pipe[1])
	send(ask, slices.Repeat([]int{pipe[1]}, 20)...)
	send(upgrade, pipe[1], int(last.Fd()))
	answer := make([]byte, 0, 8<<10)
	for n := 1; n > 0; {
		n, _ = c.Read(answer[len(answer):cap(answer)])
		answer = answer[:len(answer)+n]
	}
	c.Close()
	unix.Close(pipe[1])
	if got := strings.Count(string(answer), "HTTP/1.1 20"); got != 3 {
		t.Errorf("three requests got %d answers:\n%s", got, answer)
	}
	f.mu.Lock()
	if want := fmt.Sprintf("uid %d: the last one", os.Getuid()); len(f.upgrades) != 1 || f.upgrades[0] != want {
		t.Errorf("the backend got %q, want %q", f.upgrades, want)
	}
	f.mu.Unlock()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		n, err := unix.Read(pipe[0], make([]byte, 1))
		if n == 0 && err == nil {
			return // the last writing end is closed
		}
		if time.Now().After(deadline) {
			t.Fatalf("a descriptor that nobody wanted is still open (%v)", err)
		}
	}
}
