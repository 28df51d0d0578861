#include "textflag.h"

// Entry is where the kernel starts the program: SP points at argc, then argv, the environment and the auxiliary
// vector. It calls keep(SP), which returns only in a process that is to have a runtime, and jumps into that.
//
// keep is called through its func value, static data: called by name it would be its ABI0 wrapper, which loads g from
// thread-local storage that does not exist yet. So the registers are set as ABIInternal wants them: the argument in
// AX, the closure in DX, X15 zero, no g in R14. The words below the call are the callee's spill area for arguments.
TEXT ·Entry(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	MOVQ	SP, AX
	MOVQ	·keepFn(SB), DX
	MOVQ	(DX), CX
	XORPS	X15, X15
	XORL	R14, R14
	SUBQ	$64, SP
	CALL	CX
	ADDQ	$64, SP
	JMP	_rt0_amd64_linux(SB)
