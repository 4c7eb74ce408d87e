package delivery

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"mailx/pkg/mail"
)

// Member is one of the things behind an alias. One of Address, Include, Command and Path is set, or Err.
type Member struct {
	Address  mail.Address // without a local part (virtual files only): the one that was asked for, at another domain
	Verbatim bool         // "\user": the user, not an alias of that name
	Include  string       // absolute path of a file with more members
	Command  []string     // argv of a program that takes the message
	Path     string       // "/path/" is a Maildir, "/path" a file in mbox format
	Err      error        // the member can't be used; temporary if a person has to mend the file's owner or mode
	text     string
	line     int // of the entry that it stands in
	owner    int // user id of the owner of the file that it stands in
}

// String is the member as it stands in the file.
func (m Member) String() string { return m.text }

// isPrivileged reports a member that is taken only from files that nobody else can change.
func (m Member) isPrivileged() bool {
	return m.Command != nil || m.Include != "" || m.Path != "" && m.Path != os.DevNull
}

// mark tells a member from others. It says nothing about what stands in the file.
func (m Member) mark() string {
	sum := sha256.Sum256([]byte(m.text))
	return hex.EncodeToString(sum[:markSize/2])
}

const markSize = 12

// maxMarked is the longest name that a mark fits behind.
const maxMarked = mail.MaxLocal - markSize - 1

// cutMark takes "name|mark", the address of a single member of the alias name, apart.
func cutMark(local string) (name, mark string, ok bool) {
	at := len(local) - markSize - 1
	if at <= 0 || local[at] != '|' || strings.Trim(local[at+1:], "0123456789abcdef") != "" {
		return "", "", false
	}
	return local[:at], local[at+1:], true
}

func joinMembers(members []Member) string {
	words := make([]string, len(members))
	for i, m := range members {
		words[i] = m.text
	}
	return strings.Join(words, ", ")
}

// Alias is one entry of a file.
type Alias struct {
	Name    string // in lower case; in virtual files also "user@domain" and "@domain"
	Line    int
	Members []Member
}

// Problem is something in a file that should be otherwise.
type Problem struct {
	File string
	Line int // 0: the file as a whole
	Text string
}

// String is "file:line: text".
func (p Problem) String() string {
	if p.Line == 0 {
		return p.File + ": " + p.Text
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Text)
}

// Aliases is an aliases(5) file with the files that it includes, each of which is read again when it has changed. A file
// that is not there has no aliases. It is safe for concurrent use.
//
// The format is that of sendmail and Postfix: "name: member, member"; lines that begin with a blank go on with the line
// before; "#" begins a comment at the start of a line and behind a blank; names and members may stand in double quotes.
// The name "*" stands for all local names that are otherwise unknown. Members are
//
//	user, user@domain     an address; a local one may be an alias again
//	\user                 the user, whatever aliases there are
//	"|command args"       a program that gets the message on its standard input; see SplitCommand and Commands
//	/path/                a Maildir
//	/path                 a file in mbox format; /dev/null drops the message
//	:include:/path        the members that stand in another file, with commas between them or one a line
//
// The last four are taken only from files that belong to root or to Owner, and that nobody else may write to; from any
// other file they are 4.3.5, but for /dev/null.
type Aliases struct {
	// Owner is the user id that is trusted as root is: that of the owner of the spool. Set it before the first call.
	Owner int

	mu      sync.Mutex
	file    table
	entries map[string]*Alias
	lists   map[string]*list // files that are included, by path
}

// list is an included file.
type list struct {
	file    table
	members []Member
	unsafe  error
}

// maxLists bounds the included files that are remembered.
const maxLists = 1000

// NewAliases gives the aliases in the file at path; nothing is read yet. The user of this process is trusted with it.
func NewAliases(path string) *Aliases { return &Aliases{Owner: os.Geteuid(), file: table{path: path}} }

// Lookup gives the members of an alias, in the file's order. Errors are temporary.
func (a *Aliases) Lookup(name string) (members []Member, found bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.refresh(); err != nil {
		return nil, false, mail.Temporaryf(3, 5, "Aliases can't be read: %w", err)
	}
	if e := a.entries[strings.ToLower(name)]; e != nil {
		return e.Members, true, nil
	}
	return nil, false, nil
}

func (a *Aliases) refresh() error {
	data, changed, err := a.file.load()
	if err != nil || !changed {
		return err
	}
	aliases, _ := ParseAliases(data)
	a.entries = make(map[string]*Alias, len(aliases))
	for i := range aliases {
		a.trust(&a.file, aliases[i].Members)
		a.entries[aliases[i].Name] = &aliases[i]
	}
	return nil
}

// trust gives members of a file that others can change an error, if they need trust.
func (a *Aliases) trust(t *table, members []Member) {
	if t.info == nil {
		return
	}
	unsafe := checkTrust(t.path, t.info, a.Owner)
	for i := range members {
		members[i].owner = ownerOf(t.info)
		if unsafe != nil && members[i].isPrivileged() {
			members[i].Err = misconfigured(unsafe)
		}
	}
}

// Include gives the members in a file that an alias includes. Every error is temporary, 4.3.5: a list that can't be read
// now is no reason to bounce the mail for it.
func (a *Aliases) Include(name string) ([]Member, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.lists[name]
	if l == nil {
		l = &list{file: table{path: name, required: true}}
	}
	data, changed, err := l.file.load()
	if err != nil {
		delete(a.lists, name)
		return nil, misconfigured(err)
	}
	if changed {
		l.members, _ = ParseList(data)
		a.trust(&l.file, l.members)
		l.unsafe = checkTrust(name, l.file.info, a.Owner)
		if a.lists == nil || len(a.lists) >= maxLists {
			a.lists = map[string]*list{}
		}
		a.lists[name] = l
	}
	if l.unsafe != nil {
		return nil, misconfigured(l.unsafe)
	}
	return l.members, nil
}

// ParseAliases reads the text of an aliases file. Of two entries of a name the first counts. What is wrong is told, without
// the name of the file, and does not keep the rest from working: a slip in one line must not stop the mail of everybody.
func ParseAliases(data []byte) ([]Alias, []Problem) {
	p := aliasParser{key: aliasName, member: parseMember}
	return p.parse(data), p.problems
}

// ParseList reads the text of an included file: members with commas between them, or one a line.
func ParseList(data []byte) (members []Member, problems []Problem) {
	p := aliasParser{member: parseMember}
	for line := range bytes.Lines(data) {
		p.start++
		text := strings.TrimSpace(cutComment(strings.TrimRight(string(line), "\r\n")))
		members = append(members, p.members(text)...)
	}
	return members, p.problems
}

// aliasParser reads entries; the formats differ in what may stand left and right.
type aliasParser struct {
	key    func(string) (string, error)
	member func(string) Member
	cut    func(string) (left, right string, ok bool) // nil: at the colon

	aliases  []Alias
	names    map[string]int // line numbers
	problems []Problem
	number   int
	start    int    // line number of the entry
	text     string // the entry so far
}

func (p *aliasParser) parse(data []byte) []Alias {
	p.names = map[string]int{}
	if p.cut == nil {
		p.cut = func(s string) (string, string, bool) { return cutOutside(s, ':') }
	}
	for line := range bytes.Lines(data) {
		p.number++
		p.line(strings.TrimRight(string(line), "\r\n"))
	}
	p.entry()
	return p.aliases
}

func (p *aliasParser) problem(format string, args ...any) {
	p.problems = append(p.problems, Problem{Line: p.start, Text: fmt.Sprintf(format, args...)})
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
	left, right, ok := p.cut(text)
	if !ok {
		p.problem("not of the form \"name: member, member\"")
		return
	}
	name, err := p.key(left)
	if err != nil {
		p.problem("%v", err)
		return
	}
	if line := p.names[name]; line > 0 {
		p.problem("%s is defined twice; what line %d says counts", name, line)
		return
	}
	members := p.members(right)
	if members == nil {
		p.problem("%s has no members", name)
	}
	if len(name) > maxMarked && slices.ContainsFunc(members, Member.isPrivileged) {
		p.problem("a name with commands, files or lists has at most %d octets", maxMarked)
		return
	}
	p.names[name] = p.start
	p.aliases = append(p.aliases, Alias{name, p.start, members})
}

// members reads a list; nil if it is empty.
func (p *aliasParser) members(s string) []Member {
	var members []Member
	for more := true; more; {
		var word string
		word, s, more = cutOutside(s, ',')
		if word = strings.TrimSpace(word); word == "" {
			continue
		}
		m := p.member(word)
		m.line = p.start
		if m.Err != nil {
			p.problem("%s: %s", word, reason(m.Err))
		}
		members = append(members, m)
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
func aliasName(s string) (string, error) {
	s = strings.TrimSpace(s)
	a, err := mail.ParseAddress(s)
	switch {
	case err != nil:
		return "", fmt.Errorf("%q can't be a name", s)
	case a.Domain != "":
		return "", fmt.Errorf("%s has a domain: that is for the virtual alias file", s)
	}
	return strings.ToLower(a.Local), nil
}

func parseMember(word string) Member {
	m := Member{text: word}
	plain := unquote(word)
	switch {
	case plain == "":
		m.Err = mail.Permanentf(1, 3, "Empty member")
	case plain[0] == '|':
		m.Command, m.Err = parseCommand(plain[1:])
	case plain[0] == '/':
		m.Path, m.Err = parsePath(plain)
	case len(plain) >= len(includeMark) && strings.EqualFold(plain[:len(includeMark)], includeMark):
		m.Include, m.Err = parsePath(strings.TrimSpace(plain[len(includeMark):]))
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

const includeMark = ":include:"

// parseCommand takes what follows the bar; quotes may stand there as well as around all of it.
func parseCommand(s string) ([]string, error) {
	argv, err := SplitCommand(unquote(strings.TrimSpace(s)))
	if err != nil {
		return nil, mail.Permanentf(3, 5, "Command can't be run: %w", err)
	}
	return argv, nil
}

// parsePath wants an absolute path. A slash at the end stays.
func parsePath(s string) (string, error) {
	if !strings.HasPrefix(s, "/") || hasControl(s) || path.Clean(s) == "/" {
		return "", mail.Permanentf(3, 5, "Not an absolute path of a file or Maildir")
	}
	if strings.HasSuffix(s, "/") {
		return path.Clean(s) + "/", nil
	}
	return path.Clean(s), nil
}

// unquote undoes the double quotes around a whole word: "|command with, comma". Others stay.
func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	var b strings.Builder
	for i := 1; i < len(s)-1; i++ {
		switch {
		case s[i] == '"': // these are two words
			return s
		case s[i] == '\\' && i+1 < len(s)-1 && (s[i+1] == '"' || s[i+1] == '\\'):
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// reason is an error for people of this host, who may know the cause.
func reason(err error) string {
	var known *mail.Error
	if errors.As(err, &known) && known.Err != nil {
		return known.Text + ": " + known.Err.Error()
	}
	return mail.TextOf(err)
}
