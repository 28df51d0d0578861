package keeper

import (
	"syscall"
	"testing"
)

func TestEachDeathHasAKind(t *testing.T) {
	for _, test := range []struct {
		death Death
		want  string
	}{
		{Death{Why: WhySignal, Status: uint16(syscall.SIGKILL)}, "killed"},
		{Death{Why: WhySignal, Status: uint16(syscall.SIGTERM)}, "killed"},
		{Death{Why: WhySignal, Status: uint16(syscall.SIGSEGV)}, "fault"},
		{Death{Why: WhyExit, Status: 2 << 8}, "fault"},
		{Death{Why: WhyExit, Status: 1 << 8}, "exit"},
		{Death{Why: WhyHang, Status: uint16(syscall.SIGKILL)}, "hung"},
		{Death{}, "exit"},
	} {
		if got := test.death.Kind().String(); got != test.want {
			t.Errorf("%v is %q, want %q", test.death, got, test.want)
		}
	}
}
