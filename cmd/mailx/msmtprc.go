package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"mailx/pkg/config"
	"mailx/pkg/mail"
	"mailx/pkg/smtp"
)

// msmtpAccount is an account of a msmtprc: its commands by name, as they are written there. An empty value is none.
type msmtpAccount struct {
	name string
	file string // that it is from; "" for the command line
	set  map[string]string
}

const maxMsmtprc = 1 << 20

// msmtprcCommands are all commands that a msmtprc may have. Those without a meaning here are about files, headers and
// limits that mailx has its own ways for.
func msmtprcCommands() []string {
	return strings.Fields(`host port source_ip proxy_host proxy_port socket timeout connect_timeout protocol domain auto_from from
		from_full_name allow_from_override dsn_notify dsn_return keepbcc set_from_header set_date_header set_msgid_header
		remove_bcc_headers undisclosed_recipients add_missing_from_header add_missing_date_header logfile logfile_time_format
		syslog aliases auth user password passwordeval ntlmdomain tls tls_starttls tls_nostarttls tls_trust_file tls_crl_file
		tls_fingerprint tls_min_dh_prime_bits tls_priorities tls_key_file tls_cert_file tls_certcheck tls_nocertcheck
		tls_host_override tls_force_sslv3 maildomain`)
}

// readMsmtprc reads the accounts of a msmtprc. An error has the number of its line.
func readMsmtprc(r io.Reader) ([]msmtpAccount, error) {
	var accounts []msmtpAccount
	defaults := map[string]string{}
	current, known := defaults, msmtprcCommands()
	lines := bufio.NewScanner(io.LimitReader(r, maxMsmtprc))
	for n := 1; lines.Scan(); n++ {
		name, value := msmtprcLine(lines.Text())
		switch {
		case name == "":
		case name == "defaults":
			current = defaults
		case name == "account":
			a, err := newMsmtpAccount(value, defaults, accounts)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", n, err)
			}
			accounts = append(accounts, a)
			current = a.set
		case name == "eval":
			return nil, fmt.Errorf("line %d: eval is not supported; for a password there is passwordeval", n)
		case !slices.Contains(known, name):
			return nil, fmt.Errorf("line %d: unknown command %s", n, printable(name))
		default:
			current[name] = value
		}
	}
	return accounts, lines.Err()
}

// msmtprcLine takes a line apart. Quotes around a value are not part of it.
func msmtprcLine(line string) (name, value string) {
	line = strings.TrimSpace(line)
	if strings.HasPrefix(line, "#") {
		return "", ""
	}
	end := strings.IndexAny(line, " \t")
	if end < 0 {
		return line, ""
	}
	name, value = line[:end], strings.TrimSpace(line[end:])
	if len(value) > 1 && value[0] == '"' && value[len(value)-1] == '"' {
		value = value[1 : len(value)-1]
	}
	return name, value
}

// newMsmtpAccount reads "name", or "name : base, base", of which it has the commands.
func newMsmtpAccount(text string, defaults map[string]string, accounts []msmtpAccount) (msmtpAccount, error) {
	name, bases, isCopy := strings.Cut(text, ":")
	a := msmtpAccount{name: strings.TrimSpace(name), set: map[string]string{}}
	if a.name == "" || strings.ContainsAny(a.name, ", \t") {
		return a, errors.New("an account needs a name")
	}
	if _, is := findAccount(accounts, a.name); is {
		return a, fmt.Errorf("account %s is there already", printable(a.name))
	}
	for name, value := range defaults {
		a.set[name] = value
	}
	for base := range strings.SplitSeq(bases, ",") {
		from, is := findAccount(accounts, strings.TrimSpace(base))
		switch {
		case is:
			for name, value := range from.set {
				a.set[name] = value
			}
		case isCopy:
			return a, fmt.Errorf("account %s is not there (yet)", printable(strings.TrimSpace(base)))
		}
	}
	return a, nil
}

func findAccount(accounts []msmtpAccount, name string) (msmtpAccount, bool) {
	i := slices.IndexFunc(accounts, func(a msmtpAccount) bool { return a.name == name })
	if i < 0 {
		return msmtpAccount{}, false
	}
	return accounts[i], true
}

// accountFrom finds the first account whose from is an address, in any letter case: as it is, without its detail (+...), or
// as a pattern of *, ? and [...].
func accountFrom(accounts []msmtpAccount, sender mail.Address) (msmtpAccount, bool) {
	local, _, _ := strings.Cut(sender.Local, "+")
	whole, bare := strings.ToLower(sender.String()), strings.ToLower(mail.Address{Local: local, Domain: sender.Domain}.String())
	i := slices.IndexFunc(accounts, func(a msmtpAccount) bool {
		from := strings.ToLower(a.from())
		matches, err := path.Match(from, whole)
		return from != "" && (from == whole || from == bare || matches && err == nil)
	})
	if i < 0 {
		return msmtpAccount{}, false
	}
	return accounts[i], true
}

// from is the sender of the account, which may be a pattern.
func (a msmtpAccount) from() string {
	hostname := os.Getenv("HOSTNAME")
	if hostname == "" {
		hostname, _ = os.Hostname()
	}
	text := a.set["from"]
	if a.is("auto_from", false) {
		domain := a.set["maildomain"]
		if domain == "" {
			domain = hostname
		}
		text = loginName() + "@" + domain
	}
	return strings.NewReplacer("%U", loginName(), "%H", hostname).Replace(text)
}

// sender is from, if it is an address; nil if there is none.
func (a msmtpAccount) sender() *mail.Address {
	text := a.from()
	if text == "" || strings.ContainsAny(text, "*?[") {
		return nil
	}
	sender, err := mail.ParseAddress(text)
	if err != nil {
		return nil
	}
	return &sender
}

// is reports a switch that is on; def is for an account that does not say.
func (a msmtpAccount) is(name string, def bool) bool {
	switch a.set[name] {
	case "":
		_, isSet := a.set[name]
		return isSet || def
	case "off":
		return false
	}
	return true
}

// server is where the account hands mail to.
func (a msmtpAccount) server() (config.Server, error) {
	s := config.Server{Scheme: "smtp", Host: a.set["host"]}
	switch tls := a.is("tls", false); {
	case a.set["protocol"] == "lmtp":
		s.Scheme = "lmtp"
	case tls && (!a.is("tls_starttls", true) || a.is("tls_nostarttls", false)):
		s.Scheme = "smtps"
	case tls:
		s.Scheme = "submission"
	}
	text, port := s.Scheme+"://"+s.Host, a.set["port"]
	if strings.Contains(s.Host, ":") {
		text = s.Scheme + "://[" + s.Host + "]"
	}
	switch {
	case port == "" && s.Scheme == "submission":
		port = "25" // as msmtp has it
	case a.set["socket"] != "" && s.Scheme == "lmtp":
		text, port = "lmtp://"+a.set["socket"], ""
	}
	if port != "" {
		text += ":" + port
	}
	parsed, err := config.ParseSmarthost(text)
	if err == nil && a.is("auth", false) {
		if parsed.User = a.set["user"]; parsed.User == "" {
			err = errors.New("auth needs a user")
		}
	}
	return parsed, err
}

// login is how the account proves who it is: by a password, a command that prints it, or one that prints a token; by none of
// them it is ~/.netrc. auth may name the mechanism.
func (a msmtpAccount) login(to *config.Account) error {
	if !a.is("auth", false) {
		return nil
	}
	if method := a.set["auth"]; method != "on" {
		to.Mechanism = strings.ToUpper(method)
	}
	command := []string{"sh", "-c", a.set["passwordeval"]}
	switch isToken := to.Mechanism == "OAUTHBEARER" || to.Mechanism == "XOAUTH2"; {
	case isToken && a.set["passwordeval"] == "":
		return fmt.Errorf("auth %s needs a passwordeval that prints the token", a.set["auth"])
	case isToken:
		to.TokenCommand = command
	case a.set["password"] != "":
		to.Password = config.Secret{Text: a.set["password"]}
	case a.set["passwordeval"] != "":
		to.Password = config.Secret{Command: command}
	}
	return nil
}

// unsupported names a command that can't be obeyed, and whose neglect would send mail by another way or with less care than
// was asked for; "" if there is none.
func (a msmtpAccount) unsupported() string {
	for _, name := range []string{"proxy_host", "tls_cert_file", "tls_host_override"} {
		if a.set[name] != "" {
			return name
		}
	}
	switch isCareless := !a.is("tls_certcheck", true) || a.is("tls_nocertcheck", false); {
	case a.is("undisclosed_recipients", false):
		return "undisclosed_recipients"
	case a.set["set_from_header"] == "on":
		return "set_from_header on"
	case a.set["socket"] != "" && a.set["protocol"] != "lmtp":
		return "socket without protocol lmtp"
	case isCareless && a.is("tls", false) && a.set["tls_fingerprint"] == "":
		return "tls_certcheck off without tls_fingerprint"
	}
	return ""
}

// apply makes the account one of mailx for this run, and gives its name there.
func (a msmtpAccount) apply(cfg *config.Config) (name string, err error) {
	server, err := a.server()
	if err != nil {
		return "", a.wrong(err)
	}
	if command := a.unsupported(); command != "" {
		return "", a.wrong(fmt.Errorf("%s is not supported; a certificate that nobody vouches for is named by tls_fingerprint or tls_trust_file", command))
	}
	account := config.NewAccount()
	account.Smarthost = []config.Server{server}
	if err := a.login(account); err != nil {
		return "", a.wrong(err)
	}
	if from := a.sender(); from != nil {
		account.From = []string{strings.ToLower(from.String())}
	}
	if text := a.set["tls_fingerprint"]; text != "" && a.is("tls", false) {
		if _, err := smtp.ParsePin(text); err != nil {
			return "", a.wrong(fmt.Errorf("tls_fingerprint: %w", err))
		}
		account.Fingerprints = []string{text}
	}
	if text := a.set["source_ip"]; text != "" {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			return "", a.wrong(fmt.Errorf("source_ip: %q is no IP address", text))
		}
		cfg.Queue.Source = []netip.Addr{ip}
	}
	if trust := a.fileOf("tls_trust_file"); trust != "" && trust != "system" {
		cfg.TLS.CA = trust
	}
	if aliases := a.fileOf("aliases"); aliases != "" {
		cfg.Aliases = aliases
	}
	name = "msmtp " + a.name // no account of a configuration is called so
	cfg.Accounts[name] = account
	return name, nil
}

func (a msmtpAccount) wrong(err error) error {
	where := "account " + a.name
	if a.file != "" {
		where = a.file + ": " + where
	}
	return exitWith(exConfig, fmt.Errorf("%s: %w", where, err))
}

// fileOf is a value that names a file; ~/ is the home.
func (a msmtpAccount) fileOf(name string) string {
	value := a.set[name]
	if rest, inHome := strings.CutPrefix(value, "~/"); inHome {
		return filepath.Join(os.Getenv("HOME"), rest)
	}
	return value
}
