package imap

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"mailx/pkg/mailtest"
)

// saying is a connection whose other end says octets and no more, whatever it is asked.
type saying struct {
	net.Conn // nil
	io.Reader
}

func (s saying) Read(p []byte) (int, error)       { return s.Reader.Read(p) }
func (s saying) Write(p []byte) (int, error)      { return len(p), nil }
func (s saying) Close() error                     { return nil }
func (s saying) SetReadDeadline(time.Time) error  { return nil }
func (s saying) SetWriteDeadline(time.Time) error { return nil }

func clientOf(octets string, drip bool) *Client {
	r := io.Reader(strings.NewReader(octets))
	if drip {
		r = mailtest.OneOctetReader(r)
	}
	c, err := NewClient(saying{Reader: r}, ClientOptions{})
	if err != nil {
		return nil
	}
	return c
}

// TestFetchAnswers reads answers whole and one octet at a time.
func TestFetchAnswers(t *testing.T) {
	const end = "m1 OK x\r\n"
	tests := []struct {
		answer, want string
	}{
		{"* 1 FETCH (UID 5 BODY[] {3}\r\na\r\n)\r\n", `5 "a\n"`},
		{"* 1 FETCH (UID 5 BODY[] {0}\r\n)\r\n", `5 ""`},
		{"* 1 FETCH (UID 5 BODY[] \"a\\\"b\")\r\n", `5 "a\"b"`},
		{"* 1 FETCH (UID 5 BODY[] NIL)\r\n", `5 ""`},
		{"* 1 fetch (uid 5 Body[] {1}\r\na flags (\\Seen))\r\n", `5 "a\n"`},
		{"* 1 FETCH (UID 5 BODY[HEADER.FIELDS (\"A B\" C)] {1}\r\na)\r\n", `5 "a\n"`},
		{"* 1 FETCH (UID 5 BODY[]<0> {1}\r\na)\r\n", `5 "a\n"`},
		{"* 1 FETCH (X-GM-LABELS (\"a)\" {2}\r\n)( (b (c)) NIL) UID 5 BODY[] {1}\r\na)\r\n", `5 "a\n"`},
		{"* 1 FETCH (UID 5 BODYSTRUCTURE ((\"TEXT\" NIL (\"A\" {1}\r\nb)) 3) BODY[] {1}\r\na)\r\n", `5 "a\n"`},
		{"* OK still {5}\r\n* XLIST {2}\r\nab {1}\r\nc\r\n* 1 FETCH (UID 5 BODY[] {1}\r\na)\r\n", `5 "a\n"`},
		{"* 1 FETCH (UID 5 BODY[] {4}\r\na\nb\r)\r\n", `5 "a\nb\n"`},
	}
	for _, test := range tests {
		for _, drip := range []bool{false, true} {
			c := clientOf("* OK hello\r\n"+test.answer+end, drip)
			var got []string
			err := c.Fetch("5", "UID BODY.PEEK[]", func(m *Fetched, text io.Reader) error {
				b, err := io.ReadAll(text)
				got = append(got, fmt.Sprintf("%d %q", m.UID, b))
				return err
			})
			if err != nil || strings.Join(got, ",") != test.want {
				t.Errorf("%q: %q, %v, want %q", test.answer, got, err, test.want)
			}
		}
	}
}

// FuzzClient: whatever a server says, the client ends, with bounded effort.
func FuzzClient(f *testing.F) {
	f.Add("* OK [CAPABILITY IMAP4rev1 IDLE] hello\r\n* 1 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\nm1 OK x\r\n" +
		"* 1 FETCH (UID 5 RFC822.SIZE 3 FLAGS (\\Seen) INTERNALDATE \" 1-Jan-2026 00:00:00 +0000\" BODY[] {3}\r\na\r\n)\r\nm2 OK x\r\n" +
		"* LIST (\\Noselect) \"/\" {3}\r\na b\r\nm3 OK x\r\n+ idling\r\n* 2 EXISTS\r\nm4 OK x\r\n")
	f.Add("* PREAUTH x\r\nm1 NO [NOPERM] x\r\n* 1 FETCH (X ((((\"a\\\"\" {1}\r\nb))))\r\nm2 BAD x\r\n")
	f.Fuzz(func(t *testing.T, octets string) {
		c := clientOf(octets, false)
		if c == nil {
			return
		}
		defer c.Close()
		c.Select("INBOX", true)
		c.Fetch("1:*", "UID BODY.PEEK[]", func(_ *Fetched, text io.Reader) error {
			if text != nil {
				io.CopyN(io.Discard, text, 1000)
			}
			return nil
		})
		c.List("*", func(f Folder) error {
			f.Elements()
			return nil
		})
		c.Idle(time.Minute)
		if c.Noop(); c.err == nil && !strings.Contains(octets, "m5 ") {
			t.Errorf("%q: an answer that was never sent", octets)
		}
	})
}

// What a server says of itself, for people.
func TestGreetingAndCapabilities(t *testing.T) {
	for greeting, want := range map[string][2]string{
		"* OK [CAPABILITY IMAP4rev1 starttls] mail\x1b here\r\n": {"mail? here", "IMAP4REV1 STARTTLS"},
		"* PREAUTH come in\r\n":                                  {"come in", ""},
		"* OK\r\n":                                               {"", ""},
	} {
		c := clientOf(greeting, true)
		if c == nil {
			t.Fatalf("%q: no client", greeting)
		}
		if got := [2]string{c.Greeting(), strings.Join(c.Capabilities(), " ")}; got != want {
			t.Errorf("%q: got %q, want %q", greeting, got, want)
		}
	}
}
