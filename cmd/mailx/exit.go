package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"mailx/pkg/config"
	"mailx/pkg/mail"
)

// Exit codes, as in sysexits(3). Everything not listed is never used.
const (
	exOK          = 0
	exNoMatch     = 1  // search found nothing, mail -e without mail
	exUsage       = 64 // wrong command line
	exDataErr     = 65 // the message or an address is bad
	exNoInput     = 66 // an input file is not there
	exNoUser      = 67 // no such mailbox
	exNoHost      = 68 // no such domain
	exUnavailable = 69 // refused for good, for a reason that has no code of its own
	exSoftware    = 70 // a bug
	exCantCreate  = 73 // a file can't be made
	exIOErr       = 74 // reading or writing a file failed
	exTempFail    = 75 // try again later; nothing was stored
	exProtocol    = 76 // the other side does not speak the protocol
	exNoPerm      = 77 // not allowed: file permissions, AUTH, policy
	exConfig      = 78 // wrong configuration
)

// usageError is a wrong command line.
type usageError struct{ text string }

func (u *usageError) Error() string { return u.text }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// bugError is a panic that reached the top.
type bugError struct {
	value any
	stack []byte
}

func (b *bugError) Error() string {
	return fmt.Sprintf("bug: %v\n%s", b.value, b.stack)
}

// codeError chooses the exit code itself.
type codeError struct {
	code int
	err  error // nil: nothing is printed
}

func (c *codeError) Error() string {
	if c.err == nil {
		return ""
	}
	return c.err.Error()
}

func (c *codeError) Unwrap() error { return c.err }

// exitWith gives an error an exit code that the table of exitCode would not give it. A nil err is silent.
func exitWith(code int, err error) error { return &codeError{code, err} }

// errNoMatch is the outcome of a search that found nothing: exit 1, nothing printed.
func errNoMatch() error { return exitWith(exNoMatch, nil) }

func isSilent(err error) bool {
	var c *codeError
	return errors.As(err, &c) && c.err == nil && !isOutputError(err)
}

// exitCode is the only place where an error becomes an exit code. The first of these that the chain of err has decides:
// an output that was lost, a code chosen on the spot, a wrong command line, a shortage, wrong configuration, a mail status, a file
// system error. What nobody classified is temporary.
func exitCode(err error) int {
	var (
		chosen *codeError
		usage  *usageError
		bug    *bugError
		conf   *config.Error
		confs  config.Errors
		status interface{ MailStatus() mail.Status }
	)
	switch {
	case err == nil:
		return exOK
	case isOutputError(err):
		return exIOErr
	case errors.As(err, &chosen):
		return chosen.code
	case errors.As(err, &usage):
		return exUsage
	case errors.As(err, &bug):
		return exSoftware
	case isShortage(err):
		return exTempFail
	case errors.As(err, &conf), errors.As(err, &confs):
		return exConfig
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return exTempFail
	case errors.As(err, &status):
		return exitOfStatus(status.MailStatus())
	}
	return exitOfFile(err)
}

// isOutputError reports that standard output took no more: it is full, closed, or a reader has gone. Whatever the reason, it is
// not the disk of the spool, and nothing gets better by waiting.
func isOutputError(err error) bool {
	var path *fs.PathError
	return errors.As(err, &path) && path.Path == os.Stdout.Name() && path.Op != "open"
}

// isShortage reports a want of descriptors or memory, which says nothing about the file that could not be read for it.
func isShortage(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}

// exitOfFile classifies errors of the file system. What is not one is temporary.
func exitOfFile(err error) int {
	var (
		path *fs.PathError
		link *os.LinkError
	)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return exNoInput
	case errors.Is(err, fs.ErrPermission):
		return exNoPerm
	case errors.Is(err, fs.ErrExist), errors.Is(err, syscall.EROFS), errors.Is(err, syscall.ENOTDIR),
		errors.Is(err, syscall.EISDIR):
		return exCantCreate
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return exTempFail
	case errors.As(err, &path), errors.As(err, &link), errors.Is(err, syscall.EIO):
		return exIOErr
	}
	return exTempFail
}

// exitOfStatus maps RFC 3463 to sysexits by the table below. A class that is neither success nor permanent is temporary.
func exitOfStatus(s mail.Status) int {
	switch s.Class {
	case mail.Success:
		return exOK
	case mail.Permanent:
	default:
		return exTempFail
	}
	for _, row := range statusExits() {
		if row.subject == s.Subject && (row.detail == s.Detail || row.detail == anyDetail) {
			return row.code
		}
	}
	return exUnavailable
}

// anyDetail is more than the three digits that a detail can have.
const anyDetail = 1000

type statusExit struct {
	subject, detail uint16
	code            int
}

// statusExits is the table of permanent statuses (RFC 3463 §3.2 to §3.8); the first row that fits decides, and what has
// no row is exUnavailable.
func statusExits() []statusExit {
	return []statusExit{
		{1, 0, exDataErr},          // something about an address
		{1, 1, exNoUser},           // bad destination mailbox
		{1, 2, exNoHost},           // bad destination system
		{1, 3, exDataErr},          // bad syntax of a destination
		{1, 4, exDataErr},          // ambiguous destination
		{1, 6, exNoUser},           // mailbox has moved
		{1, 7, exDataErr},          // bad syntax of the sender
		{1, 8, exDataErr},          // bad system of the sender
		{1, 10, exNoHost},          // null MX (RFC 7505 §5.1)
		{2, 1, exNoUser},           // mailbox is disabled
		{2, 3, exDataErr},          // message too long for the mailbox
		{3, 4, exDataErr},          // message too big for the system
		{4, 3, exNoHost},           // no directory entry
		{4, 4, exNoHost},           // no route
		{5, anyDetail, exProtocol}, // protocol
		{6, anyDetail, exDataErr},  // content and media
		{7, anyDetail, exNoPerm},   // security and policy
	}
}
