package mail

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Status is an enhanced mail system status code (RFC 3463 §2).
type Status struct{ Class, Subject, Detail uint16 }

// The classes of RFC 3463 §3.1.
const (
	Success   = 2
	Temporary = 4
	Permanent = 5
)

// String is the code as it stands on the wire: "5.1.1".
func (s Status) String() string { return fmt.Sprintf("%d.%d.%d", s.Class, s.Subject, s.Detail) }

// IsTemporary reports that trying again later makes sense.
func (s Status) IsTemporary() bool { return s.Class == Temporary }

// IsPermanent reports that trying again is pointless.
func (s Status) IsPermanent() bool { return s.Class == Permanent }

// IsZero reports the absence of a status.
func (s Status) IsZero() bool { return s == Status{} }

// ParseStatus reads "5.1.1" (RFC 3463 §2 status-code). The class must be 2, 4 or 5; subject and detail at most 999.
func ParseStatus(text string) (Status, bool) {
	var n [3]uint16
	class, rest, _ := strings.Cut(text, ".")
	subject, detail, found := strings.Cut(rest, ".")
	if !found || len(class) != 1 {
		return Status{}, false
	}
	for i, p := range [...]string{class, subject, detail} {
		v, err := strconv.ParseUint(p, 10, 16)
		if err != nil || len(p) > 3 || (len(p) > 1 && p[0] == '0') {
			return Status{}, false
		}
		n[i] = uint16(v)
	}
	if n[0] != Success && n[0] != Temporary && n[0] != Permanent {
		return Status{}, false
	}
	return Status{n[0], n[1], n[2]}, true
}

// Error is a classified failure. Text may go on the wire and to people: one line, printable, no secrets, nothing that
// the peer sent. Err is the cause and goes to the log only.
type Error struct {
	Status Status
	Text   string
	Err    error
}

// Error is for logs and terminals: status, text and cause.
func (e *Error) Error() string {
	s := e.Status.String() + " " + e.Text
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// MailStatus makes an Error readable by StatusOf; other types (an SMTP reply) can have the method too.
func (e *Error) MailStatus() Status { return e.Status }

// MailText is what the wire may see.
func (e *Error) MailText() string { return e.Text }

// Permanentf makes a 5.subject.detail error. A %w operand becomes the cause and is not part of the text.
func Permanentf(subject, detail uint16, format string, args ...any) *Error {
	return newError(Status{Permanent, subject, detail}, format, args)
}

// Temporaryf makes a 4.subject.detail error. A %w operand becomes the cause and is not part of the text.
func Temporaryf(subject, detail uint16, format string, args ...any) *Error {
	return newError(Status{Temporary, subject, detail}, format, args)
}

func newError(s Status, format string, args []any) *Error {
	e := &Error{Status: s}
	if i := strings.Index(format, ": %w"); i >= 0 && i+len(": %w") == len(format) && len(args) > 0 {
		e.Err, _ = args[len(args)-1].(error)
		format, args = format[:i], args[:len(args)-1]
	}
	e.Text = format
	if len(args) > 0 {
		e.Text = fmt.Sprintf(format, args...)
	}
	return e
}

// StatusOf classifies any error: the status of the first error in its chain that has one, 2.0.0 for nil, and 4.0.0 for
// an error that nobody classified.
func StatusOf(err error) Status {
	if err == nil {
		return Status{Success, 0, 0}
	}
	var s interface{ MailStatus() Status }
	if errors.As(err, &s) {
		return s.MailStatus()
	}
	return Status{Temporary, 0, 0}
}

// TextOf gives what a peer may be told about an error. An unclassified error tells nothing of its inside.
func TextOf(err error) string {
	var t interface{ MailText() string }
	if errors.As(err, &t) {
		return t.MailText()
	}
	return "Internal trouble, try again later"
}
