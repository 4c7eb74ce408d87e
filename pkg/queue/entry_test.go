package queue

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"mailx/pkg/mail"
)

var arrived = time.Date(2026, 11, 23, 10, 0, 0, 123456789, time.UTC)

func addr(s string) mail.Address {
	local, domain, _ := strings.Cut(s, "@")
	return mail.Address{Local: local, Domain: domain}
}

func rcpts(list ...string) (r []mail.Recipient) {
	for _, s := range list {
		r = append(r, mail.Recipient{Address: addr(s)})
	}
	return r
}

func envelopes() map[string]*mail.Envelope {
	many := &mail.Envelope{Sender: addr("list@x.example"), Arrived: arrived}
	for i := range 5000 {
		many.Rcpts = append(many.Rcpts, mail.Recipient{Address: addr(fmt.Sprintf("user%d@example.org", i))})
	}
	return map[string]*mail.Envelope{
		"plain": {ID: "abc", Sender: addr("a@x.example"), Rcpts: rcpts("b@y.example"), Arrived: arrived},
		"null":  {Rcpts: rcpts("b@y.example", "postmaster"), Arrived: arrived},
		"all": {ID: "1", Sender: addr("jürgen@bücher.example"), UTF8: true, Body: mail.Body8BitMIME, Ret: mail.RetFull,
			EnvID: "QQ+ 314159", Account: "my work%", Arrived: arrived, Rcpts: []mail.Recipient{
				{Address: addr("b@y.example"), Orig: "rfc822;B@Y.example", Notify: mail.NotifySuccess | mail.NotifyDelay},
				{Address: addr("c@y.example"), Notify: mail.NotifyNever},
			}},
		"requests": {Sender: addr("a@x"), Rcpts: rcpts("b@y"), Arrived: arrived, RequireTLS: true, HoldUntil: arrived.Add(time.Hour),
			By: mail.DeliverBy{At: arrived.Add(90 * time.Second), Trace: true}},
		"by":     {Sender: addr("a@x"), Rcpts: rcpts("b@y"), Arrived: arrived, By: mail.DeliverBy{At: arrived, Notify: true}},
		"binary": {Sender: addr("a@x"), Rcpts: rcpts("b@y"), Body: mail.BodyBinaryMIME, Ret: mail.RetHeaders, Arrived: arrived},
		"hostile": {ID: "i d\n", Sender: mail.Address{Local: "a\nX-Mailx-Recipient: <evil@x>", Domain: "x\x00"},
			EnvID: "\x1b]0;owned\a", Arrived: arrived, Rcpts: []mail.Recipient{
				{Address: mail.Address{Local: "a@b> orcpt=x", Domain: "d@e"}, Orig: "rfc822;\r\n.\r\n%41\xff\u202e"},
				{Address: mail.Address{Local: "", Domain: "only.example"}},
			}},
		"many": many,
	}
}

func TestBlockRoundTrip(t *testing.T) {
	for name, env := range envelopes() {
		for _, closed := range []bool{false, true} {
			block, err := printBlock(env)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if closed {
				block = closeBlock(block)
			}
			file := append(bytes.Clone(block), "Subject: hi\n\nDo you like ketchup?\n"...)
			for how, r := range map[string]io.Reader{
				"whole": bytes.NewReader(file), "octets": iotest.OneByteReader(bytes.NewReader(file)),
			} {
				got, octets, err := readEnvelope(r)
				if err != nil || octets != int64(len(block)) || !reflect.DeepEqual(got, env) {
					t.Errorf("%s, closed %v, %s: got %+v (%d octets), %v\nwant %+v (%d octets)\nblock:\n%s",
						name, closed, how, got, octets, err, env, len(block), block[:min(len(block), 1000)])
				}
			}
		}
	}
}

// CVE-2020-28026: a line end in a value began a new field of the queue file.
func TestBlockHasNothingHostile(t *testing.T) {
	block, err := printBlock(envelopes()["hostile"])
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range string(block) {
		if c != '\n' && (c < ' ' || c == 0x7f || c == '\u202e' || c == '\ufffd') {
			t.Errorf("character %q in block:\n%q", c, block)
		}
	}
	if n := bytes.Count(block, []byte("\n"+fieldRcpt)); n != 2 {
		t.Errorf("%d recipient fields, want 2, in block:\n%s", n, block)
	}
}

// A Maildir reader sees a message: every line of the block is a header field.
func TestBlockIsHeader(t *testing.T) {
	for name, env := range envelopes() {
		block, _ := printBlock(env)
		for line := range bytes.Lines(block) {
			if header, known := startsWithHeader(line); !header || !known || line[len(line)-1] != '\n' {
				t.Errorf("%s: line %q is no header field", name, line)
			}
		}
	}
}

func TestReadEnvelopeDamaged(t *testing.T) {
	good, err := printBlock(envelopes()["all"])
	if err != nil {
		t.Fatal(err)
	}
	edit := func(old, new string) string {
		s := strings.Replace(string(good), old, new, 1)
		if s == string(good) {
			t.Fatalf("%q is not in the block:\n%s", old, good)
		}
		return string(count([]byte(s)))
	}
	requests, err := printBlock(envelopes()["requests"])
	if err != nil {
		t.Fatal(err)
	}
	request := func(old, new string) string {
		s := strings.Replace(string(requests), old, new, 1)
		if s == string(requests) {
			t.Fatalf("%q is not in the block:\n%s", old, requests)
		}
		return string(count([]byte(s)))
	}
	cases := map[string]string{
		"by without mode":   request(";RT", ""),
		"by in no mode":     request(";RT", ";X"),
		"by with two modes": request(";RT", ";RN"),
		"by twice traced":   request(";RT", ";RTT"),
		"by in lower case":  request(";RT", ";rt"),
		"by without time":   request("by=2026", "by=x026"),
		"hold in a zone":    request("Z by=", "+00:00 by="),
		"hold with nothing": request("hold=", "hold=0 hold="),
		"hold at year one":  request("requiretls", "hold=0001-01-01T00:00:00Z"),
		"requiretls=yes":    request("requiretls", "requiretls=yes"),
		"empty":             "",
		"no block":          "From: a@x.example\nTo: b@y.example\n\nHi, this is a message from elsewhere\n",
		"version":           strings.Replace(string(good), "v=1", "v=2", 1),
		"sign":              strings.Replace(string(good), "octets=0", "octets=+", 1),
		"count too small":   strings.Replace(string(good), fmt.Sprintf("%07d", len(good)), fmt.Sprintf("%07d", len(good)-1), 1),
		"count too large":   strings.Replace(string(good), fmt.Sprintf("%07d", len(good)), fmt.Sprintf("%07d", len(good)+1), 1),
		"count of nothing":  strings.Replace(string(good), fmt.Sprintf("%07d", len(good)), "0000000", 1),
		"count over limit":  strings.Replace(string(good), fmt.Sprintf("%07d", len(good)), "9999999", 1),
		"only the head":     string(count([]byte(fmt.Sprintf(headFormat, 0)))),
		"no sender":         edit(fieldSender+": <jürgen@bücher.example>\n", ""),
		"two senders":       edit(fieldArrived, fieldSender+": <>\n"+fieldArrived),
		"unknown field":     edit(fieldArrived, "X-Mailx-Requiretls: yes\n"+fieldArrived),
		"unknown flag":      edit("utf8", "utf9"),
		"unknown parameter": edit("notify=never", "notice=never"),
		"unknown notify":    edit("notify=never", "notify=perhaps"),
		"double notify":     edit("success,delay", "delay,delay"),
		"open path":         edit("<c@y.example>", "<c@y.example"),
		"two at signs":      edit("<c@y.example>", "<c@d@y.example>"),
		"empty domain":      edit("<c@y.example>", "<c@>"),
		"space in value":    edit("<c@y.example>", "<c d@y.example>"),
		"raw ESC":           edit("<c@y.example>", "<c\x1b@y.example>"),
		"bad escape":        edit("<c@y.example>", "<c%4@y.example>"),
		"needless escape":   edit("<c@y.example>", "<%63@y.example>"),
		"lower-case escape": edit("<c@y.example>", "<%0a@y.example>"),
		"arrived":           edit("2026-11-23T", "2026-13-23T"),
		"CR":                edit("utf8", "utf8\r"),
		"folded":            edit(" ret=full", "\n ret=full"),
	}
	for name, in := range cases {
		env, _, err := readEnvelope(strings.NewReader(in))
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: got %+v, %v; want ErrDamaged for:\n%s", name, env, err, in)
		}
	}
}

func TestReadEnvelopeReadError(t *testing.T) {
	block, _ := printBlock(envelopes()["all"])
	for _, n := range []int{0, 10, headLen, headLen + 10} {
		r := io.MultiReader(bytes.NewReader(block[:n]), iotest.ErrReader(io.ErrClosedPipe))
		if _, _, err := readEnvelope(r); !errors.Is(err, io.ErrClosedPipe) || errors.Is(err, ErrDamaged) {
			t.Errorf("error after %d octets: got %v, want the reader's error: trouble with a disk is no damage", n, err)
		}
	}
}

func TestMaxBlock(t *testing.T) {
	env := &mail.Envelope{Sender: addr("a@x"), Arrived: arrived, Rcpts: rcpts("b@y")}
	block, _ := printBlock(env)
	for n, fits := range map[int]bool{MaxBlock - 2: true, MaxBlock - 1: true, MaxBlock: false} {
		env.Rcpts[0].Local = strings.Repeat("b", n-len(block)+1)
		got, err := printBlock(env)
		if (err == nil) != fits || (fits && len(got) != n) {
			t.Errorf("block of %d octets: got %d, %v; want fits %v", n, len(got), err, fits)
		}
		if !fits {
			continue
		}
		if _, octets, err := readEnvelope(bytes.NewReader(closeBlock(got))); err != nil || octets != int64(n)+1 {
			t.Errorf("reading %d octets: got %d, %v", n+1, octets, err)
		}
	}
}

func TestStartsWithHeader(t *testing.T) {
	for in, want := range map[string][2]bool{
		"":                             {false, false},
		"Sub":                          {false, false},
		"Subject:":                     {true, true},
		"X-Y: z\n":                     {true, true},
		"\nbody":                       {true, true},
		"Do you like ketchup?\n":       {false, true},
		"ketchup\n":                    {false, true},
		": x":                          {false, true},
		" folded: x":                   {false, true},
		"From a@x Mon":                 {false, true},
		"Grüße: x":                     {false, true},
		strings.Repeat("x", 998):       {false, false},
		strings.Repeat("x", 998) + ":": {true, true},
		strings.Repeat("x", 999):       {false, true},
	} {
		header, known := startsWithHeader([]byte(in))
		if got := [2]bool{header, known}; got != want {
			t.Errorf("startsWithHeader(%.40q) = %v, want %v", in, got, want)
		}
	}
}

func TestCheckEnvelope(t *testing.T) {
	for name, c := range map[string]struct {
		env  mail.Envelope
		want string
	}{
		"good":          {mail.Envelope{Sender: addr("a@x"), Rcpts: rcpts("b@y")}, ""},
		"null sender":   {mail.Envelope{Rcpts: rcpts("b@y")}, ""},
		"nobody":        {mail.Envelope{Sender: addr("a@x")}, "5.5.4"},
		"null rcpt":     {mail.Envelope{Rcpts: make([]mail.Recipient, 1)}, "5.1.3"},
		"LF in rcpt":    {mail.Envelope{Rcpts: rcpts("b\n@y")}, "5.1.3"},
		"CR in domain":  {mail.Envelope{Rcpts: rcpts("b@y\r")}, "5.1.3"},
		"C1 in rcpt":    {mail.Envelope{Rcpts: rcpts("b\u0085@y")}, "5.1.3"},
		"LF in orcpt":   {mail.Envelope{Rcpts: []mail.Recipient{{Address: addr("b@y"), Orig: "rfc822;\n"}}}, "5.1.3"},
		"NUL sender":    {mail.Envelope{Sender: addr("a\x00@x"), Rcpts: rcpts("b@y")}, "5.1.7"},
		"LF in account": {mail.Envelope{Account: "a\nb", Rcpts: rcpts("b@y")}, "5.1.7"},
		"ESC in envid":  {mail.Envelope{EnvID: "\x1b", Rcpts: rcpts("b@y")}, "5.1.7"},
		"LF in id":      {mail.Envelope{ID: "\n", Rcpts: rcpts("b@y")}, "5.1.7"},
	} {
		got := ""
		if err := checkEnvelope(&c.env); err != nil {
			got = mail.StatusOf(err).String()
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func FuzzReadEnvelope(f *testing.F) {
	for _, env := range envelopes() {
		if len(env.Rcpts) < 100 {
			block, _ := printBlock(env)
			f.Add(block)
			f.Add(closeBlock(block))
		}
	}
	f.Add([]byte(fmt.Sprintf(headFormat, 100)))
	f.Fuzz(func(t *testing.T, in []byte) {
		env, octets, err := readEnvelope(iotest.OneByteReader(bytes.NewReader(in)))
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatalf("got %v, want ErrDamaged", err)
			}
			return
		}
		if octets > int64(len(in)) || octets > MaxBlock {
			t.Fatalf("%d octets of %d", octets, len(in))
		}
		block, err := printBlock(env)
		if err != nil {
			t.Fatal(err)
		}
		again, _, err := readEnvelope(bytes.NewReader(block))
		if err != nil || !reflect.DeepEqual(again, env) {
			t.Fatalf("read %+v\nprinted %q\nread again %+v, %v", env, block, again, err)
		}
	})
}

func FuzzEncode(f *testing.F) {
	for _, s := range []string{"", "a+b", "100%", "a\nb\x00\x1b", "ü\xff\u0085", "<@>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		word := encode(in)
		if strings.ContainsAny(word, " \r\n<>@") || !isClean(word) {
			t.Fatalf("encode(%q) = %q", in, word)
		}
		if got, err := decode(word); err != nil || got != in {
			t.Fatalf("decode(encode(%q)) = %q, %v", in, got, err)
		}
	})
}
