package smtp

import (
	"strconv"
	"strings"

	"mailx/pkg/mail"
)

// This file prints what grammar.go parses: ParseMail(m.String()) gives m again, and so with recipients.

// String prints the arguments of MAIL; fields with their zero value are left out.
func (m *MailArgs) String() string {
	var b strings.Builder
	b.WriteString("FROM:")
	b.WriteString(m.Sender.Path())
	if m.Size > 0 {
		b.WriteString(" SIZE=" + strconv.FormatInt(m.Size, 10))
	}
	if m.Body == mail.Body8BitMIME {
		b.WriteString(" BODY=8BITMIME")
	}
	if m.UTF8 {
		b.WriteString(" SMTPUTF8")
	}
	switch m.Ret {
	case mail.RetFull:
		b.WriteString(" RET=FULL")
	case mail.RetHeaders:
		b.WriteString(" RET=HDRS")
	}
	if m.EnvID != "" {
		b.WriteString(" ENVID=" + xtext(m.EnvID))
	}
	if m.Auth != "" {
		b.WriteString(" AUTH=" + xtext(m.Auth))
	}
	return b.String()
}

// formatRcpt prints the arguments of RCPT; fields with their zero value are left out.
func formatRcpt(r mail.Recipient) string {
	s := "TO:" + r.Path()
	if r.Notify != 0 {
		s += " NOTIFY=" + FormatNotify(r.Notify)
	}
	if r.Orig != "" {
		s += " ORCPT=" + xtext(r.Orig)
	}
	return s
}

// checkAddress refuses (5.1.3) an address that would not come out at the other end as it went in: control characters,
// parts that are too long, anything that did not come from mail.ParseAddress.
func checkAddress(a mail.Address) error {
	if back, err := mail.ParseAddress(a.String()); err != nil || back != a || len(a.Local)+len(a.Domain) >= maxPath {
		return mail.Permanentf(1, 3, "Bad address")
	}
	return nil
}

// sendableEnvID is the ENVID if RFC 3461 §4.4 lets it pass, else "".
func sendableEnvID(s string) string {
	if x := xtext(s); len(x) > maxEnvID || !isPlain(s) {
		return ""
	}
	return s
}

// sendableOrig is the ORCPT if RFC 3461 §4.2 lets it pass, else "".
func sendableOrig(s string) string {
	if x := xtext(s); len(x) > maxParam || strings.IndexByte(s, ';') <= 0 || !isPlain(s) {
		return ""
	}
	return s
}

// isPlain reports the absence of control characters.
func isPlain(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}
