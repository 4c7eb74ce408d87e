package message

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"mailx/pkg/mail"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\ngot\n%s\nwant\n%s", file, got, want)
	}
}

// seeded gives the same randomness every time.
func seeded() io.Reader { return rand.NewChaCha8([32]byte{1}) }

func box(name, local, domain string) Mailbox {
	return Mailbox{name, mail.Address{Local: local, Domain: domain}}
}

func content(s string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(iotest.OneByteReader(strings.NewReader(s))), nil }
}

func plainDraft() Draft {
	return Draft{From: []Mailbox{box("", "cron", "host.example")}, To: []Mailbox{box("", "root", "")}, Subject: "Backup done",
		Date: day, Text: strings.NewReader("All is well.\n"), Random: seeded()}
}

func fullDraft() Draft {
	sender := box("", "robot", "example.org")
	return Draft{
		From: []Mailbox{box("Jörg Müller", "jm", "example.org")}, Sender: &sender, ReplyTo: []Mailbox{box("Help, Desk", "help", "example.org")},
		To:      []Mailbox{box("Doe, \"J\"", "j", "example.net"), box("", "a b", "example.net"), box("", "ops", "example.net")},
		Cc:      []Mailbox{box(strings.Repeat("Ünterabteilung ", 6), "abt", "example.net")},
		Bcc:     []Mailbox{box("", "secret", "example.net")},
		Subject: "Störung auf host1: Platte ist zu 97 % voll – bitte bald nachsehen, sonst fällt morgen früh das Backup aus",
		Date:    day, MessageID: "<1@example.org>", InReplyTo: "<0@example.org>",
		References:    "<a@example.org> <b@example.org> <cccccccccccccccccccccccc@example.org> <0@example.org>",
		AutoSubmitted: "auto-generated",
		Headers: []HeaderField{{"List-Unsubscribe", "<https://example.org/" + strings.Repeat("x", 100) + ">"},
			{"X-Note", "  two spaces first"}},
		Text: strings.NewReader("Grüße\n\nFrom here on = a trailing blank \n.\nend without line feed"),
		HTML: strings.NewReader("<p>Grüße <img src=\"cid:logo@x\"></p>\n"),
		Attachments: []Attachment{
			{Name: "logo.png", Inline: true, ContentID: "logo@x", Open: content("\x89PNG\r\n\x00\xff")},
			{Name: "/tmp/Prüfbericht mit einem sehr langen Namen, der nicht in eine Zeile passt (März).pdf", Open: content(strings.Repeat("pdf", 50))},
			{Name: "mail.eml", Open: content("Subject: x\r\n\r\nbody\r\n")},
			{Name: "acht.eml", Open: content("Subject: ü\n\nbody\n")},
			{Name: `a"b.txt`, Type: "text/plain; charset=utf-8", Open: content("x\r\ny\n")},
		},
		Random: seeded(),
	}
}

func compose(t testing.TB, d Draft) string {
	t.Helper()
	var b bytes.Buffer
	if err := d.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func checkWire(t *testing.T, msg string) {
	t.Helper()
	if strings.Contains(msg, "\r") || !strings.HasSuffix(msg, "\n") {
		t.Errorf("not in local form: %q", msg)
	}
	for line := range strings.Lines(msg) {
		if len(line) > 77 && !strings.Contains(line, "https://") || !isASCII(line) {
			t.Errorf("line of %d octets, or not 7 bit: %q", len(line)-1, line)
		}
	}
}

func TestComposeGolden(t *testing.T) {
	for name, d := range map[string]Draft{"plain.eml": plainDraft(), "full.eml": fullDraft()} {
		got := compose(t, d)
		checkWire(t, got)
		golden(t, name, got)
		if strings.Contains(got, "secret") {
			t.Errorf("%s: Bcc was written", name)
		}
	}
}

func TestComposeText(t *testing.T) {
	long := strings.Repeat("word ", 20) + "\n"
	for _, c := range []struct{ name, text, charset, encoding, back string }{
		{"empty", "", "us-ascii", "7bit", ""},
		{"ascii", "a\nb\n", "us-ascii", "7bit", "a\nb\n"},
		{"ascii without LF", "a\nb", "us-ascii", "7bit", "a\nb\n"},
		{"crlf", "a\r\nb\r\n", "us-ascii", "7bit", "a\nb\n"},
		{"76 octets", strings.Repeat("x", 76) + "\n", "us-ascii", "7bit", strings.Repeat("x", 76) + "\n"},
		{"77 octets", strings.Repeat("x", 77) + "\n", "us-ascii", "quoted-printable", strings.Repeat("x", 77) + "\n"},
		{"long lines", long, "us-ascii", "quoted-printable", long},
		{"umlaut", "Gr\u00fc\u00dfe an alle\n", "utf-8", "quoted-printable", "Gr\u00fc\u00dfe an alle\n"},
		{"umlaut without LF", "Gr\u00fc\u00dfe an alle", "utf-8", "quoted-printable", "Gr\u00fc\u00dfe an alle"},
		{"cyrillic", "Привет, как дела\n", "utf-8", "base64", "Привет, как дела\n"},
		{"progress bar", "10%\r20%\r30%\n", "us-ascii", "quoted-printable", "10%\r20%\r30%\n"},
		{"mostly escapes", "a\x00\x00\x00", "us-ascii", "base64", "a\x00\x00\x00"},
		{"nul", "a\x00b\n", "us-ascii", "quoted-printable", "a\x00b\n"},
		{"latin-1", "Gr\xfc\xdfe an alle Leute\n", "unknown-8bit", "quoted-printable", "Gr\xfc\xdfe an alle Leute\n"},
		{"broken utf-8", "Gr\u00fc\u00dfe \xff und viel mehr Text\n", "utf-8", "quoted-printable", "Gr\u00fc\u00dfe \xff und viel mehr Text\n"},
		{"larger than the sample", strings.Repeat("line of ascii\n", 80_000), "utf-8", "quoted-printable", ""},
	} {
		d := plainDraft()
		d.Text = strings.NewReader(c.text)
		msg := compose(t, d)
		checkWire(t, msg)
		p, err := Parse(strings.NewReader(msg))
		if err != nil {
			t.Fatal(err)
		}
		if p.Params["charset"] != c.charset || p.Encoding != c.encoding {
			t.Errorf("%s: got %s %s, want %s %s", c.name, p.Params["charset"], p.Encoding, c.charset, c.encoding)
		}
		b, err := io.ReadAll(iotest.OneByteReader(p.Open(strings.NewReader(msg))))
		if c.encoding == "base64" {
			b = bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))
		}
		if c.back == "" {
			c.back = c.text
		}
		if err != nil || string(b) != c.back {
			t.Errorf("%s: got %.100q, %v; want %.100q", c.name, b, err, c.back)
		}
	}
}

func TestComposeHeaders(t *testing.T) {
	d := plainDraft()
	d.To = nil
	d.Headers = []HeaderField{
		{"Content-type", "text/html; charset=UTF-8"}, {"MIME-Version", "1.0"}, {"content-transfer-encoding", "8bit"},
		{"from", "Jörg <j@x.example>"}, {"Subject", "other"},
	}
	got := compose(t, d)
	h, _ := readHeader(t, strings.NewReader(got))
	for name, want := range map[string]string{
		"Content-Type": "text/html; charset=us-ascii", "MIME-Version": "1.0", "Subject": "other", "To": "undisclosed-recipients:;",
		"From": "=?utf-8?q?J=C3=B6rg?= <j@x.example>", "Content-Transfer-Encoding": "7bit",
	} {
		if h.Count(name) != 1 || h.Get(name) != want {
			t.Errorf("%s: got %q, want %q once", name, h.Values(name), want)
		}
	}
}

func TestNeedsUTF8(t *testing.T) {
	d := plainDraft()
	if d.NeedsUTF8() {
		t.Error("ASCII addresses need UTF-8")
	}
	d.Cc = []Mailbox{box("", "jörg", "example.org")}
	if got := compose(t, d); !d.NeedsUTF8() || !strings.Contains(got, "\nCc: jörg@example.org\n") {
		t.Errorf("UTF-8 address: got %q", got)
	}
}

func TestComposeRefuses(t *testing.T) {
	bad := func(change func(*Draft)) Draft { d := plainDraft(); change(&d); return d }
	for field, d := range map[string]Draft{
		"From":                bad(func(d *Draft) { d.From = nil }),
		"To":                  bad(func(d *Draft) { d.To = []Mailbox{box("a\nb", "x", "y")} }),
		"Cc":                  bad(func(d *Draft) { d.Cc = []Mailbox{box("", "x\r\ny", "y")} }),
		"Bcc":                 bad(func(d *Draft) { d.Bcc = []Mailbox{box("", "x", "y\x00")} }),
		"Reply-To":            bad(func(d *Draft) { d.ReplyTo = []Mailbox{{}} }),
		"Sender":              bad(func(d *Draft) { d.Sender = &Mailbox{Name: "\x1b"} }),
		"Subject":             bad(func(d *Draft) { d.Subject = "a\nBcc: b" }),
		"X-A":                 bad(func(d *Draft) { d.Headers = []HeaderField{{"X-A", "a\rb"}} }),
		"bcc":                 bad(func(d *Draft) { d.Headers = []HeaderField{{"bcc", "a@b"}} }),
		"to":                  bad(func(d *Draft) { d.Headers = []HeaderField{{"to", "a@b <"}} }),
		`"X A"`:               bad(func(d *Draft) { d.Headers = []HeaderField{{"X A", "a"}} }),
		"Message-ID":          bad(func(d *Draft) { d.MessageID = "<a b@c>" }),
		"References":          bad(func(d *Draft) { d.References = "<a@c>\n" }),
		"Auto-Submitted":      bad(func(d *Draft) { d.AutoSubmitted = "x\n" }),
		"Content-Disposition": bad(func(d *Draft) { d.Attachments = []Attachment{{Name: "a\nb", Open: content("")}} }),
		"Content-Type":        bad(func(d *Draft) { d.Attachments = []Attachment{{Type: "nonsense", Open: content("")}} }),
		"Attachment":          bad(func(d *Draft) { d.Attachments = []Attachment{{Name: "x"}} }),
		"Content-ID":          bad(func(d *Draft) { d.Attachments = []Attachment{{ContentID: "a b", Open: content("")}} }),
	} {
		var out bytes.Buffer
		var fe *FieldError
		err := d.Write(&out)
		if !errors.As(err, &fe) || fe.Field != field || mail.StatusOf(err).String() != "5.6.0" || out.Len() > 0 {
			t.Errorf("%s: got %v and %q, want a FieldError and nothing written", field, err, out.String())
		}
	}
	broken := errors.New("file is gone")
	d := plainDraft()
	d.Attachments = []Attachment{{Open: func() (io.ReadCloser, error) { return nil, broken }}}
	if err := d.Write(io.Discard); !errors.Is(err, broken) {
		t.Errorf("attachment that does not open: got %v", err)
	}
	d = plainDraft()
	d.Text = iotest.ErrReader(broken)
	if err := d.Write(io.Discard); !errors.Is(err, broken) {
		t.Errorf("text that can't be read: got %v", err)
	}
	d = plainDraft()
	if err := d.Write(failingWriter{broken}); !errors.Is(err, broken) {
		t.Errorf("full disk: got %v", err)
	}
}

const pythonReader = `
import sys, json, email, email.policy
m = email.message_from_binary_file(sys.stdin.buffer, policy=email.policy.default)
parts = []
for p in m.walk():
    if p.is_multipart(): continue
    parts.append([p.get_content_type(), p.get_filename(), p.get_payload(decode=True).decode('latin-1')])
print(json.dumps(dict(subject=m['subject'], sender=str(m['from']), to=[[a.display_name, a.addr_spec] for a in m['to'].addresses],
    cc=[a.display_name for a in m['cc'].addresses] if m['cc'] else [], parts=parts,
    defects=[repr(d) + p.get_content_type() for p in m.walk() for d in p.defects])))
`

// noSpace: Python 3.11 gives white space between encoded words of a name, against RFC 2047 §6.2.
func noSpace(s string) string { return strings.ReplaceAll(s, " ", "") }

// TestComposeInPython reads what we wrote with an independent parser.
func TestComposeInPython(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed: composed messages were NOT checked by an independent parser")
	}
	d := fullDraft()
	d.Attachments = slices.Delete(d.Attachments, 3, 4) // Python 3.11 does not decode a message/global in base64
	cmd := exec.Command(python, "-c", pythonReader)
	cmd.Stdin = strings.NewReader(compose(t, d))
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("python3: %v", err)
	}
	var got struct {
		Subject, Sender string
		To              [][2]string
		Cc, Defects     []string
		Parts           [][3]*string
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	if got.Subject != d.Subject || len(got.Defects) > 0 || got.To[0] != [2]string{`Doe, "J"`, "j@example.net"} ||
		got.To[1][1] != `"a b"@example.net` || noSpace(got.Cc[0]) != noSpace(d.Cc[0].Name) {
		t.Errorf("got %q", []any{got.Subject, got.To, got.Cc, got.Defects})
	}
	names := map[string]string{}
	for _, p := range got.Parts {
		if p[1] != nil {
			names[*p[1]] = *p[2]
		}
	}
	for name, want := range map[string]string{
		"logo.png": "\u0089PNG\r\n\x00\u00ff", `a"b.txt`: "x\r\ny\n",
		"Prüfbericht mit einem sehr langen Namen, der nicht in eine Zeile passt (März).pdf": strings.Repeat("pdf", 50),
	} {
		if names[name] != want {
			t.Errorf("%s: got %q, want %q", name, names[name], want)
		}
	}
}

func TestComposeStreamsAttachments(t *testing.T) {
	const size = 16 << 20
	d := plainDraft()
	d.Attachments = []Attachment{{Name: "big", Open: func() (io.ReadCloser, error) {
		return io.NopCloser(io.LimitReader(zeros{}, size)), nil
	}}}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := d.Write(io.Discard); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	allocated := after.TotalAlloc - before.TotalAlloc
	if allocated > 1<<20 {
		t.Errorf("an attachment of %d octets took %d octets of memory", size, allocated)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func FuzzText(f *testing.F) {
	f.Add("a =\r\n b\r c \x00\xff\n", true)
	f.Fuzz(func(t *testing.T, s string, ascii bool) {
		for _, enc := range []string{encQP, encBase64} {
			want := strings.ReplaceAll(s, "\r\n", "\n")
			var b bytes.Buffer
			body := textBody{encoding: enc, src: strings.NewReader(want)}
			if err := body.writeTo(&b); err != nil {
				t.Fatal(err)
			}
			p := Part{Encoding: enc, End: int64(b.Len())}
			got, err := io.ReadAll(p.Open(bytes.NewReader(b.Bytes())))
			if enc == encBase64 {
				want = strings.ReplaceAll(want, "\n", "\r\n")
			}
			if err != nil || string(got) != want {
				t.Fatalf("%q as %s %q: got %q, %v", s, enc, b.String(), got, err)
			}
		}
	})
}
