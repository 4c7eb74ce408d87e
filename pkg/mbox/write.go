package mbox

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"time"
)

// Writer writes a file in the form RD. Flush it in the end; the first error sticks.
type Writer struct{ w *bufio.Writer }

// NewWriter writes to w.
func NewWriter(w io.Writer) *Writer { return &Writer{bufio.NewWriterSize(w, 64<<10)} }

// Flush writes what there is.
func (w *Writer) Flush() error { return w.w.Flush() }

// Add adds a message of that many octets. The error may be that of msg, or of an earlier write.
func (w *Writer) Add(msg io.ReaderAt, size int64, sender string, date time.Time, st State) error {
	unended, err := isUnended(msg, size)
	if err != nil {
		return err
	}
	head, err := headOf(msg, size)
	if err != nil {
		return err
	}
	w.w.Write(AppendFrom(nil, sender, date))
	w.w.WriteString(stateFields(st, unended, head.dropped > 0 || head.folded))
	q := NewQuoter(w.w)
	if _, err := io.Copy(struct{ io.Writer }{q}, io.NewSectionReader(msg, 0, size)); err != nil {
		return err
	}
	return q.Close()
}

// isUnended reports a message whose last line has no end; one without a line is such a message.
func isUnended(msg io.ReaderAt, size int64) (bool, error) {
	if size == 0 {
		return false, nil
	}
	var last [1]byte
	if n, err := msg.ReadAt(last[:], size-1); n < 1 {
		return false, err
	}
	return last[0] != '\n', nil
}

// head is what matters of a header before it is written.
type head struct {
	*fields
	folded bool // it begins with a continuation of nothing
}

// headOf reads the header of a message, and no more.
func headOf(msg io.ReaderAt, size int64) (head, error) {
	h := head{fields: &fields{to: nowhere{}}}
	in := io.NewSectionReader(msg, 0, size)
	buf := make([]byte, 4<<10)
	for first := true; !h.past; first = false {
		n, err := in.Read(buf)
		if first && n > 0 {
			h.folded = buf[0] == ' ' || buf[0] == '\t'
		}
		h.Write(buf[:n])
		switch {
		case errors.Is(err, io.EOF):
			return h, h.end()
		case err != nil:
			return h, err
		}
	}
	return h, nil
}

type nowhere struct{}

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }

// stateFields prints the state; marked asks for the field that says where it ends.
func stateFields(st State, unended, marked bool) string {
	var status, xstatus, rest, keywords string
	for i := range len(st.Flags) {
		switch c := st.Flags[i]; c {
		case 'S':
			status = "R"
		case 'R':
			xstatus += "A"
		case 'F':
			xstatus += "F"
		case 'T':
			xstatus += "D"
		case 'D':
			xstatus += "T"
		case 'P':
			keywords += " " + forwarded
		default:
			if c > ' ' && c < 0x7f {
				rest += string(c)
			}
		}
	}
	if !st.New {
		status += "O"
	}
	for _, word := range st.Keywords {
		if word != "" && !strings.ContainsFunc(word, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			keywords += " " + word
		}
	}
	var b strings.Builder
	for _, f := range []struct{ name, value string }{{"Status", status}, {"X-Status", xstatus}, {"X-Keywords", strings.TrimSpace(keywords)}} {
		if f.value != "" {
			b.WriteString(f.name + ": " + f.value + "\n")
		}
	}
	if marked || unended || rest != "" {
		ended := "ended"
		if unended {
			ended = "unended"
		}
		b.WriteString(strings.TrimSpace(markField+": 1 "+ended+" "+rest) + "\n")
	}
	return b.String()
}
