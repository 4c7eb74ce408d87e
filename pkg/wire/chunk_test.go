package wire

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"mailx/pkg/mailtest"
)

// readChunks reads a text that comes cut at the places of in marked by bars, and gives the verdict of its last chunk. Text in
// front of a fault is thrown away, as every caller does.
func readChunks(c *Conn, chunks []string, opt DotOptions) (string, error) {
	k := c.ChunkReader(opt)
	var text []byte
	for i, chunk := range chunks {
		k.Next(int64(len(chunk)), i == len(chunks)-1)
		more, err := io.ReadAll(mailtest.OneOctetReader(k))
		if text = append(text, more...); err != nil && i == len(chunks)-1 {
			return "", err
		}
	}
	return string(text), nil
}

func TestChunkReader(t *testing.T) {
	text := func(n int) string { return strings.Repeat("x", n) }
	for _, c := range []struct {
		name, in string // chunks with bars between them
		opt      DotOptions
		want     string
		err      error
	}{
		{name: "nothing"},
		{name: "nothing twice", in: "|"},
		{name: "one", in: "a\r\nb\r\n", want: "a\nb\n"},
		{name: "last is empty", in: "a\r\n|", want: "a\n"},
		{name: "no last line end", in: "a\r\nb", want: "a\nb\n"},
		{name: "no last line end, last is empty", in: "a|b|", want: "ab\n"},
		{name: "an empty line at the end", in: "a\r\n\r\n", want: "a\n\n"},
		{name: "CRLF cut in two", in: "a\r|\nb\r||\n", want: "a\nb\n"},
		{name: "dots are text", in: "a\r\n.\r\n..\r\n|.|\r\n", want: "a\n.\n..\n.\n"},
		{name: "NUL and 8 bit", in: "\x00\xff|\r\n", want: "\x00\xff\n"},

		{name: "bare LF", in: "a\nb\r\n", err: ErrBareInText},
		{name: "bare LF after a cut", in: "a|\nb\r\n", err: ErrBareInText},
		{name: "bare CR", in: "a\rb\r\n", err: ErrBareInText},
		{name: "bare CR before a cut", in: "a\r|b\r\n", err: ErrBareInText},
		{name: "CR CR LF", in: "a\r|\r|\nb\r\n", err: ErrBareInText},
		{name: "CR at the end", in: "a\r", err: ErrBareInText},
		{name: "CR at the end, last is empty", in: "a\r|", err: ErrBareInText},
		{name: "a fault stays", in: "a\nb\r\n|c\r\n|", err: ErrBareInText},

		{name: "repair LF", in: "a\n|\nb|\n", opt: DotOptions{Bare: RepairBare}, want: "a\n\nb\n"},
		{name: "repair CR", in: "a\r|b\r\r|\n", opt: DotOptions{Bare: RepairBare}, want: "a\nb\n\n"},
		{name: "repair CR at the end", in: "a\r", opt: DotOptions{Bare: RepairBare}, want: "a\n"},
		{name: "no dot is suspicious", in: "a\n.\r\nb\r.\r|\n.\n", opt: DotOptions{Bare: RepairBare}, want: "a\n.\nb\n.\n.\n"},

		{name: "size n", in: "1234|5678\r|\n", opt: DotOptions{MaxSize: 10}, want: "12345678\n"},
		{name: "size n without line end", in: "12345|67890", opt: DotOptions{MaxSize: 10}, want: "1234567890\n"},
		{name: "size n+1", in: "1234|56789\r|\n", opt: DotOptions{MaxSize: 10}, err: ErrTooBig},
		{name: "line n", in: text(50) + "|" + text(48) + "|\r\n", opt: DotOptions{MaxText: 100}, want: text(98) + "\n"},
		{name: "line n+1", in: text(50) + "|" + text(49) + "|\r\n", opt: DotOptions{MaxText: 100}, err: ErrTextTooLong},
		{name: "line n+1 without line end", in: text(99), opt: DotOptions{MaxText: 100}, err: ErrTextTooLong},
		{name: "default line", in: text(4094) + "\r\n", want: text(4094) + "\n"},
		{name: "default line n+1", in: text(4095) + "\r\n", err: ErrTextTooLong},
		{name: "large", in: text(100000) + "|" + text(100000), opt: DotOptions{MaxText: -1}, want: text(200000) + "\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			chunks := strings.Split(c.in, "|")
			eachCut(t, strings.Join(chunks, "")+"Q\r\n", func(t *testing.T, conn *Conn) {
				got, err := readChunks(conn, chunks, c.opt)
				if err != c.err || got != c.want {
					t.Errorf("%.60q: got %.60q, %v; want %.60q, %v", c.in, got, err, c.want, c.err)
				}
				if line, err := conn.ReadLine(); line != "Q" || err != nil {
					t.Errorf("%.60q: behind the chunks: %q, %v", c.in, line, err)
				}
			})
		})
	}
}

// A peer that goes away within a chunk breaks the connection, whatever was wrong with the text before.
func TestChunkReaderBroken(t *testing.T) {
	for _, in := range []string{"", "abc", "a\nb"} {
		eachCut(t, in, func(t *testing.T, c *Conn) {
			k := c.ChunkReader(DotOptions{})
			k.Next(10, true)
			for range 2 {
				if err := k.Drain(); err != io.ErrUnexpectedEOF {
					t.Errorf("%q: got %v, want %v", in, err, io.ErrUnexpectedEOF)
				}
			}
		})
	}
}

// What the caller refuses is dropped, chunk by chunk, and the first reason stays.
func TestChunkReaderRefuse(t *testing.T) {
	eachCut(t, "abc\r\ndefghiQ\r\n", func(t *testing.T, c *Conn) {
		k := c.ChunkReader(DotOptions{})
		k.Next(5, false)
		if got, err := io.ReadAll(k); string(got) != "abc\n" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		k.Refuse(ErrTooBig)
		k.Refuse(ErrTextTooLong)
		for range 2 {
			k.Next(3, false)
			if got, err := io.ReadAll(k); len(got) > 0 || err != ErrTooBig {
				t.Errorf("got %q, %v; want nothing, %v", got, err, ErrTooBig)
			}
		}
		if line, err := c.ReadLine(); line != "Q" || err != nil {
			t.Errorf("behind the chunks: %q, %v", line, err)
		}
	})
}

// A chunk that was refused and is announced as endless is given up.
func TestChunkReaderEndless(t *testing.T) {
	c := NewConn(&feed{in: endless{strings.Repeat("x", 4000)}})
	k := c.ChunkReader(DotOptions{})
	k.Refuse(ErrTooBig)
	k.Next(1<<63-1, true)
	if err := k.Drain(); err != ErrEndless || c.Err() != ErrEndless {
		t.Errorf("got %v, %v; want %v", err, c.Err(), ErrEndless)
	}
}

// Where the chunks of a text end changes nothing; and a text without bare line ends means the same as a dot block.
func FuzzChunkReader(f *testing.F) {
	f.Add([]byte("a\r\n.b\r\n"), uint16(2), uint16(3), uint8(0))
	f.Add([]byte("a\r\rb\n\r"), uint16(2), uint16(1), uint8(1))
	f.Add([]byte("no end"), uint16(6), uint16(0), uint8(2))
	f.Fuzz(func(t *testing.T, in []byte, first, second uint16, bare uint8) {
		opt := DotOptions{MaxSize: 60, MaxText: 30, Bare: Bare(bare % 3)}
		read := func(chunks ...string) string {
			c := NewConn(&feed{in: mailtest.ChunkReader(strings.NewReader(string(in)+"Q\r\n"), int(second)+1)})
			text, err := readChunks(c, chunks, opt)
			rest, _ := c.ReadLine()
			return fmt.Sprintf("%q %v %q", text, err, rest)
		}
		a := min(int(first), len(in))
		b := min(a+int(second), len(in))
		whole, cut := read(string(in)), read(string(in[:a]), string(in[a:b]), string(in[b:]))
		if whole != cut {
			t.Fatalf("%q: %s whole, %s cut at %d and %d", in, whole, cut, a, b)
		}
		local, err := io.ReadAll(LocalForm(bytes.NewReader(in)))
		if err != nil || strings.ContainsAny(strings.ReplaceAll(string(in), "\r\n", ""), "\r\n") || !bytes.HasSuffix(in, []byte("\r\n")) {
			return
		}
		sent := &feed{}
		c := NewConn(sent)
		w := c.DotWriter()
		w.Write(local)
		w.Close()
		c.Flush()
		d := NewConn(&feed{in: strings.NewReader(sent.out.String() + "Q\r\n")})
		text, derr := io.ReadAll(d.DotReader(opt))
		if derr != nil {
			text = nil
		}
		rest, _ := d.ReadLine()
		if dots := fmt.Sprintf("%q %v %q", text, derr, rest); dots != whole {
			t.Fatalf("%q: %s in chunks, %s as a dot block", in, whole, dots)
		}
	})
}
