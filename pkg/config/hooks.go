package config

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Hooks has the commands that are asked about mail: mailx-hooks(7). Each is an array of words, the first an absolute path; empty
// for none.
type Hooks struct {
	Connect       []string // when a client connects
	Mail          []string // at MAIL
	Rcpt          []string // at RCPT
	Filter        []string // after the data; may change the message
	Data          []string // after the data, filters and milters
	DeliverFilter []string // before a message is stored here; may change it
	Deliver       []string // before a message is stored here
	Timeout       time.Duration
	Parallel      int // commands at once
}

// Milter has the milters that are asked about mail, in this order.
type Milter struct {
	Sockets []string // unix:/path, inet:port@host, host:port
	Default string   // when one can't be asked: "accept", "tempfail" or "reject"
	Timeout time.Duration
}

func (h *Hooks) keys() []Key {
	return []Key{
		newKey("hooks.connect", "", "command asked when a client connects").command(&h.Connect),
		newKey("hooks.mail", "", "command asked at MAIL").command(&h.Mail),
		newKey("hooks.rcpt", "", "command asked at RCPT").command(&h.Rcpt),
		newKey("hooks.filter", "", "command that may change a message after its data").command(&h.Filter),
		newKey("hooks.data", "", "command asked after the data").command(&h.Data),
		newKey("hooks.deliver_filter", "", "command that may change a message before it is stored").command(&h.DeliverFilter),
		newKey("hooks.deliver", "", "command asked before a message is stored").command(&h.Deliver),
		newKey("hooks.timeout", "30s", "time of a command").span(&h.Timeout),
		newKey("hooks.parallel", "20", "commands at once").count(&h.Parallel),
	}
}

// check looks whether the commands can be started.
func (h *Hooks) check(add func(key, value, text string)) {
	for _, k := range h.keys() {
		argv := k.get()
		if k.split == nil || len(argv) == 0 {
			continue
		}
		switch fi, err := os.Stat(argv[0]); {
		case err != nil:
			add(k.Name, argv[0], reason(err))
		case fi.IsDir() || fi.Mode().Perm()&0o111 == 0:
			add(k.Name, argv[0], "is no program; make it one with: chmod +x "+argv[0])
		}
	}
}

func (m *Milter) keys() []Key {
	return []Key{
		newKey("milter.sockets", "", "milters, asked in this order").list(&m.Sockets, checkMilter),
		newKey("milter.default", "tempfail", "verdict when a milter can't be asked").
			oneOf(&m.Default, "accept", "tempfail", "reject"),
		newKey("milter.timeout", "60s", "wait for an answer of a milter").span(&m.Timeout),
	}
}

// command is an argv whose first word is an absolute path: nobody's PATH decides what a server runs.
func (k Key) command(p *[]string) Key {
	k = k.argv(p)
	set := k.set
	k.set = func(texts []string) error {
		if len(texts) > 0 && !filepath.IsAbs(texts[0]) {
			return errors.New(`a command starts with an absolute path: ["/usr/local/bin/check", "-v"]`)
		}
		return set(texts)
	}
	return k
}

func isPort(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

func checkMilter(s string) error {
	scheme, rest, _ := strings.Cut(s, ":")
	switch {
	case strings.HasPrefix(s, "/"), (scheme == "unix" || scheme == "local") && strings.HasPrefix(rest, "/"):
		return nil
	case scheme == "inet" || scheme == "inet6" || scheme == "tcp":
		if port, host, at := strings.Cut(rest, "@"); at && isPort(port) && host != "" {
			return nil
		}
		s = rest
	}
	if host, port, err := net.SplitHostPort(s); err == nil && host != "" && isPort(port) {
		return nil
	}
	return errors.New("a milter is unix:/path, inet:port@host or host:port")
}
