package main

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"mailx/pkg/config"
	"mailx/pkg/mail"
	"mailx/pkg/wire"
)

func TestSenderAddress(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", "<>"},
		{"<>", "<>"},
		{"a@x.example", "<a@x.example>"},
		{"<A@X.example>", "<A@x.example>"},
		{"root", "<root>"},
		{"MAILER-DAEMON", "<MAILER-DAEMON>"},
		{"a..b@docomo.example", `<"a..b"@docomo.example>`},
		{"a b@x.example", `<"a b"@x.example>`},
		{"a@b@x.example", `<"a@b"@x.example>`},
		{`"`, `<"\"">`},
		{"a@", `<"a@">`},
		{"a@-x-", `<"a@-x-">`},
		{"a>b@x.example", `<"a>b"@x.example>`},
		{strings.Repeat("a", 65) + "@x.example", "<" + strings.Repeat("a", 65) + "@x.example>"},
		{"jörg@x.example", "<jörg@x.example>"},
		{"a\nb@x.example", ""}, {"a\r@x", ""}, {"a\x00@x", ""}, {"a\x1b@x", ""}, {"a\xff@x", ""}, {"a\u009b@x", ""},
	} {
		got, err := senderAddress(tt.in)
		if tt.want == "" {
			if exitCode(err) != exDataErr {
				t.Errorf("%q: got %v, %v; want exit 65", tt.in, got, err)
			}
			continue
		}
		if err != nil || got.Path() != tt.want {
			t.Errorf("%q: got %s, %v; want %s", tt.in, got.Path(), err, tt.want)
		}
	}
}

func TestFillDelivery(t *testing.T) {
	const trace = "Return-Path: <new@x>\n"
	long := "X: " + strings.Repeat("y", 100_000) + "\n"
	for _, tt := range []struct {
		name, in, trace, want string
	}{
		{"plain", "A: b\n\nx\n", trace, trace + "A: b\n\nx\n"},
		{"nobody says", "A: b\n\nx\n", "", "A: b\n\nx\n"},
		{"mbox", "From a@b Mon\nA: b\n\nx\n", trace, trace + "A: b\n\nx\n"},
		{"mbox, nobody says", "From a@b Mon\nReturn-Path: <o@x>\nA: b\n\n", "", "Return-Path: <o@x>\nA: b\n\n"},
		{"mbox with CRLF", "From a@b Mon\r\nA: b\r\n\r\nx\r\n", trace, trace + "A: b\n\nx\n"},
		{"mbox line without a date", "From a@b\n>From c@d\nA: b\n\n", trace, trace + "A: b\n\n"},
		{"text, no mbox line", "From here on\nit is text.\n", trace, trace + "\nFrom here on\nit is text.\n"},
		{"long line, no mbox line", "From " + long + "A: b\n\n", trace, trace + "\nFrom " + long + "A: b\n\n"},
		{"a header field From", "From: a@b\n\n", trace, trace + "From: a@b\n\n"},
		{"quoted", ">From a@b Mon\n", trace, trace + "\n>From a@b Mon\n"},
		{"old return path", "return-PATH:\n <o@x>\n\t(c)\nA: b\n\n", trace, trace + "A: b\n\n"},
		{"old return path and nothing", "Return-Path: <o@x>\n\nx\n", trace, trace + "\nx\n"},
		{"only the first is the MTA's", "A: b\nReturn-Path: <o@x>\n\n", trace, trace + "A: b\nReturn-Path: <o@x>\n\n"},
		{"long field", long + "\nx\n", trace, trace + long + "\nx\n"},
		{"no header", "Do you like ketchup?\n", trace, trace + "\nDo you like ketchup?\n"},
		{"no line end", "A: b\n\nx", trace, trace + "A: b\n\nx\n"},
		{"one octet", "x", trace, trace + "\nx\n"},
		{"empty line", "\n", trace, trace + "\n"},
	} {
		for how, wrap := range map[string]func(io.Reader) io.Reader{
			"whole":    func(r io.Reader) io.Reader { return r },
			"by octet": iotest.OneByteReader,
			"with EOF": iotest.DataErrReader,
		} {
			var got bytes.Buffer
			err := fillDelivery(&got, limited(wire.LocalForm(wrap(strings.NewReader(tt.in))), 1<<20), []byte(tt.trace))
			if err != nil || got.String() != tt.want {
				t.Errorf("%s, %s: %.200q: got %.200q, %v; want %.200q", tt.name, how, tt.in, got.String(), err, tt.want)
			}
		}
	}
	for _, in := range []string{"", "From a@b Tue Nov 14 22:13:20 2023\n", "From a@b Tue Nov 14 22:13:20 2023", "Return-Path: <o@x>\n"} {
		if err := fillDelivery(io.Discard, strings.NewReader(in), []byte(trace)); exitCode(err) != exDataErr {
			t.Errorf("%q: got %v, want exit 65", in, err)
		}
	}
}

// FuzzFillDelivery: what is stored does not depend on how the message arrives in pieces, starts with our Return-Path,
// and is in local form.
func FuzzFillDelivery(f *testing.F) {
	for _, s := range []string{"A: b\n\nx\n", "From a\nReturn-Path: x\r\n y\r\n\r\nz", "From a\n>From b\nA: b\n", "From x\ny\n", "x", "\r\r\n", "Return-Path:"} {
		f.Add([]byte(s))
	}
	const trace = "Return-Path: <new@x>\n"
	f.Fuzz(func(t *testing.T, in []byte) {
		var whole, pieces bytes.Buffer
		err := fillDelivery(&whole, wire.LocalForm(bytes.NewReader(in)), []byte(trace))
		err2 := fillDelivery(&pieces, wire.LocalForm(iotest.OneByteReader(bytes.NewReader(in))), []byte(trace))
		if (err == nil) != (err2 == nil) || whole.String() != pieces.String() {
			t.Fatalf("%q: whole %q, %v; by octet %q, %v", in, whole.String(), err, pieces.String(), err2)
		}
		if got := whole.String(); err == nil && (!strings.HasPrefix(got, trace) || !strings.HasSuffix(got, "\n") || strings.Contains(got, "\r")) {
			t.Fatalf("%q: got %q", in, got)
		}
	})
}

// TestFillDeliveryErrors: trouble of the reader, of the writer and with the size comes out, and is not taken for an end.
func TestFillDeliveryErrors(t *testing.T) {
	broken := errors.New("broken")
	for _, start := range []string{"", "From a", "From a\n", "Return-Path: <", "A", "A: b\n\nx"} {
		r := io.MultiReader(strings.NewReader(start), iotest.ErrReader(broken))
		if err := fillDelivery(io.Discard, r, []byte("Return-Path: <>\n")); !errors.Is(err, broken) {
			t.Errorf("%q and then an error: got %v", start, err)
		}
	}
	for max := range int64(12) {
		err := fillDelivery(io.Discard, limited(strings.NewReader("A: b\n\ntext\n"), max), nil)
		if got, want := mail.StatusOf(err).String(), "5.3.4"; max < 11 && got != want || max >= 11 && err != nil {
			t.Errorf("11 octets, %d allowed: got %v", max, err)
		}
	}
}

// TestDeferred: an MTA bounces on 64, 65 and 67 only.
func TestDeferred(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want int
	}{
		{nil, 0}, {usagef("x"), 64}, {mail.Permanentf(6, 0, "x"), 65}, {mail.Permanentf(1, 1, "x"), 67},
		{mail.Temporaryf(3, 1, "x"), 75}, {errors.New("x"), 75}, {&config.Error{}, 75}, {exitWith(exIOErr, io.EOF), 75},
		{exitWith(exNoPerm, io.EOF), 75}, {exitWith(exCantCreate, io.EOF), 75}, {exitWith(exNoInput, io.EOF), 75},
		{mail.Permanentf(7, 1, "x"), 75},
	} {
		if got := exitCode(deferred(tt.err)); got != tt.want {
			t.Errorf("%v: got %d, want %d", tt.err, got, tt.want)
		}
	}
}
