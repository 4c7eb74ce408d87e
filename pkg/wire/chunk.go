package wire

import "io"

// ChunkReader reads a text that comes in chunks of known size (RFC 3030 §2) and gives it in local form, under the same
// limits and the same policy about bare CR and LF as a [DotReader]; but dots mean nothing here, so none is suspicious. A
// CRLF may be cut in two by the end of a chunk. A text without a line end at its end gets one.
//
//	for each chunk: Next(octets, isLast), then Read until an error
//
// Read returns io.EOF at the end of the chunk, or the *mail.Error that is the first thing wrong with the text so far. After
// such a fault no more text is given, from later chunks neither, but all octets of the chunk have been read.
type ChunkReader struct {
	text
	left int64
	last bool
}

// ChunkReader starts a text; it has no chunk yet.
func (c *Conn) ChunkReader(o DotOptions) *ChunkReader { return &ChunkReader{text: newText(c, o)} }

// Next goes on with the next chunk, of so many octets on the wire. The one before must have been read to its end.
func (k *ChunkReader) Next(octets int64, isLast bool) {
	k.left, k.last = octets, isLast
}

// Refuse gives up the text: no more of it is given, and every chunk ends with err, unless something was wrong with it before.
func (k *ChunkReader) Refuse(err error) { k.fail(err) }

// Drain reads what is left of the chunk and gives its verdict: nil, a *mail.Error, or the connection's error.
func (k *ChunkReader) Drain() error { return drain(k) }

// Read gives text in local form.
func (k *ChunkReader) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	for n < len(p) && k.left > 0 && k.end == nil {
		if !k.c.Pending() {
			if n > 0 {
				return n, nil
			}
			if err := k.c.fillText(); err != nil {
				return 0, k.broken(err)
			}
		}
		n += k.step(p[n:])
	}
	if n < len(p) && k.left == 0 && k.last && k.end == nil {
		n += k.finish(p[n:])
	}
	if n > 0 {
		return n, nil
	}
	return 0, k.verdict()
}

// step consumes at least one octet of the chunk and gives the number of octets put into p, which is not empty.
func (k *ChunkReader) step(p []byte) (n int) {
	before := k.c.r
	in := k.c.buf[before:k.c.w]
	in = in[:min(int64(len(in)), k.left)]
	if k.state == afterCR {
		n = k.stepCR(in[0], p)
	} else {
		k.state = inText
		n = k.stepText(in, p)
	}
	k.left -= int64(k.c.r - before)
	k.read(k.c.r - before)
	return n
}

// finish gives the line end that the last line lacks. A CR that nothing follows is a bare one.
func (k *ChunkReader) finish(p []byte) int {
	k.last = false
	if k.state == afterCR {
		k.state = afterLF
		return k.bareCR(p)
	}
	if k.line == 0 || k.fault != nil {
		return 0
	}
	k.line = 0
	p[0] = '\n'
	return 1
}

func (k *ChunkReader) verdict() error {
	switch {
	case k.end != nil:
		return k.end
	case k.fault != nil:
		return k.fault
	}
	return io.EOF
}
