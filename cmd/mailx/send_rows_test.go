package main

import (
	"fmt"
	"strings"
	"testing"
	"testing/iotest"
)

func rowsOf(text string, oneByOne bool) string {
	r := strings.NewReader(text)
	rows := readRows(r)
	if oneByOne {
		rows = readRows(iotest.OneByteReader(r))
	}
	var all []string
	for one := range rows {
		if one.err != nil {
			all = append(all, one.place+": "+one.err.Error())
		} else {
			all = append(all, fmt.Sprint(one.place, " ", one.data))
		}
	}
	return strings.Join(all, "\n")
}

// TestReadRows: the forms of a table, and what can be wrong with one.
func TestReadRows(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", ""},
		{" \r\n\t", ""},
		{"a,b\n1,2\n\n3,\"4\n5\"\n6,7\n", "line 2 map[a:1 b:2]\nline 4 map[a:3 b:4\n5]\nline 6 map[a:6 b:7]"},
		{"a;b,c\n1;2,3\n", "line 2 map[a;b:1;2 c:3]"},
		{"a;b\n1;2,3\n;\n", "line 2 map[a:1 b:2,3]"},
		{" a \t\tb\r\n1\t2\t3\r\n", "line 2 map[a:1 b:3]"},
		{"a,b\n1\n2,3", "line 2: not as many fields as the first line names\nline 3 map[a:2 b:3]"},
		{"a,b\n1,\"2\n3,4\n", "line 2: bad CSV: extraneous or missing \" in quoted-field"},
		{"a,b\n1,2\"2\n3,4\n", "line 2: bad CSV: bare \" in non-quoted-field"},
		{"a,a\n1,2\n", `line 1: two fields are called "a"`},
		{"a,,\n1,2,3\n", "line 2 map[a:1]"},
		{`{"a":1}{"a":12345678901234567} {"a":[1.5,{"b":null}]}`, "row 1 map[a:1]\nrow 2 map[a:12345678901234567]\nrow 3 map[a:[1.5 map[b:<nil>]]]"},
		{`[{"a":1}, {"a":"x"}]`, "row 1 map[a:1]\nrow 2 map[a:x]"},
		{"[]", ""},
		{`{"a":1} 7 {"a":2}`, "row 1 map[a:1]\nrow 2: a row is an object in braces\nrow 3 map[a:2]"},
		{`[null,{"a":1}]`, "row 1: a row is an object in braces\nrow 2 map[a:1]"},
		{`[{"a":1}] x`, "row 1 map[a:1]\nrow 2: bad JSON: something follows the array"},
		{`[{"a":1}`, "row 1 map[a:1]\nrow 2: bad JSON: the array has no end"},
		{`[{"a":1},`, "row 1 map[a:1]\nrow 2: bad JSON: unexpected EOF"},
		{`{"a":1} {"a`, "row 1 map[a:1]\nrow 2: bad JSON: unexpected EOF"},
		{`{"a":1} {x}`, "row 1 map[a:1]\nrow 2: bad JSON: invalid character 'x' looking for beginning of object key string"},
	} {
		for _, oneByOne := range []bool{false, true} {
			if got := rowsOf(tt.text, oneByOne); got != tt.want {
				t.Errorf("%q: got\n%s\nwant\n%s", tt.text, got, tt.want)
			}
		}
	}
}

// FuzzReadRows: a row is something or an error, every error says where, and an end is found.
func FuzzReadRows(f *testing.F) {
	for _, text := range []string{"a,b\n1,2\n", "a;b\n\"1\n\";2", `{"a":1}{"b":[2]}`, `[{"a":1},{"b":null}]`, "[", "a\n\"", "{}"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n := 0
		for one := range readRows(strings.NewReader(text)) {
			if n++; n > len(text)+1 {
				t.Fatal("more rows than octets")
			}
			if one.place == "" || one.err != nil && one.err.Error() == "" {
				t.Fatalf("row %+v", one)
			}
		}
	})
}
