package config

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxNetrc is the most octets of a netrc file.
const maxNetrc = 1 << 20

// NetrcFile is $NETRC, or ~/.netrc; "" without a home.
func NetrcFile(getenv func(string) string) string {
	if name := getenv("NETRC"); name != "" {
		return name
	}
	if home := getenv("HOME"); home != "" {
		return filepath.Join(home, ".netrc")
	}
	return ""
}

// NetrcPassword looks in a netrc file for the password of a user at a host; "" if the file or the entry is not there. A file
// that others can read is refused with the fix, as every file with passwords is.
func NetrcPassword(name, host, user string) (string, error) {
	f, err := os.Open(name)
	switch {
	case name == "" || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission):
		return "", nil
	case err != nil:
		return "", secretError("netrc", name, reason(err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", secretError("netrc", name, reason(err))
	}
	data, err := io.ReadAll(io.LimitReader(f, maxNetrc+1))
	switch {
	case err != nil:
		return "", secretError("netrc", name, reason(err))
	case len(data) > maxNetrc:
		return "", secretError("netrc", name, "larger than 1 MiB")
	}
	password := findNetrc(string(data), host, user)
	if password != "" && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		return "", secretError("netrc", name, "other people can read it; fix: chmod 600 "+name)
	}
	return password, nil
}

// findNetrc gives the password of the first entry for the host and the user. An entry without a login is for every user, and
// "default" for every host, as ftp(1) has it.
func findNetrc(data, host, user string) string {
	for _, e := range parseNetrc(data) {
		isHost := e.isDefault || strings.EqualFold(e.host, host)
		if isHost && (e.login == "" || e.login == user) && e.password != "" {
			return e.password
		}
	}
	return ""
}

type netrcEntry struct {
	host, login, password string
	isDefault             bool
}

// parseNetrc reads what ftp(1) and curl(1) do: words, of which one may stand in double quotes with backslashes for \n, \r, \t
// and themselves; # begins a comment where a keyword could stand; a macdef ends with an empty line. What it does not know it
// passes over: the file is other programs' too.
func parseNetrc(data string) (entries []netrcEntry) {
	s := &netrcScanner{rest: data}
	for {
		word, ok := s.word(true)
		if !ok {
			return entries
		}
		e := &netrcEntry{} // of a value without an entry
		if len(entries) > 0 {
			e = &entries[len(entries)-1]
		}
		switch word {
		case "machine":
			host, _ := s.word(false)
			entries = append(entries, netrcEntry{host: host})
		case "default":
			entries = append(entries, netrcEntry{isDefault: true})
		case "login", "user":
			e.login, _ = s.word(false)
		case "password", "passwd":
			e.password, _ = s.word(false)
		case "account":
			s.word(false)
		case "macdef":
			s.macro()
		}
	}
}

type netrcScanner struct{ rest string }

// word gives the next word; comments says that one may stand in its place.
func (s *netrcScanner) word(comments bool) (string, bool) {
	s.rest = strings.TrimLeft(s.rest, " \t\r\n")
	for comments && strings.HasPrefix(s.rest, "#") {
		_, s.rest, _ = strings.Cut(s.rest, "\n")
		s.rest = strings.TrimLeft(s.rest, " \t\r\n")
	}
	switch {
	case s.rest == "":
		return "", false
	case s.rest[0] == '"':
		return s.quoted(), true
	}
	end := strings.IndexAny(s.rest, " \t\r\n")
	if end < 0 {
		end = len(s.rest)
	}
	word := s.rest[:end]
	s.rest = s.rest[end:]
	return word, true
}

func (s *netrcScanner) quoted() string {
	var b strings.Builder
	for i := 1; i < len(s.rest); i++ {
		c := s.rest[i]
		switch {
		case c == '"':
			s.rest = s.rest[i+1:]
			return b.String()
		case c == '\\' && i+1 < len(s.rest):
			i++
			b.WriteByte(unescape(s.rest[i]))
		default:
			b.WriteByte(c)
		}
	}
	s.rest = ""
	return b.String()
}

func unescape(c byte) byte {
	switch c {
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c
}

// macro passes over a macro, which ends at an empty line.
func (s *netrcScanner) macro() {
	_, after, found := strings.Cut(s.rest, "\n\n")
	if !found {
		after = ""
	}
	s.rest = after
}
