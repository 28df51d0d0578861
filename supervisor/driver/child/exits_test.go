package child

import (
	"context"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

const exited7 = syscall.WaitStatus(7 << 8)

func wantEnd(t *testing.T, e *exits, pid int, want syscall.WaitStatus, known bool) {
	t.Helper()
	if got, ok := e.take(t.Context(), pid); got != want || ok != known {
		t.Errorf("the end of %d: got %#x, known %v, want %#x, known %v", pid, got, ok, want, known)
	}
}

func TestTheKeepersWordMayComeBeforeOrAfterWeAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newExits()
		e.note(1, exited7)
		wantEnd(t, e, 1, exited7, true)

		time.AfterFunc(recordPatience-1, func() { e.note(2, exited7) })
		wantEnd(t, e, 2, exited7, true)
		wantEnd(t, e, 2, 0, false) // it was taken

		begun := time.Now()
		wantEnd(t, e, 3, 0, false)
		if waited := time.Since(begun); waited != recordPatience {
			t.Errorf("a word that never came was waited for %v, want %v", waited, recordPatience)
		}
	})
}

func TestNobodyIsAskedForAnOlderProcessWithTheSamePID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newExits()
		e.note(1, exited7)
		e.forget()
		wantEnd(t, e, 1, 0, false)
	})
}

func TestEndsThatNobodyAsksForAreBounded(t *testing.T) {
	e := newExits()
	for pid := range 10 * mostEarly {
		e.note(pid+1, 0)
	}
	if got := len(e.early); got > mostEarly {
		t.Errorf("%d ends are kept, want at most %d", got, mostEarly)
	}
}

func TestAWaitForTheKeepersWordEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	e := newExits()
	if _, known := e.take(ctx, 1); known {
		t.Error("an end was known that nobody told")
	}
	if len(e.asked) != 0 {
		t.Error("who has given up is still waited for")
	}
}
