package queue

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// PROMISES.md says which test holds which promise. What it names has to be there, and so has a row for each promise, and for
// each step of the state table.
func TestIndexOfPromises(t *testing.T) {
	data, err := os.ReadFile("PROMISES.md")
	if err != nil {
		t.Fatal(err)
	}
	index := string(data)
	found := 0
	for _, m := range regexp.MustCompile("`((?:pkg|cmd|scripts)/[a-z]+) ((?:Test|Fuzz)[A-Za-z0-9]+)`").FindAllStringSubmatch(index, -1) {
		found++
		if !hasTest("../../"+m[1], m[2]) {
			t.Errorf("%s: there is no such test", m[0])
		}
	}
	if found < 120 {
		t.Errorf("only %d tests found", found)
	}
	for promise := range strings.SplitSeq(promises, "\n") {
		if !strings.Contains(index, "| "+promise) {
			t.Errorf("no row for %q", promise)
		}
	}
	for _, step := range stateTable(t) {
		if !strings.Contains(index, "\n| "+step+" | `") {
			t.Errorf("no row for the step %q", step)
		}
	}
}

// stepColumn is how wide the first column of the table is.
const stepColumn = 28

// stateTable gives the steps of the package comment.
func stateTable(t *testing.T) (steps []string) {
	t.Helper()
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(doc), "a crash before it\n")
	for line := range strings.Lines(table) {
		text, ok := strings.CutPrefix(line, "//\t")
		if !ok {
			break
		}
		if text[0] != ' ' { // else the line goes on with the step above
			steps = append(steps, strings.TrimSpace(text[:min(len(text), stepColumn)]))
		}
	}
	if len(steps) < 12 {
		t.Errorf("only %q", steps)
	}
	return steps
}

// promises are the beginnings of the rows that have to be there: the contract, and the failures of respected clients and queues.
const promises = `R1 
R2 
R3 
R4 
R5 
R6 
R7 
R8 
multi-line replies without end
mixed codes in one reply
response injection before STARTTLS
STARTTLS stripped
wrong certificate, wrong name, expired
4xx and 5xx at each stage told apart
connection lost in mid-DATA, after the dot, before the reply
CR LF in addresses given by flags
bare CR passed to the wire
two flushers
stale locks
new/cur races
clock jumps
planted symbolic and hard links
newlines in queue fields
directory removed under us
bounce of a bounce
loops`

func hasTest(dir, name string) bool {
	files, _ := filepath.Glob(dir + "/*_test.go")
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil && strings.Contains(string(text), "\nfunc "+name+"(") {
			return true
		}
	}
	return false
}
