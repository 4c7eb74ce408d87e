package imap

import (
	"bytes"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"mailx/pkg/mailbox"
	"mailx/pkg/mailtest"
)

func TestNumSet(t *testing.T) {
	for _, c := range []struct {
		in   string
		last uint32
		want string // members up to 12
	}{
		{"1", 9, "1"}, {"1,3:5", 9, "1 3 4 5"}, {"5:3", 9, "3 4 5"}, {"*", 9, "9"}, {"*:8", 9, "8 9"}, {"11:*", 9, "9 10 11"},
		{"1:3,2:6,4", 9, "1 2 3 4 5 6"}, {"4294967295", 9, ""},
	} {
		p := &parser{s: c.in}
		set := p.numSet().resolve(c.last)
		if err := p.end(); err != nil {
			t.Errorf("%q: %v", c.in, err)
		}
		var got []uint32
		for n := range uint32(13) {
			if set.has(n) {
				got = append(got, n)
			}
		}
		if s := strings.ReplaceAll(printNumbers(got), ",", " "); s != c.want {
			t.Errorf("%q: got %s, want %s", c.in, s, c.want)
		}
	}
	for _, bad := range []string{"", "0", "1:", ":1", "1,", "a", "4294967296", "-1", "1;2", "1:2:3"} {
		p := &parser{s: bad}
		p.numSet()
		if p.end() == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	if got := printSet([]uint32{1, 2, 3, 5, 7, 8, 2}); got != "1:3,5,7:8,2" {
		t.Errorf("printed %s", got)
	}
}

func printNumbers(list []uint32) string {
	var parts []string
	for _, n := range list {
		parts = append(parts, printSet([]uint32{n}))
	}
	return strings.Join(parts, ",")
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "a/b", true}, {"%", "a/b", false}, {"%", "a", true}, {"%/%", "a/b", true}, {"a*", "a", true}, {"a%b", "axxb", true},
		{"a%b", "ax/xb", false}, {"", "", true}, {"", "a", false}, {"a", "", false}, {"*b", "ab/b", true}, {"a", "A", false},
		{strings.Repeat("*a", 400), strings.Repeat("a", 200) + "b", false},
	} {
		if got := match(c.pattern, c.name); got != c.want {
			t.Errorf("match(%.20q, %.20q) = %v", c.pattern, c.name, got)
		}
	}
}

// Every cut of every text is what the whole text has there, from wherever reading goes on.
func TestCopyWire(t *testing.T) {
	text := "a\nb\r\nc\r\rd\n\x00\n" + strings.Repeat("line of text\n", 6000) + "end\r"
	var want []byte
	for i := range len(text) {
		if text[i] == '\n' && (i == 0 || text[i-1] != '\r') {
			want = append(want, '\r')
		}
		c := text[i]
		if c == 0 {
			c = 0x80
		}
		want = append(want, c)
	}
	x := extent{0, int64(len(text))}
	f := strings.NewReader(text)
	if n, err := wireLength(f, x); n != int64(len(want)) || err != nil {
		t.Fatalf("length %d, %v, want %d", n, err, len(want))
	}
	d := &dialog{}
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		from := random.Int64N(int64(len(want)))
		n := min(random.Int64N(50_000), int64(len(want))-from)
		var out bytes.Buffer
		w := d.reader(f, 1, x, from)
		if err := copyWire(&out, w, from, n); err != nil {
			t.Fatal(err)
		}
		d.resume = position{1, x, w.at, w.wire, w.cr}
		if !bytes.Equal(out.Bytes(), want[from:from+n]) {
			t.Fatalf("from %d, %d octets: %s", from, n, mailtest.Diff(string(want[from:from+n]), out.String()))
		}
	}
	var out bytes.Buffer
	if err := copyWire(&out, d.reader(f, 2, x, 0), 0, int64(len(want))+10); err != nil || out.Len() != len(want)+10 {
		t.Errorf("padding: %d octets, %v", out.Len(), err)
	}
	if _, err := io.Copy(io.Discard, &out); err != nil {
		t.Fatal(err)
	}
}

func FuzzFetchItems(f *testing.F) {
	for _, s := range []string{"ALL", "(UID FLAGS)", "BODY[1.2.MIME]<0.5>", "(BODY.PEEK[HEADER.FIELDS (a \"b\")] RFC822)", "BODY[{3}\r\nabc]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p := &parser{s: s}
		items := p.fetchItems()
		if p.end() != nil {
			return
		}
		for _, item := range items {
			if item.section == nil || !strings.HasPrefix(item.name, "BODY[") {
				continue
			}
			name, _, _ := strings.Cut(string(item.section.append(nil)), "\x00")
			q := &parser{s: "BODY" + name}
			again := q.fetchItem()
			if q.end() != nil || string(again.section.append(nil)) != name {
				t.Errorf("%q: %q is read as %q, %v", s, name, again.name, q.err)
			}
		}
	})
}

func FuzzSection(f *testing.F) {
	f.Add("1.2.HEADER]", uint8(3))
	f.Fuzz(func(t *testing.T, s string, shape uint8) {
		p := &parser{s: s}
		sec := p.section()
		if p.end() != nil {
			return
		}
		leaf := &mailbox.Entity{Type: "text", HeaderAt: 5, BodyAt: 6, End: 9}
		root := &mailbox.Entity{Type: "multipart", End: 10, Parts: []*mailbox.Entity{leaf, {Type: "message", Parts: []*mailbox.Entity{leaf}}}}
		for range shape % 8 {
			root = &mailbox.Entity{Type: "message", End: 10, Parts: []*mailbox.Entity{root}}
		}
		if x, ok := sec.extent(root); ok && (x.at > x.end || x.end > 10) {
			t.Errorf("%q: %v", s, x)
		}
	})
}

func FuzzSearch(f *testing.F) {
	for _, s := range []string{"ALL", "NOT (OR SEEN 1:2) UID 3", "CHARSET UTF-8 TEXT {1}\r\nx", "HEADER a b SENTSINCE 1-Feb-2026"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		key, err := parseSearch(&parser{s: s}, &selected{view: []known{{1, 1}, {2, 1}, {9, 1}}})
		if err == nil && key.match == nil {
			t.Errorf("%q gives no key", s)
		}
	})
}

func FuzzCommands(f *testing.F) {
	for _, s := range []string{"INBOX (\\Seen k) \"02-Feb-2026 10:00:00 +0100\" {5+}", "1:2,* +FLAGS.SILENT (\\Deleted)", "\"\\\"\" {1}\r\nx", "a %*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		parseAppend(s)
		p := &parser{s: s}
		p.numSet()
		p.sp()
		p.storeArgs()
		p.end()
		d := &dialog{text: s}
		d.pattern()
		n, _, ok := literalAtEnd(s)
		if ok && n < 0 {
			t.Errorf("%q announces %d octets", s, n)
		}
		quoted := string(appendString(nil, strings.ReplaceAll(s, "\x00", "")))
		if back := (&parser{s: quoted}).astring(); back != strings.ReplaceAll(s, "\x00", "") {
			t.Errorf("%q comes back as %q", s, back)
		}
	})
}
