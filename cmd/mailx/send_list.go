package main

import (
	"fmt"
	"slices"
	"strings"

	"mailx/pkg/message"
)

// lists reads what a message to many says about itself: how to get no more of them (RFC 2369 §3.2, RFC 8058 §3.1).
func (r *sendReader) lists(o *sendOptions) {
	urls := r.c.StringSlice("unsubscribe")
	for i, url := range urls {
		if !r.clean("--unsubscribe", url) {
			return
		}
		if !r.isTemplate(url) && !isUnsubscribeURL(url) {
			r.bad("--unsubscribe", fmt.Sprintf("a URL that begins with https:, http: or mailto: is needed, not %q", url))
		}
		urls[i] = "<" + url + ">"
	}
	if len(urls) > 0 {
		o.headers = append(o.headers, message.HeaderField{Name: "List-Unsubscribe", Value: strings.Join(urls, ", ")})
	}
	isOneClick := r.c.Bool("one-click")
	isHTTPS := func(url string) bool { return strings.HasPrefix(url, "<https://") }
	switch {
	case isOneClick && r.err == nil && !slices.ContainsFunc(urls, isHTTPS):
		r.err = usagef("--one-click: no https URL of --unsubscribe is there to be posted to")
	case isOneClick:
		o.headers = append(o.headers, message.HeaderField{Name: "List-Unsubscribe-Post", Value: "List-Unsubscribe=One-Click"})
	}
}

// isUnsubscribeURL reports a URL that can stand between angle brackets, in one piece.
func isUnsubscribeURL(url string) bool {
	scheme, rest, _ := strings.Cut(url, ":")
	isOther := func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '<' || c == '>' }
	return slices.Contains([]string{"https", "http", "mailto"}, scheme) && strings.TrimLeft(rest, "/") != "" &&
		strings.IndexFunc(url, isOther) < 0 && len(url) < 900
}
