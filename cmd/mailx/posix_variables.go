package main

import (
	"slices"
	"strings"

	"mailx/pkg/config"
	"mailx/pkg/message"
)

// variable takes -S name=value. Those act that say something about a message or where it goes; all others are accepted.
func (l *posixLine) variable(assignment string) error {
	name, value, _ := strings.Cut(assignment, "=")
	switch name {
	case "from":
		if value != "" {
			l.sending("-S from", "--from="+value)
		}
	case "reply-to", "replyto":
		if value != "" {
			l.sending("-S "+name, "--reply-to="+value)
		}
	case "smtp-auth-password", "password":
		return usagef("-S %s: everybody on this host can read a command line; put the password into password_command or password_file", name)
	case "ttycharset":
		if message.KnownCharset(value) {
			l.sending("-S ttycharset", "--charset="+value)
		}
	case "encoding", "mime-encoding":
		if encoding := posixEncoding(value); encoding != "" {
			l.sending("-S "+name, "--encoding="+encoding)
		}
	case "smtp", "mta", "smtp-use-starttls", "smtp-auth", "smtp-auth-user", "user":
		l.variables[name] = value
	}
	return nil
}

// posixEncoding is an encoding of s-nail, old or new, as send calls it.
func posixEncoding(value string) string {
	switch strings.ToLower(value) {
	case "8b", "8bit":
		return "8bit"
	case "qp", "quoted-printable":
		return "quoted-printable"
	case "b64", "base64":
		return "base64"
	}
	return ""
}

// way is who sends, as options behind -- say it, and the smarthost that the variables name, in options of send.
func (l *posixLine) way() []string {
	options := l.sender()
	url := l.variables["mta"]
	if !strings.Contains(url, "://") || strings.HasPrefix(url, "file://") || strings.HasPrefix(url, "test://") {
		url = l.variables["smtp"] // a mta that is a program, as /usr/sbin/sendmail is, means what happens anyway
	}
	if url == "" {
		return options
	}
	server, err := config.ParseSmarthost(url)
	if err != nil {
		return append(options, "--server="+url) // which says what is wrong with it
	}
	if _, wanted := l.variables["smtp-use-starttls"]; wanted && server.Scheme == "smtp" {
		server.Scheme = "submission"
	}
	for _, name := range []string{"user", "smtp-auth-user"} {
		if user := l.variables[name]; user != "" && l.variables["smtp-auth"] != "none" {
			server.User = user
		}
	}
	return append(options, "--server="+server.String())
}

// sender is what sendmail makes of -f and -F: the reverse-path, and the From of a message that has none.
func (l *posixLine) sender() []string {
	sender, isSet := l.variables["-f"]
	if !isSet {
		return nil
	}
	options := []string{"--envelope-from=" + sender}
	hasFrom := slices.ContainsFunc(l.send, func(o string) bool {
		return strings.HasPrefix(o, "--from=") || strings.HasPrefix(strings.ToLower(o), "--header=from:") || o == "--from-header"
	})
	address := strings.Trim(sender, "<> ")
	if hasFrom || address == "" {
		return options
	}
	if name := l.variables["-F"]; name != "" {
		address = quotedName(name) + " <" + address + ">"
	}
	return append(options, "--from="+address)
}

// quotedName makes a quoted-string of a name (RFC 5322 §3.2.4).
func quotedName(name string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `"`
}
