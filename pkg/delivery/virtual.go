package delivery

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"mailx/pkg/mail"
)

// Virtual is a virtual alias file in the manner of Postfix's virtual(5), which is read again when it has changed. A file
// that is not there is temporary trouble: without it nobody knows which domains are ours. It is safe for concurrent use.
//
// Entries are "key value" or "key: value", continued and commented as in aliases(5); values are lists of addresses, with
// commas between them. Keys are
//
//	user@domain  mail for this address, with a detail or without, goes to the value
//	user         the same for every domain whose names are plain ones
//	@domain      mail for all other names of the domain; the value "@other" keeps the name and changes the domain
//	domain       makes this a virtual domain; the value means nothing
//
// "@domain" makes the domain a virtual one too. A value without a domain is a name of this host. Commands, files and
// lists belong into aliases(5), to whose names a value may lead.
type Virtual struct {
	mu      sync.Mutex
	file    table
	entries map[string]*Alias
	domains map[string]bool
}

// NewVirtual gives the virtual aliases in the file at path; nothing is read yet.
func NewVirtual(path string) *Virtual { return &Virtual{file: table{path: path, required: true}} }

// Lookup gives the members behind a key, in the file's order. Errors are temporary.
func (v *Virtual) Lookup(key string) (members []Member, found bool, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.refresh(); err != nil {
		return nil, false, err
	}
	if e := v.entries[key]; e != nil {
		return e.Members, true, nil
	}
	return nil, false, nil
}

// HasDomain reports a virtual domain, which is given in lower case and A-labels. Errors are temporary.
func (v *Virtual) HasDomain(domain string) (bool, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.refresh(); err != nil {
		return false, err
	}
	return v.domains[domain], nil
}

func (v *Virtual) refresh() error {
	data, changed, err := v.file.load()
	if err != nil {
		return mail.Temporaryf(3, 5, "Virtual aliases can't be read: %w", err)
	}
	if !changed {
		return nil
	}
	aliases, _ := ParseVirtual(data)
	v.entries, v.domains = make(map[string]*Alias, len(aliases)), map[string]bool{}
	for i := range aliases {
		v.entries[aliases[i].Name] = &aliases[i]
		if domain, ok := domainOfKey(aliases[i].Name); ok {
			v.domains[domain] = true
		}
	}
	return nil
}

// domainOfKey is the domain that a key makes a virtual one.
func domainOfKey(key string) (string, bool) {
	if domain, ok := strings.CutPrefix(key, "@"); ok {
		return domain, true
	}
	return key, strings.Contains(key, ".") && !strings.Contains(key, "@")
}

// ParseVirtual is ParseAliases for a virtual alias file.
func ParseVirtual(data []byte) ([]Alias, []Problem) {
	p := aliasParser{key: virtualKey, member: virtualMember, cut: cutVirtual}
	return p.parse(data), p.problems
}

// cutVirtual cuts at the first blank or colon outside of quotes and of an address literal; a colon behind blanks goes too.
func cutVirtual(s string) (left, right string, ok bool) {
	end, quoted, literal := -1, false, false
	for i := 0; i < len(s) && end < 0; i++ {
		switch c := s[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[':
			literal = true
		case c == ']':
			literal = false
		case !literal && (c == ' ' || c == '\t' || c == ':'):
			end = i
		}
	}
	if end <= 0 {
		return s, "", false
	}
	right = strings.TrimLeft(s[end:], " \t")
	if s[end] == ':' || right == ":" || strings.HasPrefix(right, ": ") || strings.HasPrefix(right, ":\t") {
		right = right[1:]
	}
	return s[:end], strings.TrimSpace(right), true
}

var errKey = errors.New("not user@domain, @domain, a user or a domain")

// virtualKey gives a key as it is looked up: the local part in lower case, the domain normal.
func virtualKey(s string) (string, error) {
	if rest, ok := strings.CutPrefix(s, "@"); ok {
		domain, err := mail.ParseDomain(rest)
		if err != nil {
			return "", fmt.Errorf("%q: %w", s, errKey)
		}
		return "@" + normal(domain), nil
	}
	a, err := mail.ParseAddress(s)
	switch {
	case err != nil:
		return "", fmt.Errorf("%q: %w", s, errKey)
	case a.Domain != "":
		return virtualName(a.Local, a.Domain), nil
	case strings.Contains(s, "."):
		return normal(s), nil
	}
	return strings.ToLower(a.Local), nil
}

// virtualName is the key of an address.
func virtualName(local, domain string) string { return strings.ToLower(local) + "@" + normal(domain) }

func virtualMember(word string) Member {
	if rest, ok := strings.CutPrefix(word, "@"); ok {
		domain, err := mail.ParseDomain(rest)
		if err != nil {
			return Member{text: word, Err: mail.Permanentf(1, 3, "Not a domain")}
		}
		return Member{text: word, Address: mail.Address{Domain: domain}}
	}
	m := parseMember(word)
	if m.Err == nil && m.isPrivileged() || m.Path != "" {
		m.Command, m.Path, m.Include = nil, "", ""
		m.Err = mail.Permanentf(3, 5, "Commands, files and lists belong into the aliases file")
	}
	return m
}
