package message

import (
	"html"
	"strings"
	"unicode"
)

// htmlText gives HTML as plain text: tags dropped, scripts and styles with their content, blocks on lines of their own,
// entities decoded, links with their target behind them. It is not a browser: no tree, one pass, linear time.
func htmlText(s string) string {
	w := textWriter{}
	for s != "" {
		i := strings.IndexByte(s, '<')
		if i < 0 {
			w.text(s)
			break
		}
		w.text(s[:i])
		s = w.tag(s[i:])
	}
	return strings.TrimSpace(w.b.String()) + "\n"
}

// textWriter collapses white space and breaks lines.
type textWriter struct {
	b      strings.Builder
	breaks int    // line ends at the end of what is written
	space  bool   // white space is due before the next word
	href   string // of the link that is open
}

func (w *textWriter) text(s string) {
	s = html.UnescapeString(s)
	for i, word := range strings.Fields(s) {
		if i > 0 || startsWithSpace(s) {
			w.space = true
		}
		if w.space && w.breaks == 0 && w.b.Len() > 0 {
			w.b.WriteByte(' ')
		}
		w.b.WriteString(word)
		w.space, w.breaks = false, 0
	}
	if strings.TrimRightFunc(s, unicode.IsSpace) != s {
		w.space = true
	}
}

func startsWithSpace(s string) bool { return strings.TrimLeftFunc(s, unicode.IsSpace) != s }

// lines makes the text end in at least n line ends.
func (w *textWriter) lines(n int) {
	for ; w.breaks < n && w.b.Len() > 0; w.breaks++ {
		w.b.WriteByte('\n')
	}
	w.space = false
}

// tag handles the tag at the start of s and gives what comes after it.
func (w *textWriter) tag(s string) string {
	if strings.HasPrefix(s, "<!--") {
		_, rest, _ := strings.Cut(s, "-->")
		return rest
	}
	end := tagEnd(s)
	inside, rest := s[1:end], s[min(end+1, len(s)):]
	name := tagName(inside)
	switch name {
	case "":
		w.text("<")
		return s[1:]
	case "script", "style", "head", "title", "template":
		return afterElement(rest, name)
	case "br":
		w.lines(w.breaks + 1)
	case "p", "h1", "h2", "h3", "h4", "table", "ul", "ol", "blockquote", "pre", "/p", "/h1", "/h2", "/h3", "/table":
		w.lines(2)
	case "div", "tr", "/div", "/tr", "hr", "/ul", "/ol":
		w.lines(1)
	case "li":
		w.lines(1)
		w.text("- ")
	case "td", "th":
		w.space = true
	case "a":
		w.href = attribute(inside, "href")
	case "/a":
		if strings.HasPrefix(w.href, "http") {
			w.text(" <" + html.EscapeString(w.href) + ">")
		}
		w.href = ""
	}
	return rest
}

// tagEnd is the index of the ">" that closes the tag at the start of s, outside of quotes; the end of s if there is none.
func tagEnd(s string) int {
	quote := byte(0)
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '>':
			return i
		case (c == '"' || c == '\'') && s[i-1] == '=':
			quote = c
		}
	}
	if i := strings.IndexByte(s, '>'); i > 0 { // a quote that does not end
		return i
	}
	return len(s)
}

func tagName(s string) string {
	end := strings.IndexAny(s, " \t\r\n/>")
	if end == 0 && s[0] == '/' {
		if end = strings.IndexAny(s[1:], " \t\r\n>"); end >= 0 {
			end++
		}
	}
	if end < 0 {
		end = len(s)
	}
	name := strings.ToLower(s[:end])
	if first := strings.TrimPrefix(name, "/"); first == "" ||
		!(first[0] >= 'a' && first[0] <= 'z' || first[0] == '!' || first[0] == '?') {
		return ""
	}
	return name
}

// afterElement skips to what comes after </name>.
func afterElement(s, name string) string {
	for {
		i := strings.Index(s, "</")
		if i < 0 {
			return ""
		}
		s = s[i+2:]
		if len(s) >= len(name) && strings.EqualFold(s[:len(name)], name) {
			_, rest, _ := strings.Cut(s, ">")
			return rest
		}
	}
}

func attribute(tag, name string) string {
	for i := 0; i+len(name)+1 < len(tag); i++ {
		if !strings.EqualFold(tag[i:i+len(name)], name) || tag[i+len(name)] != '=' {
			continue
		}
		v := tag[i+len(name)+1:]
		if v[0] == '"' || v[0] == '\'' {
			v, _, _ = strings.Cut(v[1:], v[:1])
		} else if end := strings.IndexAny(v, " \t\r\n"); end >= 0 {
			v = v[:end]
		}
		return html.UnescapeString(v)
	}
	return ""
}
