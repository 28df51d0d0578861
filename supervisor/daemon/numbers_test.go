package daemon

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"autoglm-sidecar/health"
	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/keeper"
	"autoglm-sidecar/supervisor"
)

func TestEachReasonAndResultIsShown(t *testing.T) {
	var counts supervisor.Counts
	counts[health.Operator][supervisor.Done], counts[health.Hung][supervisor.GivenUp] = 2, 1
	var some []string
	all := restartsOf(counts)
	for _, c := range all {
		for range c.Restarts {
			some = append(some, c.Reason+" "+c.Result)
		}
	}
	if got := strings.Join(some, ", "); got != "operator done, operator done, hung given_up" || len(all) != 4*(health.NumReasons-1) {
		t.Errorf("%d combinations, counted %q", len(all), got)
	}
}

func TestDeathsAreCountedThoughTheKeepersRingForgets(t *testing.T) {
	a, p := arena.OnHeap(1), new(keeper.Page)
	die := func(n int, d keeper.Death) {
		for range n {
			p.Deaths[p.Noted%uint64(len(p.Deaths))] = d
			p.Noted++
		}
	}
	killed, panicked := keeper.Death{Why: keeper.WhySignal, Status: uint16(syscall.SIGKILL)}, keeper.Death{Why: keeper.WhyExit, Status: 2 << 8}
	for range 3 {
		die(150, killed)
		die(1, panicked)
		countDeaths(a.Account(), p)
		countDeaths(a.Account(), p) // a runner that died right after it had counted
	}
	if got := deathsOf(a.Account()); got["killed"] != 450 || got["fault"] != 3 || got["hung"] != 0 {
		t.Errorf("counted %v, want 450 killed and 3 faults", got)
	}
	die(len(p.Deaths)+5, killed) // more than anybody has noted: what was forgotten is not invented
	countDeaths(a.Account(), p)
	if got := deathsOf(a.Account()); got["killed"] != 450+int64(len(p.Deaths)) {
		t.Errorf("counted %v", got)
	}
}

func TestAClockThatJumpsIsSaidAndOneThatDriftsIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		d := &daemon{arena: arena.OnHeap(1), Options: Options{Log: slog.New(slog.NewTextHandler(&out, nil))}}
		began := time.Now()
		var offset atomic.Int64 // of the wall clock
		read := func() clocks {
			since := time.Since(began)
			return clocks{wall: began.Add(since + since/2000 + time.Duration(offset.Load())).Round(0), mono: since} // 500 ppm fast
		}
		go d.watchClock(t.Context(), read)
		for _, test := range []struct {
			jump time.Duration
			want int64
		}{{0, 0}, {time.Hour, 1}, {0, 1}, {-48 * time.Hour, 2}, {900 * time.Millisecond, 2}} {
			offset.Add(int64(test.jump))
			time.Sleep(lookAtClock + time.Second)
			synctest.Wait()
			if got := d.arena.Account().ClockJumps.Load(); got != test.want {
				t.Errorf("after a jump by %v: %d jumps counted, want %d", test.jump, got, test.want)
			}
		}
		if said := out.String(); strings.Count(said, "\n") != 2 || !strings.Contains(said, "by=1h0m0") || !strings.Contains(said, "by=-47h59m59") && !strings.Contains(said, "by=-48h0m0") {
			t.Errorf("the log says %s", said)
		}
	})
}

func TestADiskThatFailsIsSaidWhenThatChanges(t *testing.T) {
	var out bytes.Buffer
	d := &daemon{arena: arena.OnHeap(1), Options: Options{Log: slog.New(slog.NewTextHandler(&out, nil))}}
	full := errors.New("no space left on device")
	for _, test := range []struct {
		err    error
		lines  int
		errors int64
	}{{nil, 0, 0}, {full, 1, 1}, {full, 1, 2}, {errors.New("read-only"), 2, 3}, {nil, 3, 3}, {nil, 3, 3}} {
		d.stateIs(test.err)
		if lines := strings.Count(out.String(), "\n"); lines != test.lines || d.arena.Account().StateErrors.Load() != test.errors {
			t.Errorf("after %v: %d lines and %d errors, want %d and %d:\n%s", test.err, lines, d.arena.Account().StateErrors.Load(), test.lines, test.errors, &out)
		}
		if why := d.noState(); (why == "") != (test.err == nil) {
			t.Errorf("status says %q after %v", why, test.err)
		}
	}
}
