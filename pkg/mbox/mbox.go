// Package mbox reads and writes many messages in one file, in the format that Unix mail has had from the start:
//
//	From sender@example.org Tue Nov 14 22:13:20 2023
//	Subject: hello
//	Status: RO
//
//	text
//
//	From ...
//
// There is no standard (RFC 4155 describes one use of it), but four forms, which differ in what becomes of a line of the text
// that begins with "From ":
//
//	RD   ">" is put before it, and before such lines that have any number of ">" in front already; what is read loses one ">"
//	O    ">" is put before it alone: a line with ">From " that was there before can't be told from one that was quoted
//	CL   as RD, and the field Content-Length says how long the text is
//	CL2  Content-Length says it, and nothing is quoted
//
// What is written is RD, which all programs read. What state a message has (seen, replied, ...) stands in fields of its header,
// Status, X-Status and X-Keywords, which are taken out of what is read.
//
// A message that is written here and read again is the same octet for octet, whatever is in it, with its flags and the second of
// its time. Where that takes more than other programs know (a last line without an end, a field Status of its own, a flag without a
// name), a field X-Mailx-Mbox on top, which is taken out again, says so.
//
// A line separates messages if it begins with "From " and has a day, a month, a time and a year; it stands behind an empty line,
// unless they are in the order of ctime(3). The first line of a file needs no date. Nothing here takes memory in the size of a
// file, of a message or of a line.
package mbox

import (
	"bytes"
	"strconv"
	"strings"
	"time"
)

// Form is what a file does with lines that begin with "From ".
type Form uint8

// The forms: see the package comment.
const (
	RD Form = iota
	O
	CL
	CL2
)

// ParseForm reads "rd", "o", "cl" or "cl2", with or without "mbox" in front.
func ParseForm(s string) (Form, bool) {
	switch strings.TrimPrefix(strings.ToLower(s), "mbox") {
	case "rd":
		return RD, true
	case "o":
		return O, true
	case "cl":
		return CL, true
	case "cl2":
		return CL2, true
	}
	return 0, false
}

// State is what a file knows about a message beside its text.
type State struct {
	Flags    string   // letters as in the names of a Maildir
	New      bool     // no program that reads mail has seen it
	Keywords []string // of IMAP
}

const fromMark = "From "

// IsStart reports whether a file begins as an mbox does.
func IsStart(b []byte) bool { return bytes.HasPrefix(b, []byte(fromMark)) }

// AppendFrom appends the line that begins a message. What would break it is left out of the sender; "" is nobody. A year without
// four digits becomes 1970.
func AppendFrom(b []byte, sender string, date time.Time) []byte {
	sender = strings.Map(func(r rune) rune {
		switch {
		case r == ' ' || r == '\t':
			return '_'
		case r < ' ' || r >= 0x7f && r < 0xa0:
			return -1
		}
		return r
	}, strings.ToValidUTF8(sender, ""))
	if sender == "" {
		sender = "MAILER-DAEMON"
	}
	if date = date.UTC(); date.Year() < 1970 || date.Year() > 9999 {
		date = time.Unix(0, 0).UTC()
	}
	b = append(append(b, fromMark...), sender...)
	return append(date.AppendFormat(append(b, ' '), time.ANSIC), '\n')
}

// maxFrom bounds a line that begins a message.
const maxFrom = 1000

// parseFrom reads such a line; ok says that it has a date, inOrder that it is as ctime(3) prints it. Without a zone it is UTC.
func parseFrom(line []byte) (sender string, date time.Time, ok, inOrder bool) {
	rest, isFrom := bytes.CutPrefix(line, []byte(fromMark))
	if !isFrom || len(line) > maxFrom {
		return "", time.Time{}, false, false
	}
	words := strings.Fields(string(rest))
	if len(words) > 0 {
		sender = words[0]
	}
	month, day, at := findMonth(words)
	hour, minute, second, clockAt := findClock(words)
	year := findYear(words, at, clockAt)
	if month == 0 || clockAt < 0 || year == 0 {
		return sender, time.Time{}, false, false
	}
	date = time.Date(year, month, day, hour, minute, second, 0, time.UTC).Add(-findZone(words))
	inOrder = at > 0 && len(words[at-1]) == 3 && clockAt == at+2
	return sender, date, true, inOrder
}

// findMonth finds a month with a day beside it.
func findMonth(words []string) (month time.Month, day, at int) {
	for i := len(words) - 1; i >= 0; i-- {
		month := monthOf(words[i])
		if month == 0 {
			continue
		}
		for _, j := range []int{i + 1, i - 1} {
			if j < 0 || j >= len(words) {
				continue
			}
			if day, err := strconv.Atoi(strings.TrimSuffix(words[j], ",")); err == nil && day >= 1 && day <= 31 {
				return month, day, i
			}
		}
	}
	return 0, 0, -1
}

func monthOf(word string) time.Month {
	if len(word) != 3 {
		return 0
	}
	i := strings.Index("janfebmaraprmayjunjulaugsepoctnovdec", strings.ToLower(word))
	if i < 0 || i%3 != 0 {
		return 0
	}
	return time.Month(i/3 + 1)
}

// findClock finds 22:13 or 22:13:20.
func findClock(words []string) (hour, minute, second, at int) {
	for i := len(words) - 1; i >= 0; i-- {
		for _, layout := range []string{"15:04:05", "15:04"} {
			if t, err := time.Parse(layout, words[i]); err == nil {
				return t.Hour(), t.Minute(), t.Second(), i
			}
		}
	}
	return 0, 0, 0, -1
}

// findYear finds four digits behind the month; 0 for none.
func findYear(words []string, monthAt, clockAt int) int {
	for i, word := range words {
		if n, err := strconv.Atoi(word); i > monthAt && i != clockAt && len(word) == 4 && err == nil && n >= 1900 {
			return n
		}
	}
	return 0
}

// findZone reads +0200; names of zones mean too many things.
func findZone(words []string) time.Duration {
	for _, word := range words {
		if t, err := time.Parse("-0700", word); err == nil && len(word) == 5 {
			_, offset := t.Zone()
			return time.Duration(offset) * time.Second
		}
	}
	return 0
}
