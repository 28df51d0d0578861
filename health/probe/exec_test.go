package probe_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"autoglm-sidecar/health/probe"

	"golang.org/x/sys/unix"
)

func shell(script string) probe.Probe {
	return probe.Exec([]string{"/bin/sh", "-c", script}, []string{"PATH=/usr/bin:/bin"})
}

func TestExec(t *testing.T) {
	for _, test := range []struct{ name, script, want string }{
		{"well", "true", ""},
		{"not well", "exit 3", "exited 3"},
		{"it says why at last", "echo first; echo 'gpu 3 is gone' >&2; echo; exit 1", "exited 1: gpu 3 is gone"},
		{"it prints more than anybody reads", "yes | head -c 1000000; echo end; exit 1", "exited 1: end"},
		{"a line without an end", "head -c 100000 /dev/zero | tr '\\0' x; exit 1", "exited 1: " + strings.Repeat("x", 120) + " ..."},
		{"what it prints is no text", "printf 'a\\033[31m\\200b'; exit 1", "exited 1: a[31mb"},
		{"killed", "kill -SEGV $$", "killed by signal 11"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := shell(test.script)(t.Context())
			if got := fmt.Sprint(err); err == nil && test.want != "" || err != nil && got != test.want {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	if err := probe.Exec([]string{"/nowhere/at/all"}, nil)(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "not run: ") {
		t.Errorf("a command that isn't there gave %v", err)
	}
	if err := probe.Exec(nil, nil)(t.Context()); err == nil {
		t.Error("no command was well")
	}
}

// Whatever it does, it and its children end with the question.
func TestExecIsKilledWithItsChildren(t *testing.T) {
	for name, script := range map[string]string{
		"it takes too long":             "sleep 1000 & echo $! > $0; trap '' TERM; sleep 1000",
		"it leaves a child behind":      "sleep 1000 & echo $! > $0; exit 0",
		"its child keeps the pipe open": "(trap '' HUP; exec sleep 1000) & echo $! > $0; exit 0",
	} {
		t.Run(name, func(t *testing.T) {
			note := filepath.Join(t.TempDir(), "pid")
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			err := probe.Exec([]string{"/bin/sh", "-c", script, note}, []string{"PATH=/usr/bin:/bin"})(ctx)
			if ctx.Err() != nil && !errors.Is(err, probe.ErrNoAnswer) {
				t.Errorf("killed, and it said %v", err)
			}
			text, err := os.ReadFile(note)
			if err != nil {
				t.Fatal(err)
			}
			pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
			if err != nil {
				t.Fatal(err)
			}
			for deadline := time.Now().Add(10 * time.Second); alive(pid); time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					syscall.Kill(pid, syscall.SIGKILL)
					t.Fatalf("its child %d is still there", pid)
				}
			}
		})
	}
}

// alive: it exists and is no zombie that nobody has waited for.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, ok := strings.Cut(string(stat), ") ")
	return ok && state[0] != 'Z'
}

// It gets the environment that it is given, and none of our descriptors.
func TestExecInheritsNothing(t *testing.T) {
	t.Setenv("OUR_SECRET_TOKEN", "hush")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if err := unix.CloseRange(3, 1<<31-1, unix.CLOSE_RANGE_CLOEXEC); err != nil { // what the test itself inherited, as a runner does
		t.Fatal(err)
	}
	note := filepath.Join(t.TempDir(), "note")
	err = probe.Exec([]string{"/bin/sh", "-c", `ls -l /proc/self/fd >$0; env >>$0`, note}, []string{"PATH=/usr/bin:/bin"})(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(note)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "OUR_SECRET_TOKEN") || !strings.Contains(string(text), "\nPATH=/usr/bin:/bin\n") {
		t.Errorf("its environment isn't the one that it was given:\n%s", text)
	}
	var has []string // of ls: /dev/null, the note, the pipe for errors, and the directory that it reads
	for line := range strings.Lines(string(text)) {
		if _, target, ok := strings.Cut(strings.TrimSpace(line), " -> "); ok {
			has = append(has, target)
		}
	}
	if len(has) != 4 || has[0] != "/dev/null" || has[1] != note || !strings.HasPrefix(has[2], "pipe:") || !strings.HasSuffix(has[3], "/fd") {
		t.Errorf("its descriptors are %q", has)
	}
}
