package smtp

import (
	"bytes"
	"strconv"
)

// A small message can go out as one chunk in the same write as its envelope (RFC 3030 §4.2): the server has all of it one
// round trip earlier than with DATA. A server that refuses everybody reads the chunk and throws it away. One that did
// not would take the lines of the message for commands, so ClientOptions.Chunk is for servers that somebody chose.

// canChunk reports that a message may be sent so. What would have to be mended on the way goes by DATA.
func (t *transaction) canChunk(b *content) bool {
	c := t.c
	small, ok := b.r.(*bytes.Reader)
	if !ok || b.convert != nil || !c.opt.Chunk || c.opt.LMTP || !c.ext.Has("CHUNKING") || !c.ext.Has("PIPELINING") {
		return false
	}
	return bytes.IndexByte(c.scratch[:small.Len()], '\r') < 0
}

// chunk writes the message behind the commands that are waiting. If the window is full, their replies come first, and
// nobody may be left.
func (t *transaction) chunk(b *content) error {
	if t.octets+int(b.size) >= maxWindow && len(t.waiting) > 0 {
		if err := t.answer(); err != nil {
			return err
		}
		if t.refused != nil || len(t.accepted) == 0 {
			return nil
		}
	}
	wc := t.c.wc
	err := wc.WriteLine("BDAT " + strconv.FormatInt(b.size, 10) + " LAST")
	text := t.c.scratch[:b.octets]
	for err == nil && len(text) > 0 {
		line, rest, _ := bytes.Cut(text, []byte("\n"))
		if _, err = wc.Write(line); err == nil {
			_, err = wc.Write([]byte("\r\n"))
		}
		text = rest
	}
	if err != nil {
		return t.c.lastWords(err)
	}
	wc.Trace(true, "(message)")
	t.waiting = append(t.waiting, sent{verb: "BDAT"})
	return nil
}
