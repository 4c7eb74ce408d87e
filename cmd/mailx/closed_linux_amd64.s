#include "textflag.h"

#define SYS_fcntl 72
#define F_GETFD   1

// entry is where the program begins, before the runtime: no stack of Go, no arguments, nothing to return to.
TEXT ·entry(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	MOVL $SYS_fcntl, AX
	MOVL $1, DI
	MOVL $F_GETFD, SI
	SYSCALL
	MOVL AX, ·stdoutAtStart(SB)
	JMP  _rt0_amd64_linux(SB)
