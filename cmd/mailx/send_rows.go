package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
)

// row is a record of a table: what is there by name.
type row struct {
	place string // where it stands, for people
	data  map[string]any
	err   error // it is none
}

// readRows reads JSON objects, one after the other or in an array, or else CSV whose first line names the fields: between commas,
// or where it has none, between semicolons or tabs. What is wrong with one row is told in its place, and the rest is read as far
// as it can be. Memory is bounded by one row.
func readRows(r io.Reader) iter.Seq[row] {
	return func(yield func(row) bool) {
		br := bufio.NewReader(r)
		first, err := firstCharacter(br)
		switch {
		case err == io.EOF:
		case err != nil:
			yield(row{err: err})
		case first == '{' || first == '[':
			jsonRows(br, first == '[', yield)
		default:
			csvRows(br, yield)
		}
	}
}

// firstCharacter looks behind white space.
func firstCharacter(br *bufio.Reader) (byte, error) {
	for {
		c, err := br.ReadByte()
		if err != nil || !strings.ContainsRune(" \t\r\n", rune(c)) {
			if err == nil {
				err = br.UnreadByte()
			}
			return c, err
		}
	}
}

func jsonRows(r io.Reader, isArray bool, yield func(row) bool) {
	d := json.NewDecoder(r)
	d.UseNumber()
	if isArray {
		d.Token()
	}
	for n := 1; ; n++ {
		one := row{place: fmt.Sprintf("row %d", n)}
		if isArray && !d.More() {
			endOfArray(d, one, yield)
			return
		}
		err := d.Decode(&one.data)
		var kind *json.UnmarshalTypeError
		switch {
		case err == io.EOF && !isArray:
			return
		case errors.As(err, &kind) || err == nil && one.data == nil:
			one.err = errors.New("a row is an object in braces")
		case err != nil:
			one.err = badJSON(err)
			yield(one)
			return
		}
		plainNumbers(one.data)
		if !yield(one) {
			return
		}
	}
}

func badJSON(err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("bad JSON: %w", err)
}

// endOfArray finds what is wrong with it.
func endOfArray(d *json.Decoder, at row, yield func(row) bool) {
	if _, err := d.Token(); err != nil {
		at.err = errors.New("bad JSON: the array has no end")
		yield(at)
		return
	}
	if _, err := d.Token(); err != io.EOF {
		at.err = errors.New("bad JSON: something follows the array")
		yield(at)
	}
}

func csvRows(br *bufio.Reader, yield func(row) bool) {
	r := csv.NewReader(br)
	r.Comma = separatorOf(br)
	names, err := r.Read()
	for i := range names {
		names[i] = strings.TrimSpace(names[i])
	}
	if err == nil {
		err = checkNames(names)
	}
	if err != nil {
		yield(row{place: "line 1", err: csvReason(err)})
		return
	}
	for {
		fields, err := r.Read()
		if err == io.EOF {
			return
		}
		one := row{err: csvReason(err)}
		var wrong *csv.ParseError
		if errors.As(err, &wrong) {
			one.place = fmt.Sprintf("line %d", wrong.StartLine)
		} else if err == nil {
			line, _ := r.FieldPos(0)
			one.place, one.data = fmt.Sprintf("line %d", line), byName(names, fields)
		}
		isOver := err != nil && !errors.Is(err, csv.ErrFieldCount) // after a quote that is not closed all is guessing
		if len(one.data) == 0 && err == nil {
			continue // spreadsheets leave such rows at the end
		}
		if !yield(one) || isOver {
			return
		}
	}
}

// separatorOf looks at the line with the names.
func separatorOf(br *bufio.Reader) rune {
	line, _ := br.Peek(br.Size())
	line, _, _ = bytes.Cut(line, []byte("\n"))
	for _, c := range ",;\t" {
		if bytes.ContainsRune(line, c) {
			return c
		}
	}
	return ','
}

// checkNames wants one name for each field; a column without a name is left out.
func checkNames(names []string) error {
	seen := map[string]bool{"": false}
	for _, name := range names {
		if seen[name] {
			return fmt.Errorf("two fields are called %q", name)
		}
		seen[name] = name != ""
	}
	return nil
}

// byName is nil for a row without anything in it.
func byName(names, fields []string) map[string]any {
	if strings.TrimSpace(strings.Join(fields, "")) == "" {
		return nil
	}
	data := map[string]any{}
	for i, name := range names {
		if name != "" {
			data[name] = fields[i]
		}
	}
	return data
}

// csvReason is the trouble without its place.
func csvReason(err error) error {
	var wrong *csv.ParseError
	switch {
	case errors.Is(err, csv.ErrFieldCount):
		return errors.New("not as many fields as the first line names")
	case errors.As(err, &wrong):
		return fmt.Errorf("bad CSV: %w", wrong.Err)
	}
	return err
}
