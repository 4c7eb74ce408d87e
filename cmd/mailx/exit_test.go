package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"mailx/pkg/config"
	"mailx/pkg/mail"
)

func pathError(errno syscall.Errno) error { return &fs.PathError{Op: "open", Path: "/x", Err: errno} }

func TestExitCode(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errNoMatch(), 1},
		{usagef("x"), 64},
		{fmt.Errorf("a: %w", usagef("x")), 64},
		{pathError(syscall.ENOENT), 66},
		{&bugError{value: "x"}, 70},
		{exitWith(exCantCreate, pathError(syscall.EACCES)), 73},
		{pathError(syscall.EEXIST), 73},
		{pathError(syscall.EROFS), 73},
		{pathError(syscall.ENOTDIR), 73},
		{pathError(syscall.EISDIR), 73},
		{pathError(syscall.EIO), 74},
		{pathError(syscall.ENOSPC), 75},
		{pathError(syscall.EDQUOT), 75},
		{&fs.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.ENOSPC}, 74},
		{&fs.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.EPIPE}, 74},
		{&fs.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.EPERM}, 74},
		{errors.Join(exitWith(exNoHost, nil), &fs.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.ENOSPC}), 74},
		{pathError(syscall.EMFILE), 75},
		{&os.LinkError{Op: "link", Old: "a", New: "b", Err: syscall.EEXIST}, 73},
		{&os.LinkError{Op: "link", Old: "a", New: "b", Err: syscall.EIO}, 74},
		{os.NewSyscallError("fsync", syscall.EIO), 74},
		{pathError(syscall.EACCES), 77},
		{pathError(syscall.EPERM), 77},
		{&config.Error{Text: "x"}, 78},
		{config.Errors{{Text: "x"}}, 78},
		{config.Errors{{Text: "x", Err: pathError(syscall.EACCES)}}, 78},
		{config.Errors{{Text: "x"}, {Text: "y", Err: pathError(syscall.EMFILE)}}, 75},
		{errors.New("nobody knows"), 75},
		{io.ErrUnexpectedEOF, 75},
		{context.Canceled, 75},
		{context.DeadlineExceeded, 75},
		{syscall.ECONNREFUSED, 75},
		{&exec.ExitError{}, 75}, // the exit code of somebody else is not ours
		{mail.Permanentf(1, 1, "x"), 67},
		{fmt.Errorf("to %s: %w", "u", mail.Permanentf(1, 1, "x")), 67},
		{mail.Temporaryf(3, 0, "disk: %w", pathError(syscall.ENOENT)), 75}, // the status decides, not its cause
		{mail.Permanentf(7, 1, "x: %w", pathError(syscall.ENOENT)), 77},
	} {
		if got := exitCode(tt.err); got != tt.want {
			t.Errorf("%T %v: got %d, want %d", tt.err, tt.err, got, tt.want)
		}
	}
}

// TestExitOfStatus is the whole of RFC 3463 §3 and the codes that were registered after it.
func TestExitOfStatus(t *testing.T) {
	table := map[int]string{
		exOK:       "2.0.0 2.1.5 2.6.0",
		exTempFail: "4.0.0 4.1.1 4.2.2 4.3.1 4.4.1 4.5.3 4.6.1 4.7.1 4.999.999",
		exDataErr:  "5.1.0 5.1.3 5.1.4 5.1.7 5.1.8 5.2.3 5.3.4 5.6.0 5.6.1 5.6.2 5.6.3 5.6.5 5.6.7 5.6.9",
		exNoUser:   "5.1.1 5.1.6 5.2.1",
		exNoHost:   "5.1.2 5.1.10 5.4.3 5.4.4",
		exUnavailable: "5.0.0 5.1.5 5.1.9 5.2.0 5.2.2 5.2.4 5.3.0 5.3.1 5.3.2 5.3.3 5.3.5 5.4.0 5.4.1 5.4.2 5.4.5 5.4.6 " +
			"5.4.7 5.8.0 5.999.999",
		exProtocol: "5.5.0 5.5.1 5.5.2 5.5.3 5.5.4 5.5.5 5.5.6",
		exNoPerm:   "5.7.0 5.7.1 5.7.2 5.7.3 5.7.4 5.7.5 5.7.6 5.7.7 5.7.8 5.7.9 5.7.25 5.7.26",
	}
	for want, codes := range table {
		for code := range strings.FieldsSeq(codes) {
			s, ok := mail.ParseStatus(code)
			if got := exitOfStatus(s); !ok || got != want {
				t.Errorf("%s: got %d, want %d", code, got, want)
			}
		}
	}
	if got := exitOfStatus(mail.Status{}); got != exTempFail {
		t.Errorf("no status: got %d", got)
	}
}

// captured runs f with an env whose stderr is a file, and gives what was written.
func captured(t *testing.T, f func(*env)) string {
	t.Helper()
	file, err := os.CreateTemp(t.TempDir(), "stderr")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	f(newEnv(streams{in: os.Stdin, out: os.Stdout, err: file}))
	b, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestReport(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{errNoMatch(), ""},
		{usagef("no recipients"), "mailx send: no recipients. Try 'mailx send --help'\n"},
		{usagef("which?"), "mailx send: which? Try 'mailx send --help'\n"},
		{mail.Permanentf(1, 1, "No such user: %w", errors.New("cause\x1b[2J")), "mailx send: 5.1.1 No such user: cause\\x1b[2J\n"},
		{errors.New("one\ntwo"), "mailx send: one\nmailx send: two\n"},
		{exitWith(69, errors.New("down")), "mailx send: down\n"},
	} {
		got := captured(t, func(e *env) {
			e.verb = "send"
			e.report(tt.err)
		})
		if got != tt.want {
			t.Errorf("%v: got %q, want %q", tt.err, got, tt.want)
		}
	}
}
