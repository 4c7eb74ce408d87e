package smtp

import (
	"io"

	"mailx/pkg/wire"
)

// rawChunks reads a message in chunks and gives its octets as they stand on the wire: for BODY=BINARYMIME (RFC 3030 §3), where
// a CR or LF means nothing by itself and lines have no limit. Its size has one.
type rawChunks struct {
	c       *wire.Conn
	max     int64 // octets of all chunks
	size    int64 // so far
	left    int64 // of the chunk
	last    bool
	chunk   io.Reader
	dropped *wire.ChunkReader // takes the rest after a fault, and gives up a peer that sends for ever; nil: all is well
}

// Next goes on with the next chunk. The one before must have been read to its end.
func (k *rawChunks) Next(octets int64, isLast bool) {
	k.left, k.last, k.chunk = octets, isLast, k.c.Literal(octets)
	if k.dropped != nil {
		k.dropped.Next(octets, isLast)
	}
}

// Refuse gives up the message: no more of it is given, and every chunk ends with err, unless something was wrong before.
func (k *rawChunks) Refuse(err error) {
	if k.dropped == nil {
		k.dropped = k.c.ChunkReader(wire.DotOptions{})
		k.dropped.Next(k.left, k.last)
	}
	k.dropped.Refuse(err)
}

// Read gives octets; io.EOF is the end of the chunk.
func (k *rawChunks) Read(p []byte) (int, error) {
	if k.dropped != nil {
		return k.dropped.Read(p)
	}
	n, err := k.chunk.Read(p)
	k.left -= int64(n)
	if k.size += int64(n); k.size > k.max {
		k.Refuse(wire.ErrTooBig)
		return k.dropped.Read(p)
	}
	return n, err
}

// Drain reads what is left of the chunk and gives its verdict.
func (k *rawChunks) Drain() error {
	_, err := io.Copy(io.Discard, k)
	return err
}
