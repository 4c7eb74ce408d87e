package wire

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"mailx/pkg/mailtest"
)

func TestDotReader(t *testing.T) {
	text := func(n int) string { return strings.Repeat("x", n) + "\r\n" }
	for _, c := range []struct {
		name, in string
		opt      DotOptions
		want     string // text in local form
		err      error
		rest     string // the line behind the block; "-" if the block never ends
	}{
		{name: "empty", in: ".\r\nQ\r\n", rest: "Q"},
		{name: "text", in: "a\r\n\r\nb\r\n.\r\nQ\r\n", want: "a\n\nb\n", rest: "Q"},
		{name: "stuffed", in: "..\r\n.a\r\n...\r\n.\r\nQ\r\n", want: ".\na\n..\n", rest: "Q"},
		{name: "dot inside", in: "a.\r\na.b\r\n.\r\nQ\r\n", want: "a.\na.b\n", rest: "Q"},
		{name: "no last line end", in: "a.\r\n", want: "a.\n", err: io.ErrUnexpectedEOF, rest: "-"},
		{name: "cut off after the dot", in: "a\r\n.", want: "a\n", err: io.ErrUnexpectedEOF, rest: "-"},
		{name: "cut off after the CR", in: "a\r\n.\r", want: "a\n", err: io.ErrUnexpectedEOF, rest: "-"},
		{name: "NUL and 8 bit", in: "\x00\xff\r\n.\r\nQ\r\n", want: "\x00\xff\n", rest: "Q"},

		{name: "LF.LF", in: "a\n.\nb\r\n.\r\nQ\r\n", err: ErrSmuggledText, rest: "Q"},
		{name: "LF.CRLF", in: "a\n.\r\nb\r\n.\r\nQ\r\n", err: ErrSmuggledText, rest: "Q"},
		{name: "CRLF.LF", in: "a\r\n.\nb\r\n.\r\nQ\r\n", err: ErrSmuggledText, rest: "Q"},
		{name: "CRLF.CR", in: "a\r\n.\rb\r\n.\r\nQ\r\n", err: ErrBareInText, rest: "Q"},
		{name: "CR.CR", in: "a\r.\rb\r\n.\r\nQ\r\n", err: ErrSmuggledText, rest: "Q"},
		{name: "CR.CRLF", in: "a\r.\r\nb\r\n.\r\nQ\r\n", err: ErrSmuggledText, rest: "Q"},
		{name: "CR CRLF.CRLF", in: "a\r\r\n.\r\nQ\r\n", err: ErrBareInText, rest: "Q"},
		{name: "bare LF", in: "a\nb\r\n.\r\nQ\r\n", err: ErrBareInText, rest: "Q"},
		{name: "bare CR", in: "a\rb\r\n.\r\nQ\r\n", err: ErrBareInText, rest: "Q"},
		{name: "LF at the start", in: "\n.\r\n.\r\nQ\r\n", err: ErrSmuggledText, rest: "Q"},

		{name: "repair LF", in: "a\nb\r\n.\r\nQ\r\n", opt: DotOptions{Bare: RepairBare}, want: "a\nb\n", rest: "Q"},
		{name: "repair CR", in: "a\rb\r\n.\r\nQ\r\n", opt: DotOptions{Bare: RepairBare}, want: "a\nb\n", rest: "Q"},
		{name: "repair never ends at LF.LF", in: "a\n.\nb\r\n.\r\nQ\r\n", opt: DotOptions{Bare: RepairBare}, want: "a\n", err: ErrSmuggledText, rest: "Q"},
		{name: "repair never ends at CR.CR", in: "a\r.\rb\r\n.\r\nQ\r\n", opt: DotOptions{Bare: RepairBare}, want: "a\n", err: ErrSmuggledText, rest: "Q"},
		{name: "repair never ends at CRLF.CR", in: "a\r\n.\rb\r\n.\r\nQ\r\n", opt: DotOptions{Bare: RepairBare}, want: "a\n\nb\n", rest: "Q"},

		{name: "take LF.LF", in: "a\n.\nb\r\n.\r\nQ\r\n", opt: DotOptions{Bare: TakeBare}, want: "a\n.\nb\n", rest: "Q"},
		{name: "take LF.CRLF", in: "a\n.\r\nb\r\n.\r\nQ\r\n", opt: DotOptions{Bare: TakeBare}, want: "a\n.\nb\n", rest: "Q"},
		{name: "take CRLF.LF", in: "a\r\n.\nb\r\n.\r\nQ\r\n", opt: DotOptions{Bare: TakeBare}, want: "a\n\nb\n", rest: "Q"},
		{name: "take CR.CR", in: "a\r.\rb\r\n.\r\nQ\r\n", opt: DotOptions{Bare: TakeBare}, want: "a\n.\nb\n", rest: "Q"},

		{name: "size n", in: "12345678\r\n.\r\nQ\r\n", opt: DotOptions{MaxSize: 10}, want: "12345678\n", rest: "Q"},
		{name: "size n+1", in: "123456789\r\n.\r\nQ\r\n", opt: DotOptions{MaxSize: 10}, err: ErrTooBig, rest: "Q"},
		{name: "stuffing does not count", in: "..345678\r\n.\r\nQ\r\n", opt: DotOptions{MaxSize: 9}, want: ".345678\n", rest: "Q"},
		{name: "line n", in: text(98) + ".\r\nQ\r\n", opt: DotOptions{MaxText: 100}, want: strings.Repeat("x", 98) + "\n", rest: "Q"},
		{name: "line n+1", in: text(99) + ".\r\nQ\r\n", opt: DotOptions{MaxText: 100}, err: ErrTextTooLong, rest: "Q"},
		{name: "4095", in: text(4094) + ".\r\nQ\r\n", want: strings.Repeat("x", 4094) + "\n", rest: "Q"},
		{name: "4096 and CRLF", in: text(4095) + ".\r\nQ\r\n", err: ErrTextTooLong, rest: "Q"},
		{name: "any line", in: text(200000) + ".\r\nQ\r\n", opt: DotOptions{MaxText: -1}, want: strings.Repeat("x", 200000) + "\n", rest: "Q"},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachCut(t, c.in, func(t *testing.T, conn *Conn) {
				d := conn.DotReader(c.opt)
				got, err := io.ReadAll(mailtest.OneOctetReader(d))
				if err != c.err && !(c.err == nil && err == nil) {
					t.Errorf("error %v, want %v", err, c.err)
				}
				// Text in front of a fault may or may not have been given; it is thrown away by every caller.
				if c.err == nil && string(got) != c.want || !strings.HasPrefix(c.want, string(got)) && c.want != "" {
					t.Errorf("text %.60q, want %.60q", got, c.want)
				}
				if c.rest == "-" {
					return
				}
				if line, err := conn.ReadLine(); line != c.rest || err != nil {
					t.Errorf("behind the block: %q, %v; want %q", line, err, c.rest)
				}
			})
		})
	}
}

func TestDotReaderSize(t *testing.T) {
	c := NewConn(&feed{in: strings.NewReader("..a\r\n\r\n.\r\n")})
	d := c.DotReader(DotOptions{})
	if err := d.Drain(); err != nil || d.Size() != 6 {
		t.Errorf("size %d, %v; want 6", d.Size(), err)
	}
}

func TestDotWriter(t *testing.T) {
	for _, c := range []struct {
		in, want string
		keepCR   bool
	}{
		{in: "", want: ".\r\n"},
		{in: "a\nb\n", want: "a\r\nb\r\n.\r\n"},
		{in: "no end", want: "no end\r\n.\r\n"},
		{in: ".\n..\n.a\na.\n", want: "..\r\n...\r\n..a\r\na.\r\n.\r\n"},
		{in: "a\r\n.b\r\n", want: "a\r\n..b\r\n.\r\n"},
		{in: "a\r.b\n", want: "a\r\n..b\r\n.\r\n"},
		{in: "a\r\r\nb\r", want: "a\r\n\r\nb\r\n.\r\n"},
		{in: "a\r.b\n", want: "a\r.b\r\n.\r\n", keepCR: true},
		{in: "\r.\n", want: "\r.\r\n.\r\n", keepCR: true},
		{in: "a\r", want: "a\r\r\n.\r\n", keepCR: true},
		{in: "\n\n", want: "\r\n\r\n.\r\n"},
	} {
		for name, cut := range cuts {
			f := &feed{}
			conn := NewConn(f)
			w := conn.DotWriter()
			w.KeepCR = c.keepCR
			buf := make([]byte, 64)
			for r := cut(strings.NewReader(c.in)); ; {
				n, err := r.Read(buf)
				w.Write(buf[:n])
				if err != nil {
					break
				}
			}
			w.Close()
			conn.Flush()
			if got := f.out.String(); got != c.want {
				t.Errorf("%s %q (keepCR %v): got %q, want %q", name, c.in, c.keepCR, got, c.want)
			}
		}
	}
}

// TestDotWriterBlocks: text that is longer than what is looked at at a time is sent as if it had come octet by octet.
func TestDotWriterBlocks(t *testing.T) {
	sent := func(text string, cut int, keepCR bool) string {
		f := &feed{}
		conn := NewConn(f)
		w := conn.DotWriter()
		w.KeepCR = keepCR
		for rest := text; rest != ""; {
			n := min(cut, len(rest))
			w.Write([]byte(rest[:n]))
			rest = rest[n:]
		}
		w.Close()
		conn.Flush()
		return f.out.String()
	}
	random := rand.New(rand.NewPCG(1, 2))
	for _, frequent := range []int{2, 60, 20_000} {
		text := make([]byte, 3*largeBuffer)
		for i := range text {
			text[i] = 'x'
			if random.IntN(frequent) == 0 {
				text[i] = "\r\n.."[random.IntN(4)]
			}
		}
		for _, keepCR := range []bool{false, true} {
			want := sent(string(text), 1, keepCR)
			for _, cut := range []int{largeBuffer/4 - 1, largeBuffer / 4, largeBuffer/4 + 1, len(text)} {
				if got := sent(string(text), cut, keepCR); got != want {
					t.Errorf("one of %d, in pieces of %d, keepCR %v: got %d octets, want %d, or others", frequent, cut, keepCR, len(got), len(want))
				}
			}
		}
	}
}

func TestLocalForm(t *testing.T) {
	for in, want := range map[string]string{
		"":                "",
		"a\nb\n":          "a\nb\n",
		"a\r\nb\r\n":      "a\nb\n",
		"a\rb":            "a\nb",
		"\r\r\n\n":        "\n\n\n",
		"a\r":             "a\n",
		"mixed\r\na\nb\r": "mixed\na\nb\n",
	} {
		for name, cut := range cuts {
			if got, err := io.ReadAll(LocalForm(cut(strings.NewReader(in)))); string(got) != want || err != nil {
				t.Errorf("%s %q: got %q, %v; want %q", name, in, got, err, want)
			}
		}
	}
}

// What DotWriter sends, DotReader reads: for any text, in any cut; and no bare CR or LF is ever on the wire.
func FuzzDotRoundTrip(f *testing.F) {
	f.Add([]byte("a\r\n.b\n\r.\n..\n"), uint8(0), uint8(2))
	f.Fuzz(func(t *testing.T, text []byte, in, out uint8) {
		sent := &feed{}
		c := NewConn(sent)
		w := c.DotWriter()
		for rest := text; len(rest) > 0; {
			n := min(int(in)+1, len(rest))
			w.Write(rest[:n])
			rest = rest[n:]
		}
		w.Close()
		c.Flush()
		wireText := sent.out.String()
		if s := strings.ReplaceAll(wireText, "\r\n", ""); strings.ContainsAny(s, "\r\n") {
			t.Fatalf("%q: bare CR or LF in %q", text, wireText)
		}
		if i := strings.Index("\r\n"+wireText, "\r\n.\r\n"); i+2 != len(wireText)-1 {
			t.Fatalf("%q: ends early: %q", text, wireText)
		}
		rc := NewConn(&feed{in: mailtest.ChunkReader(strings.NewReader(wireText), int(out)+1)})
		got, err := io.ReadAll(rc.DotReader(DotOptions{MaxText: -1}))
		want, _ := io.ReadAll(LocalForm(bytes.NewReader(text)))
		if len(want) > 0 && want[len(want)-1] != '\n' {
			want = append(want, '\n')
		}
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%q: got %q, %v; want %q", text, got, err, want)
		}
	})
}

// Any input, in any cut, gives the same text, the same verdict and the same place to go on.
func FuzzDotReader(f *testing.F) {
	for _, s := range []string{"a\r\n.\r\nQ\r\n", "a\n.\r\n.\r\n", "\r.\r\n.\r.\n.\r\n", "..\r\n.\r\n"} {
		f.Add([]byte(s), uint8(0), uint8(1), uint8(0))
	}
	f.Fuzz(func(t *testing.T, in []byte, chunk, size, bare uint8) {
		read := func(r io.Reader, n int) string {
			c := NewConn(&feed{in: r})
			d := c.DotReader(DotOptions{MaxSize: 60, MaxText: 30, Bare: Bare(bare % 3)})
			var text []byte
			for buf := make([]byte, n); ; {
				n, err := d.Read(buf)
				text = append(text, buf[:n]...)
				if err != nil {
					if err != io.EOF {
						text = nil
					}
					rest, _ := io.ReadAll(c.Literal(1 << 20))
					return fmt.Sprintf("%q %v %q", text, err, rest)
				}
			}
		}
		whole := read(bytes.NewReader(in), 4096)
		cut := read(mailtest.ChunkReader(bytes.NewReader(in), int(chunk)+1), int(size)+1)
		if whole != cut {
			t.Fatalf("%q: %s in one piece, %s in pieces", in, whole, cut)
		}
		if i := strings.Index("\r\n"+string(in), "\r\n.\r\n"); i < 0 && !strings.Contains(whole, io.ErrUnexpectedEOF.Error()) {
			t.Fatalf("%q has no end, got %s", in, whole)
		}
	})
}

func BenchmarkDotReader(b *testing.B) {
	line := strings.Repeat("x", 71) + "\r\n"
	block := strings.Repeat(line, 1<<20/len(line)) + ".\r\n"
	buf := make([]byte, 32<<10)
	b.SetBytes(int64(len(block)))
	for b.Loop() {
		d := NewConn(&feed{in: strings.NewReader(block)}).DotReader(DotOptions{})
		for {
			if _, err := d.Read(buf); err == io.EOF {
				break
			} else if err != nil {
				b.Fatal(err)
			}
		}
	}
}

// nowhere takes everything.
type nowhere struct{ feed }

func (*nowhere) Write(p []byte) (int, error) { return len(p), nil }

func BenchmarkDotWriter(b *testing.B) {
	line := strings.Repeat("x", 71) + "\n"
	text := []byte(strings.Repeat(line, 1<<20/len(line)))
	c := NewConn(&nowhere{})
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		w := c.DotWriter()
		for rest := text; len(rest) > 0; {
			n := min(64<<10, len(rest))
			w.Write(rest[:n])
			rest = rest[n:]
		}
		w.Close()
		c.Flush()
	}
}

func TestFromCRLF(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "a\r\nb\r\n": "a\nb\n", "a\rb\r": "a\rb\r", "\r\r\n\n\r\n": "\r\n\n\n", "\r": "\r",
		strings.Repeat("x", 4095) + "\r\ny": strings.Repeat("x", 4095) + "\ny",
	} {
		for _, r := range []io.Reader{strings.NewReader(in), iotest.OneByteReader(strings.NewReader(in)), iotest.DataErrReader(strings.NewReader(in))} {
			if got, err := io.ReadAll(FromCRLF(r)); err != nil || string(got) != want {
				t.Errorf("%.20q: got %.20q, %v, want %.20q", in, got, err, want)
			}
		}
	}
}
