package mailbox

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"mailx/pkg/vfs"
)

const multipart = "From: \"Doe, J.\" <j@x.example>, =?utf-8?q?J=C3=B6rg?= <joerg@y.example>\n" +
	"To: friends: a@x (Al), b@y;, c\nSubject: =?utf-8?q?x?=\n  two\nMIME-Version: 1.0\n" +
	"Content-Type: multipart/mixed; boundary=b\n\n--b\n\nhello\nworld\n--b\n" +
	"Content-Type: message/rfc822\n\nSubject: inner\n\ntext\n--b\n" +
	"Content-Type: application/pdf; name=\"ü.pdf\"\nContent-Disposition: attachment; filename=a.pdf\n\nxx\n--b--\n"

func TestSummary(t *testing.T) {
	fsys := vfs.NewMem()
	d := newDir(t, fsys, "box")
	deliver(t, d, multipart)
	b := open(t, fsys, d)
	m := &b.Messages()[0]
	s, err := b.Summary(m)
	must(t, err)
	if s.Size != int64(len(multipart)) || s.Wire != m.Wire {
		t.Errorf("sizes %d, %d; want %d, %d", s.Size, s.Wire, len(multipart), m.Wire)
	}
	e := s.Root.Envelope
	want := "[{Doe, J.  j x.example} {=?utf-8?q?J=C3=B6rg?=  joerg y.example}] [{  friends } {Al  a x} {  b y} {   } {  c MISSING_DOMAIN}]"
	if got := fmt.Sprint(e.From, " ", e.To); got != want {
		t.Errorf("envelope %s\nwant %s", got, want)
	}
	if fmt.Sprint(e.Sender) != fmt.Sprint(e.From) {
		t.Errorf("sender %v", e.Sender)
	}
	if len(s.Root.Parts) != 3 || s.Root.Parts[1].Parts[0].Envelope.Subject != "inner" {
		t.Fatalf("structure %+v", s.Root)
	}
	if p := s.Root.Parts[0]; p.Size != int64(len("hello\r\nworld")) || multipart[p.BodyAt:p.End] != "hello\nworld" {
		t.Errorf("part 1 %+v", p)
	}
	b.Close()
	calls := len(fsys.Calls())
	again := open(t, fsys, d)
	cached, err := again.Summary(&again.Messages()[0])
	must(t, err)
	if got, want := asJSON(t, cached), asJSON(t, s); got != want {
		t.Errorf("cached %s\nwant %s", got, want)
	}
	for _, c := range fsys.Calls()[calls:] {
		if c.Op == "open" && strings.Contains(c.Name, "/new/") {
			t.Errorf("%s: the summary was not in the cache", c)
		}
	}
}

func asJSON(t *testing.T, s *Summary) string {
	b, err := json.Marshal(s)
	must(t, err)
	return string(b)
}

// A cache that is damaged or of another index is no cache.
func TestDamagedCache(t *testing.T) {
	fsys := vfs.NewMem()
	d := newDir(t, fsys, "box")
	deliver(t, d, multipart)
	b := open(t, fsys, d)
	want, err := b.Summary(&b.Messages()[0])
	must(t, err)
	b.Close()
	data, err := vfs.ReadFile(fsys, "box/"+cacheName, 1<<20)
	must(t, err)
	for _, bad := range []string{"", "x", string(data[:len(data)-20]), strings.Replace(string(data), "inner", "outer", 1),
		strings.Repeat("y", 3<<20), "\n\n\n" + string(data), strings.Replace(string(data), "{", "", 1)} {
		must(t, vfs.WriteFile(fsys, "box/"+cacheName, "x", []byte(bad)))
		b := open(t, fsys, d)
		got, err := b.Summary(&b.Messages()[0])
		must(t, err)
		if asJSON(t, got) != asJSON(t, want) {
			t.Errorf("with %.40q: %s", bad, asJSON(t, got))
		}
	}
}

func TestSizesWithCRLFOnDisk(t *testing.T) {
	stored := strings.ReplaceAll(multipart, "\n", "\r\n")
	s, err := summarizeFile(strings.NewReader(stored), time.Time{})
	must(t, err)
	if s.Wire != int64(len(stored)) || s.Root.Parts[0].Size != int64(len("hello\r\nworld")) {
		t.Errorf("wire %d, part %d", s.Wire, s.Root.Parts[0].Size)
	}
}

func FuzzContacts(f *testing.F) {
	for _, s := range []string{`"Doe, J." <j@x>`, "a (b (c)) <@r:x@y>, g: p@q;, z", `"\"`, "<<>", "a@[1.2.3.4]", ":;:;,", "\"a b\"@c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p := contactParser{s: s}
		p.run()
		depth := 0
		for _, c := range p.list {
			switch {
			case c.IsGroupStart():
				depth++
			case c.IsGroupEnd():
				depth--
			}
			if depth < 0 || depth > 1 {
				t.Errorf("%q: groups in %+v", s, p.list)
			}
		}
		if depth != 0 {
			t.Errorf("%q: an open group in %+v", s, p.list)
		}
	})
}

func FuzzSummary(f *testing.F) {
	f.Add(multipart)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := summarizeFile(strings.NewReader(text), time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		if want := int64(len(text) + strings.Count(text, "\n") - strings.Count(text, "\r\n")); s.Wire != want {
			t.Errorf("%q: wire size %d, want %d", text, s.Wire, want)
		}
		if s.Root.HeaderAt != 0 || s.Root.End != int64(len(text)) {
			t.Errorf("%q: root %+v", text, s.Root)
		}
	})
}

func FuzzCacheEntry(f *testing.F) {
	f.Add([]byte("00000000 1 2 {}"))
	f.Fuzz(func(t *testing.T, line []byte) { parseEntry(line) })
}
