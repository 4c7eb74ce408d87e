package mailtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDiff(t *testing.T) {
	for _, c := range []struct{ name, want, got, diff string }{
		{"equal", "a\nb\n", "a\nb\n", ""},
		{"changed", "a\nb\nc\n", "a\nx\nc\n", "@ line 1\n a\n-b\n+x\n c\n"},
		{"line ends", "a\n", "a\r\n", "@ line 1\n-a\n+a\\r\n"},
		{"last line end", "a\n", "a", "@ line 1\n-a\n+a\n\\ no line end after this line\n"},
		{"from nothing", "", "a\n", "@ line 1\n+a\n"},
		{"to nothing", "a\n", "", "@ line 1\n-a\n"},
		{"control characters", "a\x1b\xff\n", "a\n", "@ line 1\n-a\\x1b\\xff\n+a\n"},
		{"far apart", "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n", "x\n1\n2\n3\n4\n5\n6\n7\n8\ny\n",
			"@ line 1\n-0\n+x\n 1\n 2\n 3\n@ line 7\n 6\n 7\n 8\n-9\n+y\n"},
		{"inserted", "a\nd\n", "a\nb\nc\nd\n", "@ line 1\n a\n+b\n+c\n d\n"},
	} {
		if got := Diff(c.want, c.got); got != c.diff {
			t.Errorf("%s: Diff(%q, %q) =\n%s\nwant\n%s", c.name, c.want, c.got, got, c.diff)
		}
	}
}

func TestDiffOfLargeTexts(t *testing.T) {
	a, b := strings.Repeat("a\n", 3000), strings.Repeat("b\n", 3000)
	got := Diff([]byte(a), []byte(b))
	if strings.Count(got, "-a\n") != 3000 || strings.Count(got, "+b\n") != 3000 {
		t.Errorf("a diff of %d octets", len(got))
	}
}

func FuzzDiff(f *testing.F) {
	f.Add("a\nb\nc", "a\nc\n")
	f.Fuzz(func(t *testing.T, want, got string) {
		d := Diff(want, got)
		if (d == "") != (want == got) {
			t.Errorf("Diff(%q, %q) = %q", want, got, d)
		}
	})
}

func TestGolden(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "x.golden")
	with := func(updating bool, got string) string {
		before := *update
		defer func() { *update = before }()
		*update = updating
		return record(t, func(t testing.TB) { Golden(t, path, []byte(got)) })
	}
	for _, c := range []struct {
		updating  bool
		got, want string
	}{
		{false, "a\n", "no such file"},
		{true, "a\n", ""},
		{false, "a\n", ""},
		{false, "b\n", "-a\n+b\n"},
		{true, "b\n", ""},
		{false, "b\n", ""},
	} {
		report := with(c.updating, c.got)
		if (report == "") != (c.want == "") || !strings.Contains(report, c.want) {
			t.Errorf("update %v, %q: %q, want %q", c.updating, c.got, report, c.want)
		}
	}
	if data, err := os.ReadFile(path); string(data) != "b\n" {
		t.Errorf("the file holds %q, %v", data, err)
	}
}
