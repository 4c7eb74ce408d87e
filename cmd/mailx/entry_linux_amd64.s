#include "textflag.h"

#define SYS_rt_sigaction 13
#define SYS_fcntl        72
#define F_GETFD          1
#define SIGQUIT          3

// entry is where the program begins, before the runtime: no stack of Go, no arguments, nothing to return to.
TEXT ·entry(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	MOVL $SYS_fcntl, AX
	MOVL $1, DI
	MOVL $F_GETFD, SI
	SYSCALL
	MOVL AX, ·stdoutAtStart(SB)
	MOVL $SYS_rt_sigaction, AX
	MOVL $SIGQUIT, DI
	XORL SI, SI
	LEAQ ·quitAtStart(SB), DX
	MOVL $8, R10
	SYSCALL
	JMP  _rt0_amd64_linux(SB)
