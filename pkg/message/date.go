package message

import (
	netmail "net/mail"
	"strings"
	"time"

	"mailx/pkg/mail"
)

const dateLayout = "Mon, 02 Jan 2006 15:04:05 -0700"

// AppendDate appends t as RFC 5322 §3.3 writes it, in the zone that t is in. It does not allocate.
func AppendDate(b []byte, t time.Time) []byte { return t.AppendFormat(b, dateLayout) }

// FormatDate is AppendDate for a string. For reproducible output give a fixed time (SOURCE_DATE_EPOCH) in UTC.
func FormatDate(t time.Time) string { return t.Format(dateLayout) }

// ParseDate reads the value of a Date field: RFC 5322 with its obsolete forms and comments, and what programs write
// in its place: RFC 3339, ctime(3), date(1), two-digit years, no weekday or a wrong one, no seconds, no zone (taken as
// UTC). The error is permanent, 5.6.0.
func ParseDate(s string) (time.Time, error) {
	s = strings.Join(strings.Fields(dropComments(s)), " ")
	if s == "" || len(s) > 100 {
		return time.Time{}, mail.Permanentf(6, 0, "Bad date")
	}
	s = knownZone(s) // before net/mail, which takes names of zones that it does not know for UTC
	if t, err := netmail.ParseDate(s); err == nil {
		return t, nil
	}
	if day, rest, ok := strings.Cut(s, ","); ok && len(day) <= len("Wednesday") {
		s = strings.TrimSpace(rest)
	}
	for _, layout := range []string{
		"2 Jan 2006 15:04:05 -0700", "2 Jan 2006 15:04:05 MST", "2 Jan 2006 15:04:05", "2 Jan 2006 15:04 -0700",
		"2 Jan 2006 15:04", "2 January 2006 15:04:05 -0700", "2-Jan-2006 15:04:05 -0700", "2-Jan-06 15:04:05 MST",
		"2 Jan 06 15:04:05 -0700", time.RFC3339, "2006-01-02 15:04:05 -0700", "2006-01-02 15:04:05", "2006-01-02",
		"Mon Jan 2 15:04:05 2006", "Mon Jan 2 15:04:05 MST 2006", "Mon Jan 2 15:04:05 -0700 2006",
		"Mon Jan 2 15:04:05 2006 -0700", "Mon 2 Jan 2006 15:04:05 -0700", "Mon 2 Jan 15:04:05 MST 2006",
	} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, mail.Permanentf(6, 0, "Bad date")
}

// knownZone writes the zone names of RFC 5322 §4.3 as offsets; time.Parse knows only the ones of this machine.
func knownZone(s string) string {
	for _, z := range []string{
		"GMT+0000", "UT+0000", "UTC+0000", "Z+0000", "EST-0500", "EDT-0400", "CST-0600", "CDT-0500", "MST-0700",
		"MDT-0600", "PST-0800", "PDT-0700", "CET+0100", "CEST+0200",
	} {
		name, offset := z[:len(z)-5], z[len(z)-5:]
		if before, ok := strings.CutSuffix(s, " "+name); ok {
			return before + " " + offset
		}
		if before, after, ok := strings.Cut(s, " "+name+" "); ok {
			return before + " " + offset + " " + after
		}
	}
	return s
}

// dropComments removes RFC 5322 §3.2.2 comments; one that does not end goes to the end of s.
func dropComments(s string) string {
	if strings.IndexByte(s, '(') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	depth := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
			b = append(b, ' ')
		case c == '\\' && depth > 0:
			i++
		case depth == 0:
			b = append(b, c)
		}
	}
	return string(b)
}
