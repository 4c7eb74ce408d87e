package mbox

import (
	"bufio"
	"bytes"
)

// sink takes octets; it is a bufio.Writer, or a stage that ends in one. Errors come out at the end.
type sink interface{ Write([]byte) (int, error) }

// Quoter writes the text of a message as it stands in a file of the form RD. Close it in the end.
type Quoter struct {
	quoter
	open bool // the last line has no end
}

// NewQuoter writes to w, whose errors are for the caller to ask for.
func NewQuoter(w *bufio.Writer) *Quoter { return &Quoter{quoter: quoter{to: w}} }

// Write takes any cut of the text.
func (q *Quoter) Write(p []byte) (int, error) {
	if len(p) > 0 {
		q.open = p[len(p)-1] != '\n'
	}
	return q.quoter.Write(p)
}

// Close writes what was kept, the line end that the last line may lack, and the empty line behind a message.
func (q *Quoter) Close() error {
	q.end()
	if q.open {
		q.to.Write([]byte{'\n'})
	}
	_, err := q.to.Write([]byte{'\n'})
	return err
}

// quoter finds the lines that begin with "From ", behind any number of ">", in a text that comes in any cut. The ">" are all
// alike, so that it need not keep them: to quote, one more is written behind them; to undo that, one is held back.
type quoter struct {
	to   sink
	undo bool
	one  bool // undo only ">From ", not ">>From "

	past   bool // in the rest of a line
	quotes int  // before it, seen so far
	got    int  // octets of "From "
}

// Write takes the next piece.
func (q *quoter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		if !q.past {
			n := q.begin(rest)
			rest = rest[n:]
			continue
		}
		n := bytes.IndexByte(rest, '\n') + 1
		if n > 0 {
			q.past, q.quotes, q.got = false, 0, 0
		} else {
			n = len(rest)
		}
		if _, err := q.to.Write(rest[:n]); err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	return len(p), nil
}

// begin reads the beginning of a line and says how much of it.
func (q *quoter) begin(p []byte) (n int) {
	for n = 0; n < len(p); n++ {
		switch c := p[n]; {
		case q.got == 0 && c == '>':
			if q.quotes++; !q.undo || q.quotes > 1 {
				q.to.Write([]byte{'>'})
			}
			continue
		case c == fromMark[q.got]:
			if q.got++; q.got < len(fromMark) {
				continue
			}
			n++
			q.found()
		}
		q.release()
		return n
	}
	return n
}

// found decides about the ">" of a line that begins with "From ".
func (q *quoter) found() {
	switch {
	case !q.undo:
		q.to.Write([]byte{'>'})
	case q.quotes == 1, q.quotes > 1 && !q.one:
		q.quotes = 0 // the one that is held back is dropped
	}
}

// release writes what was held back, and ends the beginning of the line.
func (q *quoter) release() {
	if q.undo && q.quotes > 0 {
		q.to.Write([]byte{'>'})
	}
	q.to.Write([]byte(fromMark[:q.got]))
	q.past, q.got, q.quotes = true, 0, 0
}

// end is for a text without a last line end.
func (q *quoter) end() {
	if !q.past {
		q.release()
	}
}
