package main

import (
	"bufio"
	"fmt"

	"github.com/mattn/go-runewidth"

	"mailx/pkg/message"
)

// quietPrinter is for who wants to know whether there is a message, as mailx -e does.
func quietPrinter() recordPrinter {
	return recordPrinter{
		print:   func(*record) error { return nil },
		flush:   func() error { return nil },
		nothing: func(string) error { return errNoMatch() },
	}
}

// summaryPrinter prints the header summary that bsd-mailx, GNU mailutils and s-nail have in common, which scripts take
// apart: a mark at the first message that nobody has read, a letter, the number, sender, date, lines/octets, subject.
//
//	>N  1 alice@example.net    Tue Nov 14 22:13   12/345   disk full
func (e *env) summaryPrinter() recordPrinter {
	s := &headerSummary{w: bufio.NewWriterSize(e.stdout, 32<<10)}
	if e.stdoutIsTerminal() {
		s.width = terminalWidth(e.stdout)
	}
	return recordPrinter{need: needLines, print: s.print, flush: s.w.Flush, nothing: func(where string) error {
		e.note("No mail %s", where)
		return errNoMatch()
	}}
}

type headerSummary struct {
	w       *bufio.Writer
	width   int // cells of the terminal; 0: nothing is cut
	n       int
	current bool // the mark was printed
}

const senderCells = 20

func (s *headerSummary) print(r *record) error {
	s.n++
	mark, letter := ' ', r.summaryLetter()
	if !s.current && (letter == 'N' || letter == 'U') {
		mark, s.current = '>', true
	}
	sender := escapeControl(r.senderAddress())
	if s.width > 0 {
		sender = runewidth.Truncate(sender, senderCells, "")
	}
	line := fmt.Sprintf("%c%c%3d %s %s %4d/%-5d %s", mark, letter, s.n, runewidth.FillRight(sender, senderCells),
		r.date().Local().Format("Mon Jan _2 15:04"), r.lines, r.size, escapeControl(r.Subject))
	if s.width > 0 {
		line = runewidth.Truncate(line, s.width, "")
	}
	_, err := s.w.WriteString(line + "\n")
	return err
}

// summaryLetter: N new, U unread, F flagged, A answered; a blank for what was read.
func (r *record) summaryLetter() rune {
	switch {
	case r.isNew && !r.msg.Has('S'):
		return 'N'
	case !r.msg.Has('S'):
		return 'U'
	case r.msg.Has('F'):
		return 'F'
	case r.msg.Has('R'):
		return 'A'
	}
	return ' '
}

// senderAddress is that of the first author; the field as people read it, if it has none.
func (r *record) senderAddress() string {
	list, err := message.ParseMailboxes(r.From)
	if err != nil || len(list) == 0 {
		return r.From
	}
	return list[0].Address.String()
}
