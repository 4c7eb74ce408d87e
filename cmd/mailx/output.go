package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"
	"golang.org/x/term"
)

// column describes one field of the records that a verb prints.
type column struct {
	name     string // snake_case: the key in JSON, in capitals the heading on a terminal
	flexible bool   // may be cut when the terminal is narrow
	right    bool   // numbers
	color    string // SGR parameters such as "1" or "31"; "" for none
}

// printer prints one record a line, in one of three forms: aligned columns cut to the width of a terminal, with
// relative times and colour; tab-separated text for pipes, with nothing cut, no heading and RFC 3339 times in UTC; or
// JSON Lines with "v":1. A listing longer than the terminal goes through a pager. Values are strings, integers, bools, time.Time (zero: none), time.Duration or []string. Control
// characters never reach the output as they are. Errors stick and come out of flush.
type printer struct {
	w       *bufio.Writer
	columns []column
	form    form
	color   bool
	width   int // cells of the terminal
	now     time.Time
	rows    [][]string // kept on a terminal, to be aligned
	headed  bool       // the headings have been printed
	err     error
	height  int           // lines of the terminal; longer listings go through startPager
	start   func() *pager // nil: never
	pager   *pager        // nil: not started
}

type form uint8

const (
	formPipe form = iota
	formTerminal
	formJSON
)

// batch is how many rows are aligned together on a terminal, so that long listings start at once.
const batch = 1000

// newPrinter prints to stdout in the form that fits it.
func (e *env) newPrinter(columns []column, asJSON bool) *printer {
	p := &printer{w: bufio.NewWriterSize(e.stdout, 32<<10), columns: columns, now: e.now()}
	switch {
	case asJSON:
		p.form = formJSON
	case e.stdoutIsTerminal():
		p.form, p.width, p.color = formTerminal, terminalWidth(e.stdout), wantColor(os.Getenv)
		p.height, p.start = terminalHeight(e.stdout), e.startPager
	}
	return p
}

// wantColor obeys NO_COLOR and dumb terminals.
func wantColor(getenv func(string) string) bool {
	return getenv("NO_COLOR") == "" && getenv("TERM") != "dumb" && getenv("TERM") != ""
}

// terminalWidth is in cells; 80 where nobody knows.
func terminalWidth(f *os.File) int {
	if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
		return w
	}
	return 80
}

// row prints one record; values stand in the order of the columns.
func (p *printer) row(values ...any) {
	switch p.form {
	case formJSON:
		p.json(values)
	case formPipe:
		texts := p.texts(values)
		p.write(strings.Join(texts, "\t") + "\n")
	default:
		p.rows = append(p.rows, p.texts(values))
		if len(p.rows) == batch {
			p.align()
		}
	}
}

func (p *printer) write(s string) {
	if p.err == nil {
		_, p.err = p.w.WriteString(s)
	}
}

// flush ends the output and gives the first error of all.
func (p *printer) flush() error {
	p.align()
	if p.err == nil {
		p.err = p.w.Flush()
	}
	if p.pager != nil {
		if err := p.pager.Close(); p.err == nil {
			p.err = err
		}
	}
	return p.err
}

func (p *printer) texts(values []any) []string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = escapeControl(p.text(v))
	}
	return texts
}

func (p *printer) text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case []string:
		return strings.Join(v, ",")
	case time.Time:
		return p.time(v)
	case time.Duration:
		if p.form == formTerminal {
			return shortDuration(v)
		}
		return strconv.FormatFloat(v.Seconds(), 'f', -1, 64)
	default:
		return fmt.Sprint(v)
	}
}

func (p *printer) time(t time.Time) string {
	switch {
	case t.IsZero():
		return ""
	case p.form == formTerminal:
		return relativeTime(t, p.now)
	}
	return t.UTC().Format(time.RFC3339)
}

// relativeTime is for people: "3m ago", "in 2h", "now".
func relativeTime(t, now time.Time) string {
	d := now.Sub(t)
	switch {
	case d > -time.Second && d < time.Second:
		return "now"
	case d < 0:
		return "in " + shortDuration(-d)
	}
	return shortDuration(d) + " ago"
}

// shortDuration has one unit: "45s", "3m", "26h", "5d".
func shortDuration(d time.Duration) string {
	switch {
	case d < 90*time.Second:
		return strconv.Itoa(int(d.Seconds())) + "s"
	case d < 90*time.Minute:
		return strconv.Itoa(int(d.Minutes())) + "m"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d.Hours())) + "h"
	}
	return strconv.Itoa(int(d.Hours()/24)) + "d"
}

// json prints one object, keys in the order of the columns.
func (p *printer) json(values []any) {
	var b strings.Builder
	b.WriteString(`{"v":1`)
	for i, v := range values {
		text, err := jsonText(v)
		if err != nil && p.err == nil {
			p.err = err
		}
		b.WriteString(`,"` + p.columns[i].name + `":` + text)
	}
	b.WriteString("}\n")
	p.write(b.String())
}

// jsonText: times are RFC 3339 in UTC or null, durations are seconds, octets that are not UTF-8 become U+FFFD.
func jsonText(v any) (string, error) {
	switch t := v.(type) {
	case time.Time:
		if t.IsZero() {
			return "null", nil
		}
		v = t.UTC().Format(time.RFC3339)
	case time.Duration:
		v = t.Seconds()
	case []string:
		if t == nil {
			return "[]", nil
		}
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return escapeJSON(strings.TrimSuffix(b.String(), "\n")), err
}

// escapeJSON keeps what JSON allows in the clear but a terminal obeys (C1, DEL, direction overrides) as \u escapes.
func escapeJSON(s string) string {
	if isPlain(s) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case !isUnsafe(r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+(r-0x10000)>>10, 0xdc00+(r-0x10000)&0x3ff)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// align prints the rows that were kept, in columns.
func (p *printer) align() {
	if len(p.rows) == 0 {
		return
	}
	widths := p.widths()
	if !p.headed {
		p.page()
		p.line(p.headings(), widths, true)
		p.headed = true
	}
	for _, r := range p.rows {
		p.line(r, widths, false)
	}
	p.rows = p.rows[:0]
}

// page sends a listing that does not fit on the screen through a pager.
func (p *printer) page() {
	if p.start == nil || len(p.rows)+2 < p.height {
		return
	}
	if p.pager = p.start(); p.pager != nil {
		p.w.Reset(p.pager)
	}
}

func (p *printer) headings() []string {
	names := make([]string, len(p.columns))
	for i, c := range p.columns {
		names[i] = strings.ToUpper(strings.ReplaceAll(c.name, "_", " "))
	}
	return names
}

// gap is the number of cells between two columns.
const gap = 2

// widths gives each column what its widest text needs, then takes from the widest flexible column, cell by cell, until
// the line fits.
func (p *printer) widths() []int {
	widths := make([]int, len(p.columns))
	total := -gap
	for i, name := range p.headings() {
		widths[i] = runewidth.StringWidth(name)
		for _, r := range p.rows {
			widths[i] = max(widths[i], runewidth.StringWidth(r[i]))
		}
		total += widths[i] + gap
	}
	for ; total > p.width; total-- {
		widest := -1
		for i, c := range p.columns {
			if c.flexible && widths[i] > 8 && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
	}
	return widths
}

func (p *printer) line(texts []string, widths []int, heading bool) {
	var b strings.Builder
	room := p.width
	for i, text := range texts {
		cell := p.cell(text, min(widths[i], max(room, 0)), i)
		room -= widths[i] + gap
		if i == len(texts)-1 {
			cell = strings.TrimRight(cell, " ")
		}
		b.WriteString(p.paint(cell, i, heading))
		if i < len(texts)-1 && room > 0 {
			b.WriteString(strings.Repeat(" ", gap))
		}
	}
	p.write(strings.TrimRight(b.String(), " ") + "\n")
}

// cell cuts or fills a text to exactly width cells.
func (p *printer) cell(text string, width, i int) string {
	if width <= 0 { // not even for the mark of a cut
		return ""
	}
	if runewidth.StringWidth(text) > width {
		text = runewidth.Truncate(text, width, "…")
	}
	if p.columns[i].right {
		return runewidth.FillLeft(text, width)
	}
	return runewidth.FillRight(text, width)
}

func (p *printer) paint(cell string, i int, heading bool) string {
	sgr := p.columns[i].color
	if heading {
		sgr = "2"
	}
	if !p.color || sgr == "" || strings.TrimSpace(cell) == "" {
		return cell
	}
	return "\x1b[" + sgr + "m" + cell + "\x1b[0m"
}

// stickyWriter keeps the first error of a writer, for printing that is not checked line by line.
type stickyWriter struct {
	w   io.Writer
	err error
}

func (s *stickyWriter) Write(p []byte) (n int, err error) {
	if s.err == nil {
		n, s.err = s.w.Write(p)
	}
	return n, s.err
}

// printPaths prints file names one a line, or ended by NUL (-0) for xargs -0. Names with a line break are only right
// with NUL.
func printPaths(w io.Writer, paths []string, nul bool) error {
	end := "\n"
	if nul {
		end = "\x00"
	}
	out := bufio.NewWriter(w)
	for _, path := range paths {
		out.WriteString(path)
		out.WriteString(end)
	}
	return out.Flush()
}
