package keeper

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// own is all that the keeper knows: package variables, since there is no heap and hardly any stack (a chain of
// nosplit calls has about 700 bytes). It holds no pointers, only addresses, because storing a pointer may call the
// garbage collector's write barrier. The runner gets a copy as of the moment it was cloned.
var own struct {
	absence Absence // why there is no keeper
	failed  uintptr // with CouldNotPrepare: the errno
	page    uintptr // where the arena's first page is mapped; 0: not yet
	argv    uintptr // what the program was started with, for the next one
	envp    uintptr
	name    uintptr // of the program, for ps
	random  uintptr // 16 bytes that Go seeds its random numbers with
	limit   struct{ soft, hard uint64 }
	mask    uint64 // signals that were blocked when the program came

	pid    int // the keeper's
	gen    int64
	runner int
	status int32 // of who was waited for last
	ended  bool  // the runner is dead
	death  int32 // its status
	hung   bool  // we killed it
	lives  int   // in a row that did not get ready
	quit   int64 // when SIGQUIT or SIGABRT came; 0: never
	watch  watch

	// What the kernel reads and writes.
	clock, pause unix.Timespec
	poll         unix.PollFd
	set          uint64
	action       [4]uint64
	info         struct {
		signo, errno, code int32
		rest               [29]int32
	}
	stat    unix.Stat_t
	pair    [2]int32
	entries [1024]uint64
}

// keepFn is keep's func value, laid down in the file: see entry_amd64.s.
//
//lint:ignore U1000 used by Entry, which is assembly
var keepFn = keep

const (
	runCommand      = "run\x00"
	noKeeperSetting = NoKeeperVariable + "=1\x00"

	wordBytes   = 8
	auxRandom   = 25 // AT_RANDOM
	parentDeath = uintptr(OrphanedSignal)
)

// keep is called by Entry with the address of argc. It returns in a process that is to have a runtime: in a runner,
// or in a program that gets no keeper.
//
//go:nosplit
//go:norace
func keep(stack *uintptr) {
	if !wanted(stack) || !prepare() {
		return
	}
	for {
		if startRunner() {
			return
		}
		attend()
		noteDeath()
		switch {
		case hasLeft() || wasToDie():
			leave()
		case isAsked():
			sweep()
			upgrade()
		case onTrial():
			sweep()
			goBack()
		case !worthAnother():
			leave()
		default:
			sweep()
		}
	}
}

// wanted says whether this invocation is to have a keeper, and finds on the way what lies on the stack: argc, argv,
// 0, environment, 0, auxiliary vector.
//
//go:nosplit
//go:norace
func wanted(stack *uintptr) bool {
	own.absence = NotRun
	argc := *stack
	if argc < 2 || !same(stringAt(stack, 2), runCommand) {
		return false
	}
	own.name = baseName(stringAt(stack, 1))
	own.argv = addressOf(stack, 1)
	own.envp = addressOf(stack, argc+2)
	at := argc + 2
	for ; wordAt(stack, at) != 0; at++ {
		if same(stringAt(stack, at), noKeeperSetting) {
			own.absence = SwitchedOff
			return false
		}
	}
	for at++; wordAt(stack, at) != 0; at += 2 {
		if wordAt(stack, at) == auxRandom {
			own.random = wordAt(stack, at+1)
		}
	}
	return true
}

//go:nosplit
//go:norace
func wordAt(stack *uintptr, i uintptr) uintptr {
	return *(*uintptr)(unsafe.Add(unsafe.Pointer(stack), i*wordBytes))
}

//go:nosplit
//go:norace
func addressOf(stack *uintptr, i uintptr) uintptr {
	return uintptr(unsafe.Pointer(stack)) + i*wordBytes
}

//go:nosplit
//go:norace
func stringAt(stack *uintptr, i uintptr) *byte {
	return *(**byte)(unsafe.Add(unsafe.Pointer(stack), i*wordBytes))
}

// baseName is the address of what follows the last slash.
//
//go:nosplit
//go:norace
func baseName(path *byte) uintptr {
	base := uintptr(unsafe.Pointer(path))
	for p := path; *p != 0; p = (*byte)(unsafe.Add(unsafe.Pointer(p), 1)) {
		if *p == '/' {
			base = uintptr(unsafe.Pointer(p)) + 1
		}
	}
	return base
}
