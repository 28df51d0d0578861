package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestTheFirstSignalLeavesAndALaterOneHurries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		signals := make(chan os.Signal)
		var log bytes.Buffer
		w := wish(ctx, signals, true, 2*time.Minute, slog.New(slog.NewTextHandler(&log, nil)))
		expect := func(when string, leave, hurry bool, words string) {
			t.Helper()
			synctest.Wait()
			if !strings.Contains(log.String(), words) || words == "" && log.Len() > 0 {
				t.Errorf("%s the log says %q, want %q", when, log.String(), words)
			}
			log.Reset()
			if closed(w.leave) != leave || closed(w.hurry) != hurry {
				t.Errorf("%s: leave %v, hurry %v; want %v, %v", when, closed(w.leave), closed(w.hurry), leave, hurry)
			}
		}
		expect("before any signal", false, false, "")
		signals <- syscall.SIGTERM
		expect("after SIGTERM", true, false, "leaving: new streams are refused, open ones have at most 2m00s; again after a second to hurry")
		// A service manager's second copy of it comes at once.
		time.Sleep(sameSignal - time.Millisecond)
		signals <- syscall.SIGTERM
		expect("after the same SIGTERM once more", true, false, "counts as the first")
		time.Sleep(time.Millisecond)
		signals <- syscall.SIGINT
		expect("a second later", true, true, "hurrying: no stream is waited for any more, any that is still open is cut")
	})
}

func TestHangup(t *testing.T) {
	for _, attended := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			signals := make(chan os.Signal)
			var log bytes.Buffer
			w := wish(ctx, signals, attended, time.Minute, slog.New(slog.NewTextHandler(&log, nil)))
			signals <- syscall.SIGHUP
			synctest.Wait()
			if closed(w.leave) != attended {
				t.Errorf("SIGHUP with a terminal %v: leave %v", attended, closed(w.leave))
			}
			if attended == strings.Contains(log.String(), "going on") {
				t.Errorf("SIGHUP with a terminal %v is logged as %s", attended, log.String())
			}
		})
	}
}

// brokenEnv makes the test binary a program whose stdout nobody reads, and that says on stderr whether it lives on.
const brokenEnv = "CLI_TEST_BROKEN"

func TestMain(m *testing.M) {
	if os.Getenv(brokenEnv) == "" {
		os.Exit(m.Run())
	}
	listen(context.Background(), time.Minute, slog.New(slog.DiscardHandler))
	io.Copy(io.Discard, os.Stdin) // until the other end of stdout is closed
	_, err := os.Stdout.WriteString("a line\n")
	fmt.Fprint(os.Stderr, errors.Is(err, syscall.EPIPE))
}

func TestOutputThatNobodyReadsIsNotTheEnd(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), os.Args[0])
	c.Env = append(os.Environ(), brokenEnv+"=1")
	var stderr bytes.Buffer
	c.Stdout, c.Stderr = write, &stderr
	stdin, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	read.Close()
	stdin.Close()
	if err := c.Wait(); err != nil || stderr.String() != "true" {
		t.Errorf("it ended with %v, and the write failed with EPIPE: %q; want a failed write and no more", err, stderr.String())
	}
}

func TestARealSignalArrives(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w := listen(ctx, time.Minute, slog.New(slog.DiscardHandler))
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-w.leave:
	case <-time.After(10 * time.Second):
		t.Error("SIGTERM does not ask to leave")
	}
}
