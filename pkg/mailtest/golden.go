package mailtest

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// The flag belongs to the test binary of every package that imports mailtest: go test ./pkg/x -update.
var update = flag.Bool("update", false, "write golden files instead of comparing with them")

// Updating reports that the test runs with -update: goldens are to be written.
func Updating() bool { return *update }

// Golden compares got with the file at path, or writes it when the test runs with -update.
func Golden(t testing.TB, path string, got []byte) {
	t.Helper()
	if *update {
		writeGolden(t, path, got)
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test -update writes it)", err)
	}
	if !bytes.Equal(want, got) {
		t.Errorf("%s differs (go test -update accepts it):\n%s", path, Diff(want, got))
	}
}

func writeGolden(t testing.TB, path string, got []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, got, 0o644); err != nil {
		t.Fatal(err)
	}
}

// Diff shows two texts line by line: "-" only in want, "+" only in got, with three lines around each difference. Control
// characters, CR and a missing last line end are visible. It is "" for equal texts.
func Diff[T string | []byte](want, got T) string {
	if string(want) == string(got) {
		return ""
	}
	a, b := strings.SplitAfter(string(want), "\n"), strings.SplitAfter(string(got), "\n")
	head := commonHead(a, b)
	tail := commonTail(a[head:], b[head:])
	edits := editsOf(a[head:len(a)-tail], b[head:len(b)-tail])
	all := append(unchanged(a[:head]), edits...)
	all = append(all, unchanged(a[len(a)-tail:])...)
	return hunks(all)
}

// edit is one line of a diff: ' ', '-' or '+' before it.
type edit struct {
	op   byte
	line string
}

func commonHead(a, b []string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

func commonTail(a, b []string) int {
	n := 0
	for n < len(a) && n < len(b) && a[len(a)-1-n] == b[len(b)-1-n] {
		n++
	}
	return n
}

func unchanged(lines []string) []edit {
	out := make([]edit, 0, len(lines))
	for _, line := range lines {
		out = append(out, edit{' ', line})
	}
	return out
}

// editsOf turns a into b through their longest common subsequence; texts too large for its table are shown as one
// block replaced by the other.
func editsOf(a, b []string) []edit {
	const largest = 4_000_000
	if len(a)*len(b) > largest {
		return append(marked('-', a), marked('+', b)...)
	}
	common := subsequences(a, b)
	var out []edit
	i, j := 0, 0
	for i < len(a) && j < len(b) {
		switch {
		case a[i] == b[j]:
			out = append(out, edit{' ', a[i]})
			i, j = i+1, j+1
		case common[i+1][j] >= common[i][j+1]:
			out = append(out, edit{'-', a[i]})
			i++
		default:
			out = append(out, edit{'+', b[j]})
			j++
		}
	}
	return append(append(out, marked('-', a[i:])...), marked('+', b[j:])...)
}

func marked(op byte, lines []string) []edit {
	out := unchanged(lines)
	for i := range out {
		out[i].op = op
	}
	return out
}

// subsequences gives the length of the longest common subsequence of a[i:] and b[j:] at [i][j].
func subsequences(a, b []string) [][]int32 {
	table := make([][]int32, len(a)+1)
	for i := range table {
		table[i] = make([]int32, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				table[i][j] = table[i+1][j+1] + 1
			} else {
				table[i][j] = max(table[i+1][j], table[i][j+1])
			}
		}
	}
	return table
}

// hunks prints the changed lines and what is around them.
func hunks(all []edit) string {
	const around = 3
	near := make([]bool, len(all))
	for i, e := range all {
		if e.op == ' ' {
			continue
		}
		for k := max(0, i-around); k <= min(len(all)-1, i+around); k++ {
			near[k] = true
		}
	}
	var b strings.Builder
	line, gap := 1, true
	for i, e := range all {
		if near[i] && gap {
			fmt.Fprintf(&b, "@ line %d\n", line)
		}
		gap = !near[i]
		if near[i] && e.line != "" {
			b.WriteByte(e.op)
			b.WriteString(visibleLine(e.line))
		}
		if e.op != '+' {
			line++
		}
	}
	return b.String()
}

func visibleLine(line string) string {
	text, ended := strings.CutSuffix(line, "\n")
	q := strconv.Quote(text)
	out := strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`) + "\n"
	if !ended {
		out += "\\ no line end after this line\n"
	}
	return out
}
