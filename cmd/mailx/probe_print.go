package main

import (
	"fmt"
	"time"
)

// probePrinter prints each step when it is done, as there may be a long time to the next; in JSON, a record for each server.
type probePrinter struct {
	e    *env
	form form
	json *printer
	err  error
}

func (e *env) newProbePrinter(asJSON bool) *probePrinter {
	o := &probePrinter{e: e}
	switch {
	case asJSON:
		o.form = formJSON
		o.json = e.newPrinter(probeColumns(), true)
	case e.stdoutIsTerminal():
		o.form = formTerminal
	}
	return o
}

func probeColumns() []column {
	var all []column
	for _, name := range []string{"server", "host", "addresses", "address", "greeting", "capabilities", "capabilities_in_clear", "tls", "cipher",
		"certificate_names", "certificate_subject", "certificate_issuer", "not_before", "not_after", "fingerprint", "key_fingerprint",
		"certificate_problems", "logged_in", "failed", "error", "exit", "seconds"} {
		all = append(all, column{name: name})
	}
	return all
}

// begin tells people which server it is about.
func (o *probePrinter) begin(found *probed) {
	if o.form == formTerminal {
		o.write("%s\n", escapeControl(found.server))
	}
}

// step tells that the step has gone well.
func (o *probePrinter) step(p *probe, format string, args ...any) {
	o.detail(p, "ok", format, args...)
}

// detail tells of the step under way: an outcome, or what kind of thing the text is.
func (o *probePrinter) detail(p *probe, kind, format string, args ...any) {
	o.line(p.found.server, p.step, kind, fmt.Sprintf(format, args...))
}

func (o *probePrinter) line(server, step, kind, text string) {
	text = escapeControl(text)
	switch o.form {
	case formPipe:
		o.write("%s\t%s\t%s\t%s\n", escapeControl(server), step, kind, text)
	case formTerminal:
		o.write("  %-12s  %-11s  %s\n", step, kind, text)
	}
}

func (o *probePrinter) write(format string, args ...any) {
	if _, err := fmt.Fprintf(o.e.stdout, format, args...); err != nil && o.err == nil {
		o.err = err
	}
}

// end tells how it ended.
func (o *probePrinter) end(found *probed) {
	text := ""
	if found.err != nil {
		text = reasonOf(found.err)
	}
	if o.form == formJSON {
		o.record(found, text)
		return
	}
	if found.failed != "" {
		o.line(found.server, found.failed, "failed", text)
	}
}

func (o *probePrinter) record(f *probed, text string) {
	c, fingerprint, key := f.cert, "", ""
	if c == nil {
		c = &probedCertificate{}
	} else {
		fingerprint, key = c.pin.String(), c.keyPin.String()
	}
	o.json.row(f.server, f.host, f.addresses, f.address, f.greeting, f.caps, f.clear, f.tls, f.cipher, c.names, c.subject, c.issuer,
		c.from, c.to, fingerprint, key, c.problems, f.isLoggedIn, f.failed, text, f.code, f.took.Round(time.Millisecond))
}

func (o *probePrinter) flush() error {
	if o.json != nil {
		return o.json.flush()
	}
	return o.err
}
