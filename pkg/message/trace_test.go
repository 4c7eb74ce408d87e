package message

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"mailx/pkg/mail"
)

var day = time.Date(2026, 3, 1, 9, 5, 7, 0, time.FixedZone("", 3600))

func TestReceived(t *testing.T) {
	full := Received{
		From: "client.example.org", FromIP: netip.MustParseAddr("192.0.2.7"), FromHost: "mx.example.net", By: "host.example",
		With: "ESMTPS", TLS: "TLS1.3 TLS_AES_128_GCM_SHA256", ID: "1vQ.2", For: mail.Address{Local: "a b", Domain: "x.example"},
		Time: day,
	}
	hostile := Received{From: "evil\r\nBcc: (x) <y>;\xff ü" + strings.Repeat("a", 400), By: "h", With: "SMTP",
		FromIP: netip.MustParseAddr("2001:db8::1"), TLS: "a)(\n\\", Time: day}
	for _, c := range []struct {
		in   Received
		want string
	}{
		{full, "Received: from client.example.org (mx.example.net [192.0.2.7])\n\tby host.example with ESMTPS\n" +
			"\t(using TLS1.3 TLS_AES_128_GCM_SHA256) id 1vQ.2\n\tfor <\"a b\"@x.example>;\n\tSun, 01 Mar 2026 09:05:07 +0100\n"},
		{Received{By: "h", ID: "7", Time: day}, "Received: by h id 7;\n\tSun, 01 Mar 2026 09:05:07 +0100\n"},
		{hostile, "Received: from evil??Bcc:??x???y??????" + strings.Repeat("a", 255-23) + " ([IPv6:2001:db8::1])\n" +
			"\tby h with SMTP\n\t(using a\\)\\(?\\\\);\n\tSun, 01 Mar 2026 09:05:07 +0100\n"},
		{Received{By: "h", For: mail.Address{Local: "ü", Domain: "x"}, Time: day}, "Received: by h;\n\tSun, 01 Mar 2026 09:05:07 +0100\n"},
	} {
		got := string(c.in.Append(nil))
		if got != c.want {
			t.Errorf("%+v:\ngot  %q\nwant %q", c.in, got, c.want)
		}
		if h, body := readHeader(t, strings.NewReader(got)); h.Len() != 1 || body != "" {
			t.Errorf("%q: %d fields, body %q", got, h.Len(), body)
		}
	}
	for a, want := range map[mail.Address]string{
		{}:                          "Return-Path: <>\n",
		{Local: "a", Domain: "x.y"}: "Return-Path: <a@x.y>\n",
	} {
		if got := string(AppendReturnPath(nil, a)); got != want {
			t.Errorf("%v: got %q, want %q", a, got, want)
		}
	}
}

func intake(in *Intake, chunk int, trace, msg string) (string, error) {
	var out bytes.Buffer
	drop, dropPath, missing := in.DropBcc, in.DropReturnPath, in.Missing
	in.Reset(&out, []byte(trace))
	in.DropBcc, in.DropReturnPath, in.Missing = drop, dropPath, missing
	for msg != "" {
		n := min(chunk, len(msg))
		if _, err := in.Write([]byte(msg[:n])); err != nil {
			return out.String(), err
		}
		msg = msg[n:]
	}
	err := in.Close()
	return out.String(), err
}

func TestIntake(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"no header", "Do you like ketchup?\n", "T: 1\n\nDo you like ketchup?\n"},
		{"no header but a colon", "Well, yes: ketchup\n", "T: 1\n\nWell, yes: ketchup\n"},
		{"header", "A: b\n\nbody\n", "T: 1\nA: b\n\nbody\n"},
		{"empty header", "\nbody\n", "T: 1\n\nbody\n"},
		{"empty message", "", "T: 1\n"},
		{"one octet", "D", "T: 1\n\nD"},
		{"white space first", " A: b\n", "T: 1\n\n A: b\n"},
		{"header only", "A: b\n", "T: 1\nA: b\n"},
		{"header without LF", "A: b", "T: 1\nA: b"},
		{"folded", "A: b\n c\n\td\n\nx: y\n", "T: 1\nA: b\n c\n\td\n\nx: y\n"},
		{"body in the header", "A: b\nHello world\nC: d\n", "T: 1\nA: b\n\nHello world\nC: d\n"},
		{"long name", strings.Repeat("x", 300) + ": y\n", "T: 1\n\n" + strings.Repeat("x", 300) + ": y\n"},
		{"unfinished line", "A: b\nHel", "T: 1\nA: b\n\nHel"},
		{"bcc stays", "Bcc: b\nA: b\n\n", "T: 1\nBcc: b\nA: b\n\n"},
	} {
		for _, chunk := range []int{1, 2, 3, 7, 1000} {
			var in Intake
			if got, err := intake(&in, chunk, "T: 1\n", c.in); err != nil || got != c.want {
				t.Errorf("%s, cut at %d: got %q, %v; want %q", c.name, chunk, got, err, c.want)
			}
			if got, _ := intake(&in, chunk, "", c.in); c.name != "body in the header" && c.name != "unfinished line" && got != c.in {
				t.Errorf("%s without trace, cut at %d: got %q; want it unchanged", c.name, chunk, got)
			}
		}
	}
}

func TestIntakeNotes(t *testing.T) {
	msg := "Received: a\n b\nreceived : c\nDATE: x\nMessage-Id: y\nResent-From: z\nSubject: q\n\nReceived: in the body\nFrom: body\n"
	for _, chunk := range []int{1, 5, 1000} {
		var in Intake
		intake(&in, chunk, "", msg)
		if in.Received != 2 || !in.HasDate || !in.HasMessageID || in.HasFrom || !in.HasResent || in.HasMIME || !in.HasField {
			t.Errorf("cut at %d: got %+v", chunk, in)
		}
	}
}

func TestIntakeDropsReturnPath(t *testing.T) {
	const in = "Return-Path: <evil@x.example>\nA: b\nreturn-path:\n <evil@x.example>\nReturn-Path-X: c\n\nReturn-Path: d\n"
	for drops, want := range map[bool]string{true: "T: 1\nA: b\nReturn-Path-X: c\n\nReturn-Path: d\n", false: "T: 1\n" + in} {
		for _, chunk := range []int{1, 3, 1000} {
			got, err := intake(&Intake{DropReturnPath: drops}, chunk, "T: 1\n", in)
			if err != nil || got != want {
				t.Errorf("dropping %v, cut at %d: got %q, %v; want %q", drops, chunk, got, err, want)
			}
		}
	}
}

func TestIntakeRepairs(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"A: b\n\nx", "T: 1\nA: b\nDate: now\n\nx"},
		{"A: b\nBcc: c\n d\nresent-bcc: e\nF: g\n\nBcc: x", "T: 1\nA: b\nF: g\nDate: now\n\nBcc: x"},
		{"ketchup", "T: 1\nDate: now\n\nketchup"},
		{"\nketchup", "T: 1\nDate: now\n\nketchup"},
		{"A: b", "T: 1\nA: b\nDate: now\n"},
		{"Bcc: b", "T: 1\nDate: now\n"},
		{"A: b\nBcc: b\nbody\n", "T: 1\nA: b\nDate: now\n\nbody\n"},
		{"Date: then\n\n", "T: 1\nDate: then\n\n"},
		{"", "T: 1\nDate: now\n"},
	} {
		for _, chunk := range []int{1, 3, 1000} {
			in := Intake{DropBcc: true, Missing: func(in *Intake) []byte {
				if in.HasDate {
					return nil
				}
				return []byte("Date: now\n")
			}}
			if got, err := intake(&in, chunk, "T: 1\n", c.in); err != nil || got != c.want {
				t.Errorf("%q, cut at %d: got %q, %v; want %q", c.in, chunk, got, err, c.want)
			}
		}
	}
}

type failingWriter struct{ err error }

func (f failingWriter) Write([]byte) (int, error) { return 0, f.err }

func TestIntakeErrorSticks(t *testing.T) {
	full := errors.New("disk full")
	var in Intake
	in.Reset(failingWriter{full}, nil)
	in.Write([]byte("A: b\n\n"))
	if _, err := in.Write([]byte("x")); !errors.Is(err, full) {
		t.Errorf("Write: got %v", err)
	}
	if err := in.Close(); !errors.Is(err, full) {
		t.Errorf("Close: got %v", err)
	}
}

func TestIntakeDoesNotAllocate(t *testing.T) {
	msg := []byte(strings.Repeat("X-Header: value value\n", 100) + "\n" + strings.Repeat("body\n", 1000))
	var out bytes.Buffer
	var in Intake
	n := testing.AllocsPerRun(10, func() {
		out.Reset()
		in.Reset(&out, nil)
		in.Write(msg[:700])
		in.Write(msg[700:])
		in.Close()
	})
	if n > 0 {
		t.Errorf("got %v allocations a message, want 0", n)
	}
}

func FuzzIntake(f *testing.F) {
	f.Add("A: b\n\nx", uint8(1))
	f.Add("ketchup\nA: b\n", uint8(3))
	f.Fuzz(func(t *testing.T, msg string, cut uint8) {
		var whole, cuts Intake
		a, _ := intake(&whole, len(msg)+1, "T: 1\n", msg)
		b, _ := intake(&cuts, int(cut)+1, "T: 1\n", msg)
		if a != b || whole.Received != cuts.Received || whole.HasField != cuts.HasField {
			t.Fatalf("%q cut at %d: got %q, whole %q", msg, cut, b, a)
		}
		if strings.Contains(msg, "\r") {
			return
		}
		h, body := readHeader(t, strings.NewReader(msg))
		h2, body2 := readHeader(t, strings.NewReader(a))
		if body != body2 || h2.Len() != h.Len()+1 {
			t.Fatalf("%q became %q: body %q, want %q", msg, a, body2, body)
		}
	})
}
