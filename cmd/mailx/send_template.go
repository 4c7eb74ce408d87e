package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"maps"
	"os"
	"strings"
	"text/template"
)

// Bounds of what templates are made of and make, in octets.
const (
	maxTemplate = 1 << 20
	maxData     = 64 << 20
	maxMade     = 64 << 20
)

// templates makes the text and the HTML of --template and --html-template.
func (r *sendReader) templates(o *sendOptions) {
	isText, isHTML := r.c.IsSet("template"), r.c.IsSet("html-template")
	if r.err != nil || !isText && !isHTML {
		return
	}
	var data any
	if o.merge == nil {
		data = r.data(o)
	}
	if isText {
		o.body = r.made(o, "template", data)
	}
	if isHTML {
		o.html = r.made(o, "html-template", escapeHTML(data))
	}
}

// data is what the templates are about: JSON, or else the environment.
func (r *sendReader) data(o *sendOptions) any {
	if !r.c.IsSet("data") {
		env := map[string]any{}
		for _, entry := range os.Environ() {
			name, value, _ := strings.Cut(entry, "=")
			env[name] = value
		}
		return env
	}
	text := r.whole(o, "data", maxData)
	if r.err != nil {
		return nil
	}
	data, err := decodeData(text)
	if err != nil {
		r.bad("--data "+r.c.String("data"), err.Error())
	}
	return data
}

// whole reads a file of limited size.
func (r *sendReader) whole(o *sendOptions, flag string, limit int64) []byte {
	in := r.reader(o, flag)
	if in == nil {
		return nil
	}
	return r.readAll("--"+flag, inputName(r.c.String(flag)), in, limit)
}

func (r *sendReader) readAll(what, name string, in io.Reader, limit int64) []byte {
	text, err := io.ReadAll(io.LimitReader(in, limit+1))
	switch {
	case r.err != nil:
	case err != nil:
		r.err = fmt.Errorf("%s: %w", what, err)
	case int64(len(text)) > limit:
		r.bad(what, fmt.Sprintf("%s is longer than %d octets", name, limit))
	}
	return text
}

// decodeData reads one JSON value. Whole numbers stay whole, so that they are printed as they were written.
func decodeData(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var data any
	err := d.Decode(&data)
	switch {
	case errors.Is(err, io.EOF):
		return nil, errors.New("no JSON is there")
	case err != nil:
		return nil, fmt.Errorf("bad JSON: %w", err)
	case len(bytes.TrimSpace(text[d.InputOffset():])) > 0:
		return nil, errors.New("bad JSON: something follows the first value")
	}
	return plainNumbers(data), nil
}

func plainNumbers(data any) any {
	return mapData(data, func(leaf any) any {
		number, ok := leaf.(json.Number)
		if !ok {
			return leaf
		}
		if n, err := number.Int64(); err == nil {
			return n
		}
		f, err := number.Float64()
		if err != nil {
			return number.String()
		}
		return f
	})
}

// mapData changes the leaves of what JSON is read into.
func mapData(data any, change func(any) any) any {
	switch data := data.(type) {
	case map[string]any:
		for key := range maps.Keys(data) {
			data[key] = mapData(data[key], change)
		}
		return data
	case []any:
		for i := range data {
			data[i] = mapData(data[i], change)
		}
		return data
	}
	return change(data)
}

// escapeHTML makes all strings of the data safe where HTML has text or a quoted attribute, so that a name with "<" in it
// stays a name. What is in the template itself is not touched.
func escapeHTML(data any) any {
	return mapData(data, func(leaf any) any {
		if text, ok := leaf.(string); ok {
			return html.EscapeString(text)
		}
		return leaf
	})
}

// made runs a template, or keeps it for the rows of --merge.
func (r *sendReader) made(o *sendOptions, flag string, data any) io.Reader {
	text := r.whole(o, flag, maxTemplate)
	if o.merge != nil {
		text = r.inUTF8(o, text)
	}
	t := r.parsed("--"+flag, inputName(r.c.String(flag)), string(text))
	switch {
	case r.err != nil:
		return nil
	case o.merge != nil:
		o.merge.keep("--"+flag, t)
		return strings.NewReader("")
	}
	return r.executed("--"+flag, t, data)
}

// parsed reads a template. A key that is not in the data is an error and never "<no value>" in somebody's mail.
func (r *sendReader) parsed(flag, name, text string) *template.Template {
	if r.err != nil {
		return nil
	}
	env := os.Getenv
	if strings.HasPrefix(flag, "--html") {
		env = func(name string) string { return html.EscapeString(os.Getenv(name)) }
	}
	t, err := template.New(name).Option("missingkey=error").Funcs(template.FuncMap{"env": env}).Parse(text)
	if err != nil {
		r.bad(flag, templateReason(err))
	}
	return t
}

// executed runs a template.
func (r *sendReader) executed(what string, t *template.Template, data any) *bytes.Buffer {
	if r.err != nil {
		return nil
	}
	var out bytes.Buffer
	if err := t.Execute(&cappedWriter{w: &out, left: maxMade}, data); err != nil {
		r.bad(what, templateReason(err))
	}
	return &out
}

func templateReason(err error) string { return strings.TrimPrefix(err.Error(), "template: ") }

// cappedWriter takes so much and no more.
type cappedWriter struct {
	w    io.Writer
	left int
}

func (c *cappedWriter) Write(p []byte) (int, error) {
	if c.left -= len(p); c.left < 0 {
		return 0, fmt.Errorf("it makes more than %d octets", maxMade)
	}
	return c.w.Write(p)
}
