package keeper

import (
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// die notes n deaths, every apart, and returns when the last one was.
func die(p *Page, n int, at, every time.Duration, d Death) time.Duration {
	for range n {
		at += every
		d.When = uint32(at / (time.Second / 10))
		p.Deaths[p.Noted%uint64(len(p.Deaths))] = d
		p.Noted++
	}
	return at
}

func killed(s syscall.Signal) Death { return Death{Why: WhySignal, Status: uint16(s), Ready: true} }

func exited(status int) Death { return Death{Why: WhyExit, Status: uint16(status << 8), Ready: true} }

func TestCrashLoop(t *testing.T) {
	hung := Death{Why: WhyHang, Status: uint16(syscall.SIGKILL), Ready: true}
	for _, test := range []struct {
		name   string
		death  Death
		n      int
		every  time.Duration
		halted string // a part of the reason; "": not halted
	}{
		{"no death", Death{}, 0, 0, ""},
		{"30 panics at once", exited(2), 30, 0, ""},
		{"31 panics at once", exited(2), 31, 0, "31 times in 30s by its own fault, the last one panicked"},
		{"panics for a day, one a second", exited(2), 86400, time.Second, "31 times"},
		{"panics for a day, one in 1.1 s", exited(2), 80000, 1100 * time.Millisecond, ""},
		{"31 hangs", hung, 31, 900 * time.Millisecond, "the last one hung: a loop stood still"},
		{"31 faults", killed(syscall.SIGSEGV), 31, 0, "killed by signal 11"},
		{"31 bus errors", killed(syscall.SIGBUS), 31, 0, "by its own fault"},
		{"31 aborts", killed(syscall.SIGABRT), 31, 0, "by its own fault"},
		{"31 illegal instructions", killed(syscall.SIGILL), 31, 0, "by its own fault"},
		{"31 bad divisions", killed(syscall.SIGFPE), 31, 0, "by its own fault"},
		{"240 kills at 140 ms: a test", killed(syscall.SIGKILL), 240, 140 * time.Millisecond, ""},
		{"300 kills in a minute", killed(syscall.SIGKILL), 300, 190 * time.Millisecond, ""},
		{"301 kills in a minute", killed(syscall.SIGKILL), 301, 190 * time.Millisecond, "301 times in 1m0s, the last one killed by signal 9"},
		{"kills for a day, one in 200 ms", killed(syscall.SIGKILL), 432000, 200 * time.Millisecond, "301 times"},
		{"kills for a day, one in 210 ms", killed(syscall.SIGKILL), 400000, 210 * time.Millisecond, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := &Page{}
			now := die(p, test.n, 100*time.Hour, test.every, test.death)
			reason, halted := CrashLoop(p, now)
			if halted != (test.halted != "") || !strings.Contains(reason, test.halted) {
				t.Errorf("got %v, %q; expected %q", halted, reason, test.halted)
			}
		})
	}
}

func TestCrashLoopForgets(t *testing.T) {
	p := &Page{}
	now := die(p, 31, time.Hour, 0, exited(2))
	if _, halted := CrashLoop(p, now+ownFaultWindow); !halted {
		t.Error("at the window's end: not halted")
	}
	if reason, halted := CrashLoop(p, now+ownFaultWindow+time.Second/10); halted {
		t.Errorf("after the window: halted: %s", reason)
	}
}

func TestCrashLoopTellsFaultsFromKills(t *testing.T) {
	p := &Page{}
	now := time.Hour
	for range 100 { // 30 panics among kills
		now = die(p, 1, now, 0, killed(syscall.SIGKILL))
	}
	now = die(p, 30, now, 0, exited(2))
	if reason, halted := CrashLoop(p, now); halted {
		t.Errorf("halted: %s", reason)
	}
	die(p, 1, now, 0, exited(2))
	if _, halted := CrashLoop(p, now); !halted {
		t.Error("not halted by one more")
	}
}

func TestThePageFitsIntoAPage(t *testing.T) {
	want(t, "page", unsafe.Sizeof(Page{}) <= 4096, true)
	want(t, "ring holds what the limit counts", len(Page{}.Deaths) > anyLimit, true)
}
