//go:build interop

package interop

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	gomessage "github.com/emersion/go-message"
	gomail "github.com/emersion/go-message/mail"

	"mailx/pkg/message"
)

// What is composed here is read back by programs that know nothing of mailx. A leaf is what each of them has to find.
type leafPart struct {
	Type    string `json:"type"`
	Charset string `json:"charset"` // of text
	Name    string `json:"name"`
	ID      string `json:"id"` // Content-ID without its angle brackets
	Inline  bool   `json:"inline"`
	Content []byte `json:"content"` // decoded
}

// readBack is a message as a reader found it.
type readBack struct {
	Subject string     `json:"subject"`
	From    string     `json:"from"` // the name
	To      string     `json:"to"`
	Parts   []leafPart `json:"parts"`
	Defects []string   `json:"defects"`
}

// composing is one combination of what a message can be made of.
type composing struct {
	name  string
	args  []string
	stdin string
	body  string // of the file "body"
	want  readBack
	is8   bool // it may have 8 bit and long lines: it was asked for, or a message inside has them
}

// ingredient is one choice for a part of a message.
type ingredient struct {
	name  string
	args  []string
	stdin string // with args: what those want from it
	parts []leafPart
	is8   bool
}

const (
	longName = "Prüfbericht mit einem sehr langen Namen, der nicht in eine Zeile passt \"(März)\".pdf"
	subject8 = "Störung auf host1: Platte ist zu 97 % voll – bitte bald nachsehen, sonst fällt morgen früh das Backup aus 日本"
	eml7     = "From: a@b.example\nSubject: inside\n\nFrom here\n.\ninner\n"
	eml8     = "From: a@b.example\nSubject: inside\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nGrüße\n"
)

func everyOctet() string {
	var b []byte
	for i := range 256 {
		b = append(b, byte(i))
	}
	return strings.Repeat(string(b)+"\r\n.\r\n", 3)
}

func composeTexts() []ingredient {
	return []ingredient{
		{name: "no text"},
		{name: "ASCII", stdin: "Hello.\n.\n..\nFrom here\n\ttab \n\n-- \nsig\n"},
		{name: "UTF-8", stdin: "Grüße an alle = alle\n.\nFrom here, trailing blank \n\n"},
		{name: "Cyrillic", stdin: "Привет, как дела\nещё строка\n"},
		{name: "no line end", stdin: "Grüße, and no line end"},
		{name: "long lines", stdin: strings.Repeat("word ", 300) + "\n" + strings.Repeat("x", 2000) + "\n"},
		{name: "unknown octets", stdin: "Gr\xfc\xdfe an alle Leute\n"},
		{name: "odd octets", stdin: "a\x00b\rc\x7f\x1b[31m and more text here\n"},
		{name: "CRLF", stdin: "one\r\ntwo\r\n"},
	}
}

func composeBodies() []ingredient {
	html := leafPart{Type: "text/html", Content: []byte("<p>Grüße <img src=\"cid:logo\"> = ok\n")}
	logo := leafPart{Type: "image/png", Name: "logo.png", ID: "logo", Inline: true, Content: []byte(everyOctet())}
	return []ingredient{
		{name: "text only"},
		{name: "HTML", args: []string{"--html", "page.html"}, parts: []leafPart{html}},
		{name: "HTML and image", args: []string{"--html", "page.html", "--inline", "logo=logo.png"}, parts: []leafPart{html, logo}},
	}
}

func composeFiles() []ingredient {
	return []ingredient{
		{name: "no file"},
		{name: "long name", args: []string{"--attach", longName + "=bin"},
			parts: []leafPart{{Type: "application/pdf", Name: longName, Content: []byte(everyOctet())}}},
		{name: "from stdin, and text", args: []string{"--attach", "ü a.csv=-", "--type", "ü a.csv=text/csv; header=present", "--attach", "grün.txt"}, stdin: "a,b\r\n1,ü\n",
			parts: []leafPart{{Type: "text/csv", Charset: "utf-8", Name: "ü a.csv", Content: []byte("a,b\r\n1,ü\n")},
				{Type: "text/plain", Charset: "utf-8", Name: "grün.txt", Content: []byte("grün\n")}}},
		{name: "message", args: []string{"--attach", "seven.eml"}, parts: []leafPart{{Type: "message/rfc822", Name: "seven.eml", Content: []byte(eml7)}}},
		{name: "8 bit message", args: []string{"--attach", "eight.eml", "--attach", "bin"}, is8: true,
			parts: []leafPart{{Type: "message/rfc822", Name: "eight.eml", Content: []byte(eml8)},
				{Type: "application/octet-stream", Name: "bin", Content: []byte(everyOctet())}}},
	}
}

func composeEncodings() []ingredient {
	return []ingredient{
		{name: "auto"},
		{name: "8bit", args: []string{"--encoding", "8bit"}, is8: true},
		{name: "quoted-printable", args: []string{"--encoding", "quoted-printable"}},
		{name: "base64", args: []string{"--encoding", "base64"}},
	}
}

// composings are all combinations.
func composings() []composing {
	var all []composing
	for _, text := range composeTexts() {
		for _, body := range composeBodies() {
			for _, files := range composeFiles() {
				for _, encoding := range composeEncodings() {
					all = append(all, newComposing(len(all), text, body, files, encoding))
				}
			}
		}
	}
	return all
}

func newComposing(n int, text, body, files, encoding ingredient) composing {
	c := composing{
		name: strings.Join([]string{text.name, body.name, files.name, encoding.name}, ", "), stdin: text.stdin,
		args: slices.Concat([]string{"--from", `"Jörg \"J\" Müller" <j@a.example>`, "--to", "\"Doe, John\" <john@b.example>"}, body.args, files.args, encoding.args),
		want: readBack{Subject: strconv.Itoa(n) + " " + subject8, From: "Jörg \"J\" Müller", To: "Doe, John"},
		is8:  files.is8 || encoding.is8,
	}
	if n%2 == 1 {
		c.want.Subject = strconv.Itoa(n) + " plain"
	}
	c.args = append(c.args, "--subject", c.want.Subject)
	if files.stdin != "" {
		c.args, c.stdin, c.body = append(c.args, "--body-file", "body"), files.stdin, text.stdin
	}
	if text.stdin != "" || len(body.parts)+len(files.parts) == 0 {
		c.want.Parts = []leafPart{{Type: "text/plain", Content: []byte(strings.ReplaceAll(text.stdin, "\r\n", "\n"))}}
	}
	c.want.Parts = append(c.want.Parts, body.parts...)
	c.want.Parts = append(c.want.Parts, files.parts...)
	return c
}

// composeWorld is a directory with the files that are attached.
func composeWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	for name, text := range map[string]string{"page.html": "<p>Grüße <img src=\"cid:logo\"> = ok\n", "logo.png": everyOctet(), "bin": everyOctet(),
		"seven.eml": eml7, "eight.eml": eml8, "grün.txt": "grün\n"} {
		writeFile(t, w.home, name, text)
	}
	return w
}

// compose runs a verb of mailx. The dates of messages are in the order of their numbers.
func (w *world) compose(t *testing.T, n int, c composing, verb ...string) string {
	t.Helper()
	writeFile(t, w.home, "body", c.body)
	env := append(w.environ(), "SOURCE_DATE_EPOCH="+strconv.Itoa(1700000000+60*n))
	r := job{args: slices.Concat([]string{w.bin}, verb, c.args), stdin: c.stdin, env: env, dir: w.home}.run(t)
	return r.must(t, 0)
}

// checkWidth wants all of a message in 7 bit and lines of 76.
func checkWidth(t *testing.T, name, msg string) {
	t.Helper()
	for line := range strings.Lines(msg) {
		isASCII := strings.IndexFunc(line, func(r rune) bool { return r >= 0x80 }) < 0
		if !isASCII || len(line) > 77 {
			t.Errorf("%s: line of %d octets, or not 7 bit: %q", name, len(line)-1, line)
			return
		}
	}
}

// sameParts compares what was found with what is wanted. Text has lost nothing if it is the same with LF at its line ends and
// its end; the charset has to be one that has all its characters.
func sameParts(t *testing.T, reader string, c composing, got readBack) {
	t.Helper()
	if got.Subject != c.want.Subject || got.From != c.want.From || got.To != c.want.To || len(got.Defects) > 0 {
		t.Errorf("%s reads %s: header %q from %q to %q, defects %q; want %q", reader, c.name, got.Subject, got.From, got.To, got.Defects, c.want.Subject)
	}
	if len(got.Parts) != len(c.want.Parts) {
		t.Errorf("%s reads %s: %d parts, want %d: %+.200v", reader, c.name, len(got.Parts), len(c.want.Parts), got.Parts)
		return
	}
	for i, want := range c.want.Parts {
		part := got.Parts[i]
		isBody := strings.HasPrefix(want.Type, "text/") && want.Name == ""
		if isBody {
			want.Charset = part.Charset
			if !fitsCharset(want.Content, part.Charset) {
				t.Errorf("%s reads %s: part %d in charset %s: %.100q", reader, c.name, i, part.Charset, want.Content)
			}
		}
		if isBody || want.Type == "message/rfc822" {
			want.Content, part.Content = localForm(want.Content), localForm(part.Content)
		}
		if part.Type != want.Type || part.Name != want.Name || part.ID != want.ID || part.Inline != want.Inline || part.Charset != want.Charset ||
			!bytes.Equal(part.Content, want.Content) {
			t.Errorf("%s reads %s: part %d:\n got %s %s %q %q inline %v %.200q\nwant %s %s %q %q inline %v %.200q", reader, c.name, i,
				part.Type, part.Charset, part.Name, part.ID, part.Inline, part.Content,
				want.Type, want.Charset, want.Name, want.ID, want.Inline, want.Content)
		}
	}
}

func localForm(b []byte) []byte {
	b = bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))
	if len(b) > 0 && b[len(b)-1] != '\n' {
		b = append(b, '\n')
	}
	return b
}

func fitsCharset(text []byte, charset string) bool {
	isASCII := bytes.IndexFunc(text, func(r rune) bool { return r >= 0x80 }) < 0
	switch strings.ToLower(charset) {
	case "us-ascii":
		return isASCII
	case "utf-8":
		return utf8.Valid(text)
	}
	return charset == "unknown-8bit" && !utf8.Valid(text)
}

// pythonReads reads every file of a directory.
const pythonReads = `
import base64, email, email.policy, json, os, sys
def leaves(p):
    if p.get_content_maintype() == "multipart":
        for c in p.iter_parts():
            yield from leaves(c)
    else:
        yield p
def content(p):
    if p.get_content_type() == "message/rfc822":
        return p.get_payload(0).as_bytes()
    return p.get_payload(decode=True)
for name in sorted(os.listdir(sys.argv[1]), key=lambda n: int(n.split(".")[0])):
    with open(os.path.join(sys.argv[1], name), "rb") as f:
        m = email.message_from_binary_file(f, policy=email.policy.default)
    print(json.dumps(dict(subject=m["Subject"], to=m["To"].addresses[0].display_name, **{"from": m["From"].addresses[0].display_name},
        defects=[repr(d) for p in m.walk() for d in p.defects],
        parts=[dict(type=p.get_content_type(), charset=p.get_content_charset() or "", name=p.get_filename() or "",
            id=(p["Content-ID"] or "").strip("<>"), inline=p.get_content_disposition() == "inline",
            content=base64.b64encode(content(p)).decode()) for p in leaves(m)])))
`

func readByPython(t *testing.T, dir string) []readBack {
	t.Helper()
	out := job{args: []string{peer(t, "python3"), "-c", pythonReads, dir}, dir: t.TempDir()}.run(t).must(t, 0)
	var all []readBack
	for line := range strings.Lines(out) {
		var r readBack
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

func readByGo(t *testing.T, msg string) readBack {
	t.Helper()
	e, err := gomessage.Read(strings.NewReader(crlf(msg)))
	if err != nil && !gomessage.IsUnknownCharset(err) {
		t.Fatal(err)
	}
	var r readBack
	h := gomail.Header{Header: e.Header}
	from, err1 := h.AddressList("From")
	to, err2 := h.AddressList("To")
	subject, err3 := h.Subject()
	if err := errors.Join(err1, err2, err3); err != nil || len(from) != 1 || len(to) != 1 {
		t.Fatalf("%v in\n%.1000s", err, msg)
	}
	r.Subject, r.From, r.To = subject, from[0].Name, to[0].Name
	err = e.Walk(func(_ []int, e *gomessage.Entity, err error) error {
		if err != nil && !gomessage.IsUnknownCharset(err) {
			return err
		}
		mediaType, params, err := e.Header.ContentType()
		if err != nil || strings.HasPrefix(mediaType, "multipart/") {
			return err
		}
		disposition, disp, _ := e.Header.ContentDisposition()
		content, err := io.ReadAll(e.Body)
		r.Parts = append(r.Parts, leafPart{Type: mediaType, Charset: params["charset"], Name: disp["filename"],
			ID: strings.Trim(e.Header.Get("Content-Id"), "<>"), Inline: disposition == "inline", Content: content})
		return err
	})
	if err != nil {
		t.Fatalf("%v in\n%.1000s", err, msg)
	}
	return r
}

// muttEntries says for each entry of mutt's list of attachments which leaf it is; -1 for a multipart and for what is inside of
// a message. The outermost multipart has no entry, unless it is an alternative.
func muttEntries(t *testing.T, msg string) []int {
	t.Helper()
	root, err := message.Parse(strings.NewReader(msg))
	if err != nil {
		t.Fatal(err)
	}
	var entries []int
	leaves := 0
	var walk func(p *message.Part, inside bool)
	walk = func(p *message.Part, inside bool) {
		switch {
		case p == root && p.Type == "multipart" && p.Subtype != "alternative":
		case p.Type == "multipart" || inside:
			entries = append(entries, -1)
		default:
			entries = append(entries, leaves)
			leaves++
		}
		for _, c := range p.Parts {
			walk(c, inside || p.Type == "message")
		}
	}
	walk(root, false)
	return entries
}

const muttrc = `
set wait_key=no sort=date-sent folder="" record="" mark_old=no resolve=no attach_sep="" pipe_split=no quit=yes header_cache="" mail_check=3600
set timeout=3600 beep=no
`

// muttKeys are those that take a message apart in a directory: files are saved under the name that mutt proposes, the rest is
// piped into a file with its number. A message inside would be saved as a mailbox.
func muttKeys(dir string, entries []int, c composing) string {
	var keys strings.Builder
	fmt.Fprintf(&keys, "<enter-command>cd %s<enter><view-attachments>", dir)
	for _, leaf := range entries {
		switch {
		case leaf < 0:
		case muttSaves(c.want.Parts[leaf]):
			keys.WriteString("<save-entry><enter>")
		default:
			fmt.Fprintf(&keys, "<pipe-entry>cat > %d<enter>", leaf)
		}
		keys.WriteString("<next-entry>")
	}
	return keys.String() + "<exit><next-entry>"
}

func muttSaves(p leafPart) bool { return p.Name != "" && p.Type != "message/rfc822" }

// checkMutt lets mutt take all messages of a Maildir apart.
func checkMutt(t *testing.T, box string, all []composing, msgs []string) {
	mutt, script, dir := peer(t, "mutt"), peer(t, "script"), t.TempDir()
	rc := writeFile(t, dir, "muttrc", muttrc)
	keys := ""
	sub := func(n int) string { return filepath.Join(dir, strconv.Itoa(n)) }
	entries := make([][]int, len(all))
	for n, c := range all {
		if err := os.Mkdir(sub(n), 0o700); err != nil {
			t.Fatal(err)
		}
		entries[n] = muttEntries(t, msgs[n])
		keys += muttKeys(sub(n), entries[n], c)
	}
	commands := writeFile(t, dir, "commands", "push \"<first-entry>"+keys+"<exit>\"\n")
	line := fmt.Sprintf("'%s' -n -F '%s' -f '%s' -e 'source %s'", mutt, rc, box, commands)
	job{args: []string{script, "-qec", line, "/dev/null"}, env: append(peerEnv(dir), "TERM=vt100"), dir: dir}.run(t).must(t, 0)
	for n, c := range all {
		for _, leaf := range entries[n] {
			if leaf >= 0 {
				checkMuttLeaf(t, c.name, sub(n), leaf, c.want.Parts[leaf])
			}
		}
	}
}

func checkMuttLeaf(t *testing.T, name, dir string, leaf int, want leafPart) {
	t.Helper()
	file := strconv.Itoa(leaf)
	if muttSaves(want) {
		file = want.Name
	}
	got, err := os.ReadFile(filepath.Join(dir, file))
	content := want.Content
	if strings.HasPrefix(want.Type, "text/") || want.Type == "message/rfc822" {
		got, content = localForm(got), localForm(content)
	}
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("mutt reads %s: %s: got %.200q, %v; want %.200q", name, file, got, err, content)
	}
}

// TestComposeReadBack makes messages of every combination of texts, HTML, images, files and encodings, and lets Python's email
// package, mutt and go-message read them: each finds what went in, under its name and type.
func TestComposeReadBack(t *testing.T) {
	w := composeWorld(t)
	box := filepath.Join(w.home, "box")
	for _, sub := range []string{"tmp", "new", "cur"} {
		if err := os.MkdirAll(filepath.Join(box, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	all := composings()
	msgs := make([]string, len(all))
	for n, c := range all {
		msgs[n] = w.compose(t, n, c, "compose")
		writeFile(t, filepath.Join(box, "cur"), strconv.Itoa(n)+".host:2,S", msgs[n])
		if !c.is8 {
			checkWidth(t, c.name, msgs[n])
		}
	}
	t.Run("go-message", func(t *testing.T) {
		for n, c := range all {
			sameParts(t, "go-message", c, readByGo(t, msgs[n]))
		}
	})
	t.Run("Python", func(t *testing.T) {
		got := readByPython(t, filepath.Join(box, "cur"))
		if len(got) != len(all) {
			t.Fatalf("%d messages, want %d", len(got), len(all))
		}
		for n, c := range all {
			sameParts(t, "Python", c, got[n])
		}
	})
	t.Run("mutt", func(t *testing.T) { checkMutt(t, box, all, msgs) })
	t.Run("send", func(t *testing.T) { // the same octets, but for ids that are the same for the same recipients only
		id := regexp.MustCompile("[0-9a-f]{20}")
		for n := 0; n < len(all); n += 17 {
			diff(t, id.ReplaceAllString(w.compose(t, n, all[n], "send", "--dry-run"), "x"), id.ReplaceAllString(msgs[n], "x"))
		}
	})
}

// TestComposeToBothServers sends what has 8 bit to a server that takes it and to one that does not (RFC 6152): what is read
// there is the same.
func TestComposeToBothServers(t *testing.T) {
	w, eight, seven := composeWorld(t), startSink(t), startSink(t, "-8")
	var sent []composing
	for n, c := range composings() {
		if isSent := slices.Contains(c.args, "8bit") || strings.Contains(c.name, "8 bit message"); isSent && n%5 == 0 {
			for _, s := range []*sink{eight, seven} {
				w.compose(t, n, c, "send", "--now", "--server", "smtp://"+s.addr)
			}
			sent = append(sent, c)
		}
	}
	for _, s := range []*sink{eight, seven} {
		dir, is8 := t.TempDir(), false
		for i, d := range s.taken(t) {
			writeFile(t, dir, strconv.Itoa(i), d.text)
			is8 = is8 || strings.IndexFunc(d.text, func(r rune) bool { return r >= 0x80 }) >= 0
			if s == seven {
				checkSevenBit(t, d.text)
			}
		}
		if is8 != (s == eight) {
			t.Errorf("8 bit was sent: %v to the server that takes it: %v", is8, s == eight)
		}
		got := readByPython(t, dir)
		if len(got) != len(sent) {
			t.Fatalf("%d messages arrived, want %d", len(got), len(sent))
		}
		for _, c := range sent {
			i := slices.IndexFunc(got, func(r readBack) bool { return r.Subject == c.want.Subject })
			if i < 0 {
				t.Fatalf("%s did not arrive", c.name)
			}
			sameMeaning(t, c, got[i])
		}
	}
}

func checkSevenBit(t *testing.T, msg string) {
	t.Helper()
	if i := strings.IndexFunc(msg, func(r rune) bool { return r >= 0x80 }); i >= 0 {
		t.Errorf("8 bit for a server without 8BITMIME: %.100q", msg[i:])
	}
}

// sameMeaning is sameParts after a message inside may have been encoded on the way: then its text has to be the same.
func sameMeaning(t *testing.T, c composing, got readBack) {
	t.Helper()
	for i := range got.Parts {
		if got.Parts[i].Type == "message/rfc822" {
			root, err := message.Parse(bytes.NewReader(got.Parts[i].Content))
			if err != nil || !strings.HasPrefix(root.Encoding, "quoted") && !strings.HasPrefix(root.Encoding, "base64") {
				continue
			}
			text, _ := io.ReadAll(root.Open(bytes.NewReader(got.Parts[i].Content)))
			head := strings.Replace(string(got.Parts[i].Content[:root.BodyAt]), root.Encoding, "8bit", 1)
			got.Parts[i].Content = append([]byte(head), localForm(text)...)
		}
	}
	sameParts(t, "Python", c, got)
}

// TestForwardReadBack sends messages of all combinations on, in both ways: Python finds all that was attached, and the
// message as it was.
func TestForwardReadBack(t *testing.T) {
	w := composeWorld(t)
	texts, wholes := t.TempDir(), t.TempDir()
	var all []composing
	var msgs []string
	for n, c := range composings() {
		if n%7 != 0 {
			continue
		}
		msg := w.compose(t, n, c, "compose")
		file := writeFile(t, w.home, "message", msg)
		args := []string{"--from", "me@a.example", "--to", "\"You, there\" <you@b.example>", file}
		writeFile(t, texts, strconv.Itoa(len(all)), w.mustMailx("", append([]string{"forward"}, args...)...))
		writeFile(t, wholes, strconv.Itoa(len(all)), w.mustMailx("", append([]string{"forward", "--as-attachment", "--body", "see"}, args...)...))
		answer := w.mustMailx("", append([]string{"reply", "--all"}, args...)...)
		if want := "\nTo: \"Doe, John\""; strings.Contains(answer, want) || !strings.Contains(answer, "\nIn-Reply-To: <") {
			t.Errorf("answer to %s:\n%.1000s", c.name, answer)
		}
		all, msgs = append(all, c), append(msgs, msg)
	}
	for i, got := range readByPython(t, wholes) {
		if len(got.Parts) != 2 || !bytes.Equal(localForm(got.Parts[1].Content), []byte(msgs[i])) {
			t.Errorf("%s as one file: got %+.300v", all[i].name, got.Parts)
		}
	}
	for i, got := range readByPython(t, texts) {
		checkForwarded(t, all[i], got)
	}
}

// checkForwarded wants the text in the text, and every file.
func checkForwarded(t *testing.T, c composing, got readBack) {
	t.Helper()
	text, files := got.Parts[0], got.Parts[1:]
	for _, want := range c.want.Parts {
		isBody := strings.HasPrefix(want.Type, "text/") && want.Name == ""
		isShown := strings.TrimSpace(strings.ToValidUTF8(string(localForm(want.Content)), ""))
		switch {
		case isBody && want.Type == "text/plain":
			if first, _, _ := strings.Cut(isShown, "\n"); utf8.Valid(want.Content) && !strings.Contains(string(text.Content), strings.TrimLeft(first, "a\x00")) &&
				!strings.Contains(c.name, "odd") {
				t.Errorf("%s sent on: no %.100q in %.500q", c.name, first, text.Content)
			}
		case isBody:
		case !slices.ContainsFunc(files, func(p leafPart) bool {
			return p.Type == want.Type && p.Name == want.Name && p.ID == want.ID && bytes.Equal(localForm(p.Content), localForm(want.Content))
		}):
			t.Errorf("%s sent on: no file %s %q in %+.300v", c.name, want.Type, want.Name, files)
		}
	}
}
