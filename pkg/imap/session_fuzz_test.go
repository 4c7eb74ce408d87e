package imap

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"mailx/pkg/vfs"
)

// said is a connection on which the client has said everything already.
type said struct {
	net.Conn // nil: what is not below is not called
	in       io.Reader
	out      bytes.Buffer
}

func (s *said) Read(p []byte) (int, error)       { return s.in.Read(p) }
func (s *said) Write(p []byte) (int, error)      { return s.out.Write(p) }
func (s *said) Close() error                     { return nil }
func (s *said) RemoteAddr() net.Addr             { return nil }
func (s *said) SetReadDeadline(time.Time) error  { return nil }
func (s *said) SetWriteDeadline(time.Time) error { return nil }

func converse(t testing.TB, fsys vfs.FS, text string) string {
	t.Helper()
	s := &said{in: strings.NewReader(text)}
	if err := testServer(fsys).ServeConn(context.Background(), s); err != nil && err != io.ErrUnexpectedEOF {
		t.Errorf("%q: %v", text, err)
	}
	return s.out.String()
}

// Whatever a client says after SELECT: nothing breaks, and what the server says is whole lines.
func FuzzSession(f *testing.F) {
	for _, s := range []string{
		"1 FETCH 1:* (FLAGS BODY.PEEK[1.2]<1.5> ENVELOPE BODYSTRUCTURE)\r\n2 STORE 1 -FLAGS (x)\r\n3 EXPUNGE\r\n",
		"1 UID SEARCH OR TEXT {3+}\r\nabc NOT 1:2\r\n2 COPY 1:2 inbox\r\n3 UID MOVE 4 x\r\n",
		"1 APPEND inbox () {3+}\r\nabc\r\n2 IDLE\r\nDONE\r\n3 LIST \"\" *\r\n4 RENAME inbox y\r\n5 CLOSE\r\n",
		"1 BAD {5}\r\n2 LOGIN {3+}\r\n",
	} {
		f.Add(s)
	}
	base := testSpool(f)
	f.Fuzz(func(t *testing.T, text string) {
		out := converse(t, base.Clone(), "a LOGIN alice \"open sesame\"\r\nb SELECT inbox\r\n"+text)
		if !strings.HasSuffix(out, "\r\n") {
			t.Errorf("%q: the server ends with %q", text, out[max(0, len(out)-40):])
		}
	})
}

// Nesting is bounded where messages are read, so that nothing recurses without end here.
func TestDeepNesting(t *testing.T) {
	var deep, wide strings.Builder
	for range 3000 {
		deep.WriteString("Content-Type: multipart/mixed; boundary=b\n\n--b\n")
	}
	for range 1500 {
		wide.WriteString("Content-Type: message/rfc822\n\n")
	}
	for name, text := range map[string]string{"multipart": deep.String(), "messages": wide.String()} {
		fsys := testSpool(t)
		fh, err := fsys.Create("/mail/alice/cur/1800000000.M1P1.host:2,")
		must(t, err)
		_, err = io.WriteString(fh, text)
		must(t, err)
		must(t, fh.Close())
		out := converse(t, fsys, "a LOGIN alice \"open sesame\"\r\nb SELECT inbox\r\nc FETCH 4 (BODYSTRUCTURE ENVELOPE BODY.PEEK["+
			strings.Repeat("1.", 99)+"1])\r\nd FETCH 4 BODY["+strings.Repeat("1.", 100)+"1]\r\n")
		if !strings.Contains(out, "c OK FETCH completed\r\nd BAD ") {
			t.Errorf("%s: %.300s ... %s", name, out, out[max(0, len(out)-100):])
		}
		if open := strings.Count(out, "("); open != strings.Count(out, ")") {
			t.Errorf("%s: parentheses don't match", name)
		}
	}
}
