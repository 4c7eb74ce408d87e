package mbox

import "bytes"

// MaxAbove is how much of a message Above has to see at most.
const MaxAbove = 4096

// MayBeAbove reports whether what begins like head is worth a look with Above.
func MayBeAbove(head []byte) bool {
	return bytes.HasPrefix(bytes.TrimPrefix(head, []byte(">")), []byte(fromMark))
}

// Above gives how many octets of lines stand above the header of a message that comes alone, from its first MaxAbove octets: the
// one that begins a message in an mbox, which programs save and pipe it with, and behind that or without it the ">From " that
// some programs make of an older one. A text without a header may begin with "From " as well, so the line must have a date, or
// be followed by a field.
func Above(head []byte) int {
	n := envelopeLine(head, fromMark)
	return n + envelopeLine(head[n:], ">"+fromMark)
}

// envelopeLine is the length of the first line if it is one with that mark; 0 if it is not.
func envelopeLine(head []byte, mark string) int {
	n := bytes.IndexByte(head, '\n') + 1
	if !bytes.HasPrefix(head, []byte(mark)) || n == 0 && len(head) >= MaxAbove {
		return 0
	} else if n == 0 {
		n = len(head)
	}
	line := head[len(mark)-len(fromMark) : n]
	if _, _, hasDate, _ := parseFrom(bytes.TrimRight(line, "\r\n")); hasDate || isField(head[n:]) || envelopeLine(head[n:], ">"+fromMark) > 0 {
		return n
	}
	return 0
}

// isField reports whether the first line is one of a header (RFC 5322 §2.2), and not an address of the web.
func isField(head []byte) bool {
	line, _, _ := bytes.Cut(head, []byte("\n"))
	name, value, ok := bytes.Cut(line, []byte(":"))
	name = bytes.TrimRight(name, " \t") // RFC 5322 §4.5
	isOther := func(c rune) bool { return c <= ' ' || c >= 0x7f }
	return ok && len(name) > 0 && bytes.IndexFunc(name, isOther) < 0 && !bytes.HasPrefix(value, []byte("//"))
}
