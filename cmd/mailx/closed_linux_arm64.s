#include "textflag.h"

#define SYS_fcntl 25
#define F_GETFD   1

// entry is where the program begins, before the runtime: no stack of Go, no arguments, nothing to return to.
TEXT ·entry(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	MOVD $SYS_fcntl, R8
	MOVD $1, R0
	MOVD $F_GETFD, R1
	SVC
	MOVW R0, ·stdoutAtStart(SB)
	JMP  _rt0_arm64_linux(SB)
