// Package message is what mailx knows about the octets of a message: headers kept verbatim (RFC 5322), trace fields,
// composing and reading MIME (RFC 2045 to 2049), and delivery reports (RFC 3464).
//
// Inside mailx a message is in local form: lines end in LF. Readers here tolerate CRLF; writers only ever write LF.
// Nothing here trusts a message: every reader is bounded in octets, fields, depth and parts.
//
// The package costs next to nothing to link: no tables are built before they are needed, so a process that only relays
// mail does not pay for reading it.
package message

import "mailx/pkg/mail"

// FieldError says that a value can't become part of a header. It is permanent, 5.6.0: bad input is refused, never cleaned.
type FieldError struct {
	Field  string // the name of the header field: "Subject", "To"
	Reason string // lower case, without the value
}

// Error names the field and the reason.
func (e *FieldError) Error() string { return e.Field + ": " + e.Reason }

// MailStatus is 5.6.0, other or undefined media error (RFC 3463 §3.7).
func (e *FieldError) MailStatus() mail.Status { return mail.Status{Class: mail.Permanent, Subject: 6} }

// MailText is what a peer may see.
func (e *FieldError) MailText() string { return "Bad header field " + e.Error() }

// badControl gives the reason why s must not stand in a header, "" if it may. A TAB is white space and passes if tab is set.
func badControl(s string, tab bool) string {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\r' || c == '\n':
			return "line break in the value"
		case c == 0:
			return "NUL in the value"
		case c == '\t' && tab:
		case c < ' ' || c == 0x7f:
			return "control character in the value"
		case c == 0xc2 && i+1 < len(s) && s[i+1] >= 0x80 && s[i+1] < 0xa0: // U+0080 to U+009F
			return "control character in the value"
		}
	}
	return ""
}

func isWSP(c byte) bool { return c == ' ' || c == '\t' }

// isFtext reports RFC 5322 §3.6.8 ftext, an octet of a field name.
func isFtext(c byte) bool { return c > ' ' && c < 0x7f && c != ':' }

// isAtext reports RFC 5322 §3.2.3 atext.
func isAtext(c byte) bool {
	if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
		return true
	}
	switch c {
	case '!', '#', '$', '%', '&', '\'', '*', '+', '-', '/', '=', '?', '^', '_', '`', '{', '|', '}', '~':
		return true
	}
	return false
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
