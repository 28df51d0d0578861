#include "textflag.h"

// Entry is where the kernel starts the program. See entry_amd64.s; here the argument is in R0, the closure in R26 and
// g, which there is none of, in R28.
TEXT ·Entry(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	MOVD	RSP, R0
	MOVD	·keepFn(SB), R26
	MOVD	(R26), R1
	MOVD	ZR, g
	SUB	$64, RSP
	CALL	(R1)
	ADD	$64, RSP
	JMP	_rt0_arm64_linux(SB)
