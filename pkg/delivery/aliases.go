package delivery

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"mailx/pkg/mail"
)

// maxAliasFile is the size of an aliases file, in octets, that is believed.
const maxAliasFile = 16 << 20

// Member is one of the addresses behind an alias.
type Member struct {
	Address  mail.Address
	Verbatim bool  // "\user": the user, not an alias of that name
	Err      error // the member can't be used: a command, a file, an include, or no address; permanent
	text     string
}

// String is the member as it stands in the file.
func (m Member) String() string { return m.text }

func joinMembers(members []Member) string {
	words := make([]string, len(members))
	for i, m := range members {
		words[i] = m.text
	}
	return strings.Join(words, ", ")
}

// Aliases is an aliases(5) file, which is read again when it has changed. A file that is not there has no aliases. It
// is safe for concurrent use.
//
// The format is that of sendmail and Postfix: "name: member, member"; lines that begin with a blank go on with the
// line before; "#" begins a comment at the start of a line and behind a blank; names and members may stand in double
// quotes. Members are local names, addresses, or "\user". Commands ("|command"), files ("/path") and ":include:/path"
// are recognised and refused (5.3.5).
type Aliases struct {
	path string

	mu      sync.Mutex
	read    time.Time   // when entries were read
	info    fs.FileInfo // of the file then; nil if there was none
	entries map[string][]Member
}

// NewAliases gives the aliases in the file at path; nothing is read yet.
func NewAliases(path string) *Aliases { return &Aliases{path: path} }

// Lookup gives the members of an alias, in the file's order. Errors are temporary.
func (a *Aliases) Lookup(name string) (members []Member, found bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.refresh(); err != nil {
		return nil, false, mail.Temporaryf(3, 5, "Aliases can't be read: %w", err)
	}
	members, found = a.entries[strings.ToLower(name)]
	return members, found, nil
}

// refresh reads the file if it is another one than before. A file that was written moments before it was read is read
// again, since clocks of file systems are coarse.
func (a *Aliases) refresh() error {
	now := time.Now()
	info, err := os.Stat(a.path)
	if errors.Is(err, fs.ErrNotExist) {
		a.info, a.entries = nil, nil
		return nil
	}
	if err != nil {
		return err
	}
	if a.info != nil && os.SameFile(a.info, info) && a.info.ModTime().Equal(info.ModTime()) &&
		a.info.Size() == info.Size() && a.read.Sub(info.ModTime()) > time.Second {
		return nil
	}
	data, err := readBounded(a.path)
	if err != nil {
		return err
	}
	a.entries, _ = ParseAliases(data)
	a.info, a.read = info, now
	return nil
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxAliasFile+1))
	if err == nil && len(data) > maxAliasFile {
		err = fmt.Errorf("%s: file is larger than %d octets", path, maxAliasFile)
	}
	return data, err
}

// ParseAliases reads the text of an aliases file, names in lower case. What is wrong with it is told with its line
// number, and does not keep the rest from working: a slip in one line must not stop the mail of everybody.
func ParseAliases(data []byte) (map[string][]Member, []error) {
	p := aliasParser{entries: map[string][]Member{}}
	for line := range bytes.Lines(data) {
		p.number++
		p.line(strings.TrimRight(string(line), "\r\n"))
	}
	p.entry()
	return p.entries, p.problems
}

type aliasParser struct {
	entries  map[string][]Member
	problems []error
	number   int
	start    int    // line number of the entry
	text     string // the entry so far
}

func (p *aliasParser) problem(format string, args ...any) {
	p.problems = append(p.problems, fmt.Errorf("line %d: %s", p.start, fmt.Sprintf(format, args...)))
}

// line collects the lines of one entry.
func (p *aliasParser) line(s string) {
	text := strings.TrimSpace(cutComment(s))
	switch {
	case text == "":
	case s[0] == ' ' || s[0] == '\t':
		if p.text == "" {
			p.start = p.number
			p.problem("continues nothing")
			return
		}
		p.text += " " + text
	default:
		p.entry()
		p.start, p.text = p.number, text
	}
}

// cutComment drops what stands behind a "#" outside of quotes, at the start or behind a blank.
func cutComment(s string) string {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quoted:
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '#' && !quoted && (i == 0 || s[i-1] == ' ' || s[i-1] == '\t'):
			return s[:i]
		}
	}
	return s
}

// entry ends the one that was collected.
func (p *aliasParser) entry() {
	text := p.text
	p.text = ""
	if text == "" {
		return
	}
	left, right, ok := cutOutside(text, ':')
	name, nameOK := aliasName(left)
	if !ok || !nameOK {
		p.problem("not of the form \"name: member, member\"")
		return
	}
	if _, twice := p.entries[name]; twice {
		p.problem("alias %s is defined twice, the first counts", name)
		return
	}
	p.entries[name] = p.memberList(right)
}

func (p *aliasParser) memberList(s string) []Member {
	var members []Member
	for more := true; more; {
		var word string
		word, s, more = cutOutside(s, ',')
		if word = strings.TrimSpace(word); word == "" {
			continue
		}
		m := parseMember(word)
		if m.Err != nil {
			p.problem("%s: %s", word, mail.TextOf(m.Err))
		}
		members = append(members, m)
	}
	if members == nil {
		p.problem("alias has no members")
	}
	return members
}

// cutOutside cuts at the first sep that is not in double quotes.
func cutOutside(s string, sep byte) (before, after string, found bool) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quoted:
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == sep && !quoted:
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

// aliasName takes a name with or without quotes, and gives it in lower case.
func aliasName(s string) (string, bool) {
	s = strings.TrimSpace(s)
	a, err := mail.ParseAddress(s)
	return strings.ToLower(a.Local), err == nil && a.Domain == ""
}

func parseMember(word string) Member {
	m := Member{text: word}
	plain := unquote(word)
	switch {
	case plain == "":
		m.Err = mail.Permanentf(1, 3, "Empty member")
	case plain[0] == '|':
		m.Err = mail.Permanentf(3, 5, "Commands in aliases are not supported")
	case plain[0] == '/':
		m.Err = mail.Permanentf(3, 5, "Files in aliases are not supported")
	case len(plain) >= 9 && strings.EqualFold(plain[:9], ":include:"):
		m.Err = mail.Permanentf(3, 5, "Includes in aliases are not supported")
	case plain[0] == '\\':
		m.Verbatim = true
		m.Address, m.Err = mail.ParseAddress(plain[1:])
		if m.Err == nil && m.Address.Domain != "" {
			m.Err = mail.Permanentf(1, 3, "A backslash stands before a local name only")
		}
	default:
		m.Address, m.Err = mail.ParseAddress(word)
	}
	return m
}

// unquote undoes the double quotes around a whole word: "|command with, comma". Others stay.
func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	var b strings.Builder
	for i := 1; i < len(s)-1; i++ {
		if s[i] == '\\' && i+1 < len(s)-1 && (s[i+1] == '"' || s[i+1] == '\\') {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
