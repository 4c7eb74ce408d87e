package pop3

import (
	"bytes"
	"context"
	"io"
	"strconv"

	"mailx/pkg/vfs"
	"mailx/pkg/wire"
)

// Sizes of the blocks in which messages are read, in octets.
const (
	smallBlock = 4 << 10
	largeBlock = 64 << 10
)

// retr is "RETR" SP msg (RFC 1939 §5).
func (d *dialog) retr(_ context.Context, a *wire.Args) error {
	i, err := d.onlyMessage(a)
	if err != nil {
		return err
	}
	f, err := d.drop.open(i)
	if err != nil {
		return err
	}
	d.body = func(w *wire.DotWriter) error {
		defer f.Close()
		return copyText(w, f, d.blockFor(i), d.drop.messages[i].Size)
	}
	if size := d.drop.size(i); size >= 0 {
		d.text = strconv.FormatInt(size, 10) + " octets"
	}
	return nil
}

// top is "TOP" SP msg SP n (RFC 1939 §7): the header, the empty line, and n lines of the body.
func (d *dialog) top(_ context.Context, a *wire.Args) error {
	i, err := d.message(a)
	if err != nil {
		return err
	}
	lines, err := number(a)
	if err != nil {
		return err
	}
	if err := a.End(); err != nil {
		return err
	}
	f, err := d.drop.open(i)
	if err != nil {
		return err
	}
	d.body = func(w *wire.DotWriter) error {
		defer f.Close()
		return copyText(&topWriter{w: w, left: lines}, f, d.blockFor(i), d.drop.messages[i].Size)
	}
	return d.say("Top of message follows")
}

// blockFor gives a buffer that a message of that size fits into, or a large one.
func (d *dialog) blockFor(i int) []byte {
	size := int64(smallBlock)
	for size <= d.drop.size(i) && size < largeBlock {
		size *= 2
	}
	if d.drop.size(i) < 0 {
		size = largeBlock
	}
	if int64(len(d.block)) < size {
		d.block = make([]byte, size)
	}
	return d.block
}

// copyText sends a file until its end or until w has had enough, which it says with io.EOF. size is what the name says that the
// file has, in octets: a read that fills no block and comes to just that has seen the end, and another one is saved.
func copyText(w io.Writer, f vfs.File, block []byte, size int64) error {
	for seen := int64(0); ; {
		n, err := f.Read(block)
		if n > 0 {
			if _, werr := w.Write(block[:n]); werr == io.EOF {
				return nil
			} else if werr != nil {
				return werr
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if seen += int64(n); seen == size && n < len(block) {
			return nil
		}
	}
}

// topWriter passes the header, the empty line behind it, and so many lines of the body. Then it gives io.EOF.
type topWriter struct {
	w      io.Writer
	left   uint64 // lines of the body to come
	inBody bool
	inLine bool // the current line has more than a CR
}

func (t *topWriter) Write(p []byte) (int, error) {
	n := t.take(p)
	if _, err := t.w.Write(p[:n]); err != nil {
		return 0, err
	}
	if t.inBody && t.left == 0 {
		return n, io.EOF
	}
	return n, nil
}

// take gives how many octets of p belong to the top.
func (t *topWriter) take(p []byte) (n int) {
	for n < len(p) && !(t.inBody && t.left == 0) {
		i := bytes.IndexByte(p[n:], '\n')
		if i < 0 {
			t.inLine = t.inLine || !isCR(p[n:])
			return len(p)
		}
		isEmpty := !t.inLine && (i == 0 || isCR(p[n:n+i]))
		t.inLine = false
		n += i + 1
		switch {
		case t.inBody:
			t.left--
		case isEmpty:
			t.inBody = true
		}
	}
	return n
}

func isCR(p []byte) bool { return len(p) == 1 && p[0] == '\r' }
