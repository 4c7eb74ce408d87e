package message

import (
	"strings"
	"unicode/utf8"
)

// quoteWidth is how wide the lines are that flowed text is set in, its quote marks included.
const quoteWidth = 74

// IsFlowed reports format=flowed (RFC 3676 §4.1); delSp that the space at the end of a line that flows is not text.
func (p *Part) IsFlowed() (flowed, delSp bool) {
	is := func(name, want string) bool { return strings.EqualFold(p.Params[name], want) }
	flowed = p.Type == "text" && p.Subtype == "plain" && is("format", "flowed")
	return flowed, flowed && is("delsp", "yes")
}

// paragraph is text between hard line ends, with the depth at which it is quoted.
type paragraph struct {
	depth  int
	text   string
	isSoft bool // it came in several lines
}

// QuoteText marks a text as somebody else's, a "> " more before each line. Flowed text is set anew first; all other lines
// stay as they are, however long: they may be patches, tables or addresses. The signature is left out.
func QuoteText(text string, flowed, delSp bool) string {
	var b strings.Builder
	for _, p := range trimBlank(dropSignature(paragraphs(text, flowed, delSp))) {
		writeParagraph(&b, p, p.depth+1)
	}
	return b.String()
}

// FixText gives flowed text as one with fixed lines.
func FixText(text string, flowed, delSp bool) string {
	if !flowed {
		return text
	}
	var b strings.Builder
	for _, p := range paragraphs(text, flowed, delSp) {
		writeParagraph(&b, p, p.depth)
	}
	return b.String()
}

// paragraphs takes text apart. Where it does not flow, each line is one, quote marks and all.
func paragraphs(text string, flowed, delSp bool) []paragraph {
	var all []paragraph
	open := false // the last one flows on
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if !flowed {
			all = append(all, paragraph{text: line})
			continue
		}
		depth := len(line) - len(strings.TrimLeft(line, ">"))
		line = strings.TrimPrefix(line[depth:], " ") // RFC 3676 §4.4 space-stuffing
		isSignature := line == "-- "
		soft := strings.HasSuffix(line, " ") && !isSignature
		if soft && delSp {
			line = line[:len(line)-1]
		}
		if last := len(all) - 1; open && all[last].depth == depth && !isSignature {
			all[last].text, all[last].isSoft = all[last].text+line, true
		} else {
			all = append(all, paragraph{depth: depth, text: line})
		}
		open = soft
	}
	return all
}

// dropSignature ends a text before its signature (RFC 3676 §4.3).
func dropSignature(all []paragraph) []paragraph {
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].depth == 0 && all[i].text == "-- " {
			return all[:i]
		}
	}
	return all
}

func trimBlank(all []paragraph) []paragraph {
	isBlank := func(p paragraph) bool { return p.depth == 0 && strings.TrimSpace(p.text) == "" }
	for len(all) > 0 && isBlank(all[0]) {
		all = all[1:]
	}
	for len(all) > 0 && isBlank(all[len(all)-1]) {
		all = all[:len(all)-1]
	}
	return all
}

func writeParagraph(b *strings.Builder, p paragraph, depth int) {
	mark := strings.Repeat("> ", depth)
	lines := []string{p.text}
	if p.isSoft {
		lines = wrap(p.text, max(quoteWidth-len(mark), 20))
	}
	for _, line := range lines {
		if line == "" {
			line = strings.TrimSuffix(mark, " ")
		} else {
			line = mark + line
		}
		b.WriteString(line + "\n")
	}
}

// wrap sets words in lines of a width in characters; a word that is longer has a line of its own.
func wrap(text string, width int) []string {
	var lines []string
	var line strings.Builder
	used := 0
	for word := range strings.SplitSeq(strings.TrimRight(text, " "), " ") {
		n := utf8.RuneCountInString(word)
		if line.Len() > 0 && used+1+n > width {
			lines = append(lines, line.String())
			line.Reset()
			used = 0
		} else if line.Len() > 0 {
			line.WriteByte(' ')
			used++
		}
		line.WriteString(word)
		used += n
	}
	return append(lines, line.String())
}
