package keeper

import "syscall"

// Kind sorts deaths for those who count them.
type Kind uint8

// The kinds of a death.
const (
	Killed   Kind = iota // by somebody's SIGKILL, or the kernel's want of memory
	Faulted              // a panic, or a signal that says that the runner was at fault
	Hung                 // a loop stood still
	Ended                // it ended by itself, with a status
	NumKinds = int(Ended) + 1
)

var kindNames = [NumKinds]string{Killed: "killed", Faulted: "fault", Hung: "hung", Ended: "exit"}

func (k Kind) String() string { return kindNames[k] }

// Kind is what sort of death it was.
func (d Death) Kind() Kind {
	switch {
	case d.Why == WhyHang:
		return Hung
	case d.ownFault():
		return Faulted
	case d.Why == WhySignal && syscall.WaitStatus(d.Status).Signaled():
		return Killed
	}
	return Ended
}
