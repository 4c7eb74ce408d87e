package main

import (
	"bytes"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"text/template"

	"mailx/pkg/message"
)

// merge is a table of which each row becomes a message: its recipient is in a field, and the templates are about the row.
type merge struct {
	name  string // of the file
	field string // that has the address, in any letter case
	table *held
	read  *sendReader // what addresses and values have to pass

	subject, text, html *template.Template   // nil: it is what it is
	headers             []*template.Template // by field; nil as above
}

// maxTold bounds how many wrong rows are told one by one.
const maxTold = 20

// merge opens the table of --merge.
func (r *sendReader) merge(o *sendOptions) {
	if r.err != nil || !r.c.IsSet("merge") {
		return
	}
	r.noTemplates()
	m := &merge{name: r.c.String("merge"), field: r.text("merge-field"), table: &held{}, read: r}
	o.merge, o.each = m, true
	in := r.reader(o, "merge")
	if in == nil {
		return
	}
	in, err := message.ToUTF8(in, "", r.locale)
	if err == nil {
		_, err = io.Copy(m.table, io.LimitReader(in, maxData+1))
	}
	switch {
	case err != nil:
		r.err = fmt.Errorf("--merge: %w", err)
	case m.table.size > maxData:
		r.bad("--merge", fmt.Sprintf("%s is longer than %d octets", inputName(m.name), maxData))
	}
	m.subject = r.inline("--subject", o.subject)
	for _, h := range o.headers {
		m.headers = append(m.headers, r.inline("--header", h.Value))
	}
}

// inline is a template in a value on the command line; nil if it is none.
func (r *sendReader) inline(flag, value string) *template.Template {
	if !strings.Contains(value, "{{") {
		return nil
	}
	return r.parsed(flag, strings.TrimLeft(flag, "-"), value)
}

// keep takes the template of a flag.
func (m *merge) keep(flag string, t *template.Template) {
	if strings.HasPrefix(flag, "--html") {
		m.html = t
	} else {
		m.text = t
	}
}

// mergeTexts takes all text for a template, wherever it comes from: nobody wants "Dear {{.name}}" sent to everybody.
func (r *sendReader) mergeTexts(o *sendOptions) {
	if r.err != nil || o.merge == nil {
		return
	}
	if o.merge.text == nil {
		o.body = r.mergeText(o, "--body", (&drafting{e: r.e, o: o}).text())
	}
	if o.merge.html == nil && o.html != nil {
		o.html = r.mergeText(o, "--html", o.html)
	}
	o.charset = ""
}

// mergeText gives a text that is the same for all, or keeps the template that it is.
func (r *sendReader) mergeText(o *sendOptions, flag string, in io.Reader) io.Reader {
	text := string(r.inUTF8(o, r.readAll(flag, "the text", in, maxTemplate)))
	if t := r.inline(flag, text); t != nil {
		o.merge.keep(flag, t)
		return strings.NewReader("")
	}
	return strings.NewReader(text)
}

// inUTF8 is for a text that comes together with what is UTF-8.
func (r *sendReader) inUTF8(o *sendOptions, text []byte) []byte {
	in, err := message.ToUTF8(bytes.NewReader(text), o.charset, o.locale)
	if err == nil {
		text, err = io.ReadAll(in)
	}
	if err != nil && r.err == nil {
		r.err = err
	}
	return text
}

// noTemplates refuses them where all rows have the same.
func (r *sendReader) noTemplates() {
	for _, name := range []string{"from", "envelope-from"} {
		r.noTemplate(name, r.c.String(name))
	}
	for _, name := range []string{"reply-to", "attach", "inline"} {
		for _, value := range r.c.StringSlice(name) {
			r.noTemplate(name, value)
		}
	}
}

func (r *sendReader) noTemplate(name, value string) {
	if strings.Contains(value, "{{") {
		r.bad("--"+name, "it is the same for all rows, and can't be a template")
	}
}

func (m *merge) rows() iter.Seq[row] { return readRows(m.table.reader()) }

// checkRows tries all rows before anything is sent: each has an address, and everything can be made of it.
func (r *sendReader) checkRows(o *sendOptions) {
	if r.err != nil || o.merge == nil {
		return
	}
	n, wrong := 0, 0
	for one := range o.merge.rows() {
		n++
		if _, err := o.merge.fill(*o, one); err != nil {
			if wrong++; wrong <= maxTold {
				r.e.note("%v", err)
			}
		}
	}
	name := inputName(o.merge.name)
	switch {
	case n == 0:
		r.bad("--merge", name+" has no rows")
	case wrong == 1:
		r.bad("--merge", "nothing was sent; mend the row")
	case wrong > 0:
		r.bad("--merge", fmt.Sprintf("nothing was sent; mend the %d rows", wrong))
	}
}

// fill gives the options of the message for a row. They have one recipient, which is of no use if there is an error.
func (m *merge) fill(o sendOptions, one row) (*sendOptions, error) {
	read := *m.read
	at := func(what string) string {
		return strings.TrimSuffix(strings.Join([]string{inputName(m.name), one.place, what}, ", "), ", ")
	}
	if one.err != nil {
		o.to = make([]message.Mailbox, 1)
		return &o, exitWith(exDataErr, fmt.Errorf("%s: %w", at(""), one.err))
	}
	o.to = []message.Mailbox{m.address(&read, at, one.data)}
	o.subject = read.filled(at("--subject"), m.subject, one.data, o.subject)
	o.headers = slices.Clone(o.headers)
	for i, t := range m.headers {
		h := &o.headers[i]
		h.Value = read.filled(at("--header "+h.Name), t, one.data, h.Value)
		if t != nil && read.err == nil && strings.EqualFold(h.Name, "List-Unsubscribe") {
			read.checkUnsubscribe(at("--unsubscribe"), h.Value)
		}
	}
	if m.text != nil {
		o.body = read.executed(at("text"), m.text, one.data)
	}
	if m.html != nil {
		o.html = read.executed(at("HTML"), m.html, escapeHTML(one.data))
	}
	return &o, read.err
}

// address reads the field with the address by the rules of --to.
func (m *merge) address(read *sendReader, at func(string) string, data map[string]any) (box message.Mailbox) {
	name, ok := m.fieldIn(data)
	value, isText := data[name].(string)
	switch {
	case !ok:
		read.bad(at(""), fmt.Sprintf("no field %q has the address; there are %s: say which with --merge-field", m.field, namesIn(data)))
		return box
	case !isText || strings.TrimSpace(value) == "":
		read.bad(at(name), "no address")
		return box
	}
	list := read.parse(at(name), value)
	if len(list) != 1 {
		read.bad(at(name), fmt.Sprintf("one address is needed, not %d", len(list)))
		return box
	}
	return list[0]
}

// fieldIn is the name as it is written in the row.
func (m *merge) fieldIn(data map[string]any) (string, bool) {
	if _, ok := data[m.field]; ok {
		return m.field, true
	}
	for _, name := range slices.Sorted(maps.Keys(data)) {
		if strings.EqualFold(name, m.field) {
			return name, true
		}
	}
	return "", false
}

func namesIn(data map[string]any) string {
	names := slices.Sorted(maps.Keys(data))
	if len(names) > 10 {
		names = append(names[:10], "...")
	}
	return fmt.Sprintf("%q", names)
}

// filled makes a value of one line; where there is no template it is value.
func (r *sendReader) filled(what string, t *template.Template, data any, value string) string {
	if t == nil || r.err != nil {
		return value
	}
	text := r.executed(what, t, data).String()
	if r.err == nil {
		r.clean(what, text)
	}
	return text
}

// checkUnsubscribe looks at the URLs that a row made.
func (r *sendReader) checkUnsubscribe(what, value string) {
	for url := range strings.SplitSeq(value, ", ") {
		url = strings.TrimSuffix(strings.TrimPrefix(url, "<"), ">")
		if !isUnsubscribeURL(url) {
			r.bad(what, fmt.Sprintf("%q is no URL of one word; {{urlquery .name}} makes a part of one from anything", url))
		}
	}
}
