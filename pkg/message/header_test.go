package message

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"mailx/pkg/mail"
)

func readHeader(t testing.TB, r io.Reader) (h *Header, body string) {
	t.Helper()
	br := bufio.NewReader(r)
	h, err := ReadHeader(br, Limits{})
	if err != nil {
		t.Fatalf("ReadHeader: %v", err)
	}
	b, err := io.ReadAll(br)
	if err != nil {
		t.Fatal(err)
	}
	return h, string(b)
}

func printed(h *Header) string {
	var b bytes.Buffer
	h.WriteTo(&b)
	return b.String()
}

func TestReadHeader(t *testing.T) {
	for _, c := range []struct{ in, header, body string }{
		{"", "\n", ""},
		{"\n", "\n", ""},
		{"\nbody\n", "\n", "body\n"},
		{"Do you like ketchup?\n", "\n", "Do you like ketchup?\n"},
		{"Do you like: ketchup?\n", "\n", "Do you like: ketchup?\n"},
		{"Ketchup:yes\n\nbody", "Ketchup:yes\n\n", "body"},
		{"A: b", "A: b\n\n", ""},
		{"A: b\r\n c\r\n\r\nx\r\n", "A: b\n c\n\n", "x\r\n"},
		{"A : b\nB:\n\n", "A : b\nB:\n\n", ""},
		{" folded: first\nA: b\n", "\n", " folded: first\nA: b\n"},
		{"A: b\n  \n\tc\nno field\nC: d\n", "A: b\n  \n\tc\n\n", "no field\nC: d\n"},
		{"A: b\nabc", "A: b\n\n", "abc"},
		{"Sübject: x\n", "\n", "Sübject: x\n"},
		{"Subject: Grüße\n\n", "Subject: Grüße\n\n", ""},
		{": empty\n", "\n", ": empty\n"},
		{"A: b\r\r\n\n", "A: b\n\n", ""},
		{strings.Repeat("n", 255) + ": v\n", strings.Repeat("n", 255) + ": v\n\n", ""},
		{strings.Repeat("n", 256) + ": v\n", "\n", strings.Repeat("n", 256) + ": v\n"},
		{"A: " + strings.Repeat("long ", 3000) + "\n\nb", "A: " + strings.Repeat("long ", 3000) + "\n\n", "b"},
	} {
		for name, r := range map[string]io.Reader{
			"whole": strings.NewReader(c.in), "octets": iotest.OneByteReader(strings.NewReader(c.in)),
		} {
			h, body := readHeader(t, r)
			if got := printed(h); got != c.header || body != c.body {
				t.Errorf("%s %.60q: got %.80q, body %.80q; want %.80q, body %.80q", name, c.in, got, body, c.header, c.body)
			}
		}
	}
}

func TestReadHeaderLimits(t *testing.T) {
	in := "A: 1\nB: 22\nC: 333\n\nbody"
	for _, c := range []struct {
		lim    Limits
		fields int
	}{
		{Limits{Fields: 2}, 2}, {Limits{Octets: 12}, 2}, {Limits{Octets: 5}, 1}, {Limits{Octets: 1}, 0},
	} {
		h, err := ReadHeader(bufio.NewReader(iotest.OneByteReader(strings.NewReader(in))), c.lim)
		if h.Len() != c.fields || mail.StatusOf(err).String() != "5.6.0" {
			t.Errorf("%+v: got %d fields, %v; want %d, 5.6.0", c.lim, h.Len(), err, c.fields)
		}
	}
	if _, err := ReadHeader(bufio.NewReader(strings.NewReader(in)), Limits{Octets: 18, Fields: 3}); err != nil {
		t.Errorf("limits that fit: %v", err)
	}
	broken := errors.New("broken disk")
	_, err := ReadHeader(bufio.NewReader(io.MultiReader(strings.NewReader("A: 1\nB"), iotest.ErrReader(broken))), Limits{})
	if !errors.Is(err, broken) {
		t.Errorf("broken reader: got %v", err)
	}
}

func TestHeaderLookup(t *testing.T) {
	h, _ := readHeader(t, strings.NewReader("Received: one\nreceived: two\n\tfolded \nSUBJECT:  x \nbcc: y\nBcc: z\n\n"))
	if got := h.Get("Received"); got != "one" {
		t.Errorf("Get: got %q", got)
	}
	if got := h.Values("RECEIVED"); len(got) != 2 || got[1] != "two\tfolded" {
		t.Errorf("Values: got %q", got)
	}
	if got := h.Get("subject"); got != "x" || !h.Has("Subject") || h.Has("Sub") || h.Get("X") != "" {
		t.Errorf("subject: got %q", got)
	}
	if n := CountReceived(h); n != 2 {
		t.Errorf("CountReceived: got %d, want 2", n)
	}
	if n := h.Del("BCC"); n != 2 || h.Has("bcc") {
		t.Errorf("Del: got %d, want 2", n)
	}
	if err := h.Add("X-Note", "Grüße an"); err != nil {
		t.Fatal(err)
	}
	if err := h.AddRaw([]byte("Return-Path: <>\nA: b\n\tc\n")); err != nil {
		t.Fatal(err)
	}
	want := "Return-Path: <>\nA: b\n\tc\nX-Note: =?utf-8?q?Gr=C3=BC=C3=9Fe_an?=\n" +
		"Received: one\nreceived: two\n\tfolded \nSUBJECT:  x \n\n"
	if got := printed(h); got != want {
		t.Errorf("printed: got %q, want %q", got, want)
	}
}

func TestHeaderRefuses(t *testing.T) {
	var h Header
	for _, c := range []struct{ name, value string }{
		{"Subject", "a\nBcc: b"}, {"Subject", "a\r"}, {"Subject", "a\x00"}, {"Subject", "\x1b[2J"}, {"Subject", "\u0085"},
		{"Sub ject", "a"}, {"", "a"}, {"Sub:ject", "a"}, {"Sübject", "a"}, {"A\n", "b"},
	} {
		var field *FieldError
		if err := h.Add(c.name, c.value); !errors.As(err, &field) || mail.StatusOf(err).String() != "5.6.0" {
			t.Errorf("Add(%q, %q): got %v, want a FieldError", c.name, c.value, err)
		}
	}
	for _, raw := range []string{"no field\n", "A: b", "A: b\n\nB: c\n", "A: b\nno\n", " a\n"} {
		if err := h.AddRaw([]byte(raw)); err == nil {
			t.Errorf("AddRaw(%q): no error", raw)
		}
	}
	if h.Len() != 0 {
		t.Errorf("refused fields were added: %q", printed(&h))
	}
}

func FuzzHeader(f *testing.F) {
	for _, s := range []string{"A: b\n c\n\nbody", "a\r\n:", "From x\nA:b\r\r\n\r\n", "A: b\nB", "\r", "A\t :b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		br := bufio.NewReader(iotest.OneByteReader(strings.NewReader(in)))
		h, err := ReadHeader(br, Limits{Octets: 1000, Fields: 10})
		out := printed(h)
		again, body := readHeader(t, strings.NewReader(out))
		if got := printed(again); got != out || body != "" || again.Len() != h.Len() {
			t.Fatalf("%q (%v): printed %q, read again %q and body %q", in, err, out, got, body)
		}
		for _, f := range h.Fields() {
			if f.Name() == "" || !h.Has(f.Name()) || strings.ContainsAny(f.Value(), "\n") {
				t.Fatalf("%q: bad field %q", in, f.Raw())
			}
		}
	})
}
