#include "textflag.h"

#define SYS_rt_sigaction 134
#define SYS_fcntl        25
#define F_GETFD          1
#define SIGQUIT          3

// entry is where the program begins, before the runtime: no stack of Go, no arguments, nothing to return to.
TEXT ·entry(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	MOVD $SYS_fcntl, R8
	MOVD $1, R0
	MOVD $F_GETFD, R1
	SVC
	MOVW R0, ·stdoutAtStart(SB)
	MOVD $SYS_rt_sigaction, R8
	MOVD $SIGQUIT, R0
	MOVD $0, R1
	MOVD $·quitAtStart(SB), R2
	MOVD $8, R3
	SVC
	JMP  _rt0_arm64_linux(SB)
