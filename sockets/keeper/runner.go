package keeper

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Absence is why a program has no keeper.
type Absence int

// The reasons. NotEntered comes first: where Entry never ran, nobody said another.
const (
	NotEntered      Absence = iota // the build lacks the entry point
	NotRun                         // another subcommand than `run`
	SwitchedOff                    // NoKeeperVariable
	CouldNotPrepare                // a system call failed
	Present                        // it has one
)

// Gen is the number of this runner, counted from 1; 0: there is no keeper.
func Gen() int64 { return own.gen }

// Entered says whether the program was built with Entry as its entry point, whatever the subcommand.
func Entered() bool { return own.absence != NotEntered }

// Info is what a runner knows of its keeper.
type Info struct {
	Gen       int64 // 0: no keeper
	Keeper    int   // its process; 0: none
	Absence   Absence
	Errno     syscall.Errno // with CouldNotPrepare
	FileLimit unix.Rlimit   // RLIMIT_NOFILE as it was when the program came. What os/exec starts has it again
}

// Start makes the process fit to be the runner: nothing that is open goes on to a worker, and no other process of the
// same user may look into it. It is called once, early, by `run`; the Info is to be logged.
func Start() (Info, error) {
	info := Info{Gen: own.gen, Absence: own.absence, Errno: syscall.Errno(own.failed)}
	info.FileLimit = unix.Rlimit{Cur: own.limit.soft, Max: own.limit.hard}
	if own.gen > 0 {
		info.Keeper = own.pid
	} else if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return info, fmt.Errorf("close the process to others: %w", err)
	}
	// What a parent let through, and what BecomeKeeper opened for its own execve.
	if err := unix.CloseRange(firstOwn, 1<<31-1, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return info, fmt.Errorf("keep open descriptors from the worker (needs Linux 5.11): %w", err)
	}
	return info, nil
}

// firstOwn is the first descriptor behind stdin, stdout and stderr.
const firstOwn = 3

// String says it for the log.
func (i Info) String() string {
	if i.Gen > 0 {
		return fmt.Sprintf("runner %d under keeper %d: streams survive the death of the runner", i.Gen, i.Keeper)
	}
	why := "this build lacks the entry point, build with make build"
	switch i.Absence {
	case NotEntered, Present:
	case NotRun:
		why = "only run has one, and run has to be the first argument"
	case SwitchedOff:
		why = NoKeeperVariable + " is set"
	case CouldNotPrepare:
		why = i.Errno.Error()
	}
	return "no keeper (" + why + "): streams end when this process dies"
}

// Orphaned says whether the keeper is dead. A runner asks once after it has asked for OrphanedSignal: one that came
// earlier was dropped.
func Orphaned() bool { return own.gen > 0 && os.Getppid() != own.pid }

// Bereaved returns a channel that is closed when the keeper is dead, however early that was; never without a keeper,
// and never after ctx is done.
func Bereaved(ctx context.Context) <-chan struct{} {
	gone := make(chan struct{})
	if own.gen == 0 {
		return gone
	}
	died := make(chan os.Signal, 1)
	signal.Notify(died, OrphanedSignal)
	go func() {
		defer signal.Stop(died)
		for !Orphaned() { // anybody can send the signal
			select {
			case <-died:
			case <-ctx.Done():
				return
			}
		}
		close(gone)
	}()
	return gone
}

// BecomeKeeper makes an orphaned runner its own keeper: it executes its own file, whose entry point finds the arena and
// the fixed numbers in place and clones the next runner. Sockets and pipes go along. The loops must stand still, since
// a connection that is accepted meanwhile is lost. It returns only if it fails, and then nothing has changed.
//
// The new keeper is not the parent of a worker that the old one had: that is now some other process's child, and its
// exit shows on its pidfd, without a status.
func BecomeKeeper() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	syscall.ForkLock.Lock() // a child started now would get everything
	defer syscall.ForkLock.Unlock()

	descriptors, err := connections()
	if err != nil {
		return fmt.Errorf("become the keeper: %w", err)
	}
	for fd := FirstFixed; fd < EndFixed; fd++ {
		descriptors = append(descriptors, fd)
	}
	// A blocked signal waits for the keeper, which takes it from there. execve passes this thread's mask on.
	var all, before unix.Sigset_t
	all.Val[0] = watched
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &all, &before); err != nil {
		return fmt.Errorf("become the keeper: block signals: %w", err)
	}
	setCloseOnExec(descriptors, 0)
	err = syscall.Exec("/proc/self/exe", os.Args, os.Environ())
	setCloseOnExec(descriptors, unix.FD_CLOEXEC)
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil) // it was a valid mask a moment ago
	return fmt.Errorf("become the keeper: %w", err)
}

// setCloseOnExec can fail only for a number that isn't open, which needs no flag.
func setCloseOnExec(descriptors []int, flag int) {
	for _, fd := range descriptors {
		_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETFD, flag)
	}
}
