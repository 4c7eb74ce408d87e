package smtp

import (
	"strconv"
	"strings"
	"time"

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
	switch m.Body {
	case mail.Body8BitMIME:
		b.WriteString(" BODY=8BITMIME")
	case mail.BodyBinaryMIME:
		b.WriteString(" BODY=BINARYMIME")
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
	if m.RequireTLS {
		b.WriteString(" REQUIRETLS")
	}
	switch {
	case m.HoldFor > 0:
		b.WriteString(" HOLDFOR=" + strconv.FormatInt(m.HoldFor, 10))
	case !m.HoldUntil.IsZero():
		b.WriteString(" HOLDUNTIL=" + m.HoldUntil.UTC().Format(time.RFC3339Nano))
	}
	if m.By.Mode != 0 {
		b.WriteString(" BY=" + m.By.String())
	}
	return b.String()
}

// String prints by-time ";" by-mode [by-trace].
func (by By) String() string {
	s := strconv.FormatInt(by.Seconds, 10) + ";" + string(rune(by.Mode))
	if by.Trace {
		s += "T"
	}
	return s
}

// formatRcpt prints the arguments of RCPT; fields with their zero value are left out.
func formatRcpt(r mail.Recipient) string {
	s := "TO:" + r.Path()
	if r.Notify != 0 {
		s += " NOTIFY=" + FormatNotify(r.Notify)
	}
	if r.Orig != "" {
		s += " ORCPT=" + formatOrig(r.Orig)
	}
	return s
}

// formatOrig prints an original recipient, "type;address", as parseOrig reads it.
func formatOrig(s string) string {
	kind, address, _ := strings.Cut(s, ";")
	if strings.EqualFold(kind, utf8Type) {
		return kind + ";" + escapeUTF8(address)
	}
	return kind + ";" + xtext(address)
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
	if x := xtext(s); len(x) > maxEnvID || !isPrintable(s) {
		return ""
	}
	return s
}

// sendableOrig is the ORCPT if RFC 3461 §4.2 and RFC 6533 §3 let it pass, else "".
func sendableOrig(s string) string {
	if _, ok := parseOrig(formatOrig(s)); !ok {
		return ""
	}
	return s
}
