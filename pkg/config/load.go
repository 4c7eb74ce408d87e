package config

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Sources says where the layers come from. The zero value has none: defaults only.
type Sources struct {
	System string              // system file; conf.d/*.toml beside it is read after it, in order of name
	User   string              // user file
	File   string              // if not "": this file instead of System, conf.d and User; it must exist
	Getenv func(string) string // variables; nil: none
	Flags  []Setting           // from the command line, last one wins
	Root   bool                // the spool of root is /var/spool/mailx
}

// Setting is a key set on the command line.
type Setting struct {
	Key    string
	Values []string // as given, in order; a list is all of them cut at commas, anything else the last one
	Origin string   // "--spool"
}

// Standard gives the sources of a normal run: /etc/mailx/config.toml, $XDG_CONFIG_HOME/mailx/config.toml, MAILX_CONFIG
// in the place of both, and the environment.
func Standard() Sources {
	return Sources{
		System: "/etc/mailx/config.toml",
		User:   UserFile(os.Getenv),
		File:   os.Getenv("MAILX_CONFIG"),
		Getenv: os.Getenv,
		Root:   os.Getuid() == 0,
	}
}

// UserFile is $XDG_CONFIG_HOME/mailx/config.toml, or ~/.config/mailx/config.toml; "" without a home.
func UserFile(getenv func(string) string) string {
	return homePath(getenv, "XDG_CONFIG_HOME", ".config", "mailx/config.toml")
}

// homePath is $variable/name, or ~/under/name. XDG says that a relative path in the variable is to be ignored.
func homePath(getenv func(string) string, variable, under, name string) string {
	if dir := getenv(variable); filepath.IsAbs(dir) {
		return filepath.Join(dir, name)
	}
	if home := getenv("HOME"); home != "" {
		return filepath.Join(home, under, name)
	}
	return ""
}

// Load reads all layers. Errors are Errors, all that were found; the Config is then as complete as could be made.
func Load(src Sources) (*Config, error) {
	if src.Getenv == nil {
		src.Getenv = func(string) string { return "" }
	}
	l := &loader{cfg: &Config{Accounts: map[string]*Account{}, Routes: map[string]*Route{}, origins: map[string]string{}}, getenv: src.Getenv}
	l.keys = l.cfg.keys()
	l.defaults(src)
	l.files(src)
	l.environment()
	for _, s := range src.Flags {
		l.flag(s)
	}
	l.cfg.expandHome(src.Getenv("HOME"))
	l.cfg.resolve()
	l.check()
	if len(l.errs) > 0 {
		return l.cfg, l.errs
	}
	return l.cfg, nil
}

type loader struct {
	cfg    *Config
	keys   []Key
	getenv func(string) string
	errs   Errors
}

func (l *loader) fail(key, value, origin, text string) {
	l.errs = append(l.errs, &Error{Key: key, Value: value, Origin: origin, Text: text})
}

func (l *loader) failFile(name string, err error) {
	l.errs = append(l.errs, &Error{Origin: name, Text: reason(err), Err: err})
}

// key finds a key, making the account or the route that it names. Its name is the full one, with the domain of a route in any
// letter case.
func (l *loader) key(name string) (Key, bool) {
	keys := l.keys
	table, rest, _ := strings.Cut(name, ".")
	if table == "account" || table == "route" {
		which, last, ok := cutLast(rest, '.')
		switch {
		case !ok || which == "":
			return Key{}, false
		case table == "account":
			keys = l.account(which)
		default:
			which = strings.ToLower(which)
			name, keys = "route."+which+"."+last, l.route(which)
		}
	}
	for _, k := range keys {
		if k.Name == name {
			return k, true
		}
	}
	return Key{}, false
}

func cutLast(s string, sep byte) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

func (l *loader) account(name string) []Key {
	a := l.cfg.Accounts[name]
	if a == nil {
		a = NewAccount()
		l.cfg.Accounts[name] = a
	}
	return a.keys("account." + name + ".")
}

func (l *loader) route(domain string) []Key {
	r := l.cfg.Routes[domain]
	if r == nil {
		r = &Route{}
		l.cfg.Routes[domain] = r
	}
	return r.keys("route." + domain + ".")
}

// apply sets a key from one layer.
func (l *loader) apply(k Key, texts []string, origin string) {
	if err := k.set(texts); err != nil {
		value := withoutPasswords(texts)
		if k.Secret {
			value = "(secret)"
		}
		l.fail(k.Name, value, origin, err.Error())
		return
	}
	l.cfg.origins[k.Name] = origin
}

// withoutPasswords is a value for a message, without what a URL in it may have between user and host.
func withoutPasswords(texts []string) string {
	shown := make([]string, len(texts))
	for i, text := range texts {
		shown[i] = text
		_, authority, isURL := strings.Cut(text, "://")
		if !isURL {
			authority = text
		}
		userinfo, _, hasUser := cutLast(authority, '@')
		if _, password, ok := strings.Cut(userinfo, ":"); hasUser && ok && password != "" {
			shown[i] = strings.Replace(text, ":"+password+"@", ":***@", 1)
		}
	}
	return strings.Join(shown, ", ")
}

// applyText sets a key from a variable or a flag, where a list is one text.
func (l *loader) applyText(k Key, text, origin string) {
	if k.split == nil {
		l.apply(k, []string{text}, origin)
		return
	}
	l.apply(k, k.split(text), origin)
}

func (l *loader) defaults(src Sources) {
	for _, k := range l.keys {
		if k.Default != "" {
			l.applyText(k, k.Default, "default")
		}
	}
	clear(l.cfg.origins)
	l.cfg.Spool = "/var/spool/mailx"
	if src.Root {
		return
	}
	if state := homePath(l.getenv, "XDG_STATE_HOME", ".local/state", "mailx"); state != "" {
		l.cfg.Spool = state
	}
}

func (l *loader) files(src Sources) {
	if src.File != "" {
		l.file(src.File, true)
		return
	}
	if src.System != "" {
		l.file(src.System, false)
		for _, name := range l.confD(src.System) {
			l.file(name, false)
		}
	}
	if src.User != "" {
		l.file(src.User, false)
	}
}

// confD lists conf.d/*.toml beside a file, in order of name.
func (l *loader) confD(system string) []string {
	dir := filepath.Join(filepath.Dir(system), "conf.d")
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.failFile(dir, err)
	}
	var names []string
	for _, e := range entries {
		if n := e.Name(); strings.HasSuffix(n, ".toml") && n[0] != '.' {
			names = append(names, filepath.Join(dir, n))
		}
	}
	return names
}

// environment reads EMAIL and SMTPSERVER, then MAILX_SMTP, then the variable of every key.
func (l *loader) environment() {
	for _, alias := range []struct{ variable, key string }{
		{"EMAIL", "from"}, {"SMTPSERVER", "smarthost"}, {"MAILX_SMTP", "smarthost"},
	} {
		if text := l.getenv(alias.variable); text != "" {
			k, _ := l.key(alias.key)
			l.applyText(k, text, "$"+alias.variable)
		}
	}
	for _, k := range l.keys {
		if text := l.getenv(k.Env()); text != "" {
			l.applyText(k, text, "$"+k.Env())
		}
	}
}

func (l *loader) flag(s Setting) {
	k, ok := l.key(s.Key)
	switch {
	case !ok:
		l.fail(s.Key, "", s.Origin, "unknown key"+suggest(s.Key, l.keys))
	case k.Secret:
		l.fail(s.Key, "(secret)", s.Origin, "a password does not belong on a command line; use password_file")
	case k.split == nil:
		l.apply(k, s.Values[max(len(s.Values)-1, 0):], s.Origin)
	default:
		var texts []string
		for _, v := range s.Values {
			texts = append(texts, k.split(v)...)
		}
		l.apply(k, texts, s.Origin)
	}
}

// check looks at values that must fit each other.
func (l *loader) check() {
	c := l.cfg
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		l.failAt("tls.cert", c.TLS.Cert, "tls.cert and tls.key go together; one of them is not set")
	}
	if c.Spool == "" {
		l.failAt("spool", "", "no spool directory; set spool, MAILX_SPOOL or HOME")
	}
	if c.Queue.WarnAfter >= c.Queue.Lifetime {
		l.failAt("queue.lifetime", FormatDuration(c.Queue.Lifetime), "must be longer than queue.warn_after, "+
			FormatDuration(c.Queue.WarnAfter))
	}
	l.checkProgram("auth.command", c.Auth.Command)
	l.checkProgram("auth.token_command", c.Auth.TokenCommand)
	l.checkSecret("", c.Password)
	if (c.TLS.ClientCert == "") != (c.TLS.ClientKey == "") {
		l.failAt("tls.client_cert", c.TLS.ClientCert, "tls.client_cert and tls.client_key go together; one of them is not set")
	}
	l.checkToken("", c.TokenCommand, c.Password)
	for name, r := range c.Routes {
		l.checkRoute(name, r)
	}
	for name, a := range c.Accounts {
		l.checkSecret("account."+name+".", a.Password)
		if text := a.Problem(); text != "" {
			l.failAt("account."+name+".url", a.URL.String(), text)
		}
	}
	l.checkSenders()
	if c.Rewrite && c.From == "" {
		l.failAt("rewrite_from", "true", "rewrite_from needs an address in from")
	}
}

// checkSenders wants each sender in one account only.
func (l *loader) checkSenders() {
	owner := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(l.cfg.Accounts)) {
		for _, text := range l.cfg.Accounts[name].From {
			_, pattern := cutName(text)
			if other := owner[pattern]; other != "" && other != name {
				l.failAt("account."+name+".from", pattern, "account "+other+" has it too")
			}
			owner[pattern] = name
		}
	}
}

func (l *loader) checkRoute(name string, r *Route) {
	prefix := "route." + name + "."
	if name != "*" {
		if err := checkDomain(strings.TrimPrefix(name, ".")); err != nil {
			l.failAt(prefix+"via", name, "a route is for a domain, for .domain, which is all below it, or for *")
		}
	}
	if (r.ClientCert == "") != (r.ClientKey == "") {
		l.failAt(prefix+"client_cert", r.ClientCert, "client_cert and client_key go together; one of them is not set")
	}
	l.checkSecret(prefix, r.Password)
	l.checkToken(prefix, r.TokenCommand, r.Password)
}

func (l *loader) checkToken(prefix string, command []string, password Secret) {
	if len(command) > 0 && password.IsSet() {
		l.failAt(prefix+"token_command", command[0], "a password or a token_command, not both")
	}
}

// checkProgram wants a command that does not depend on where we were started.
func (l *loader) checkProgram(key string, words []string) {
	if len(words) > 0 && !filepath.IsAbs(words[0]) {
		l.failAt(key, words[0], "a command begins with the absolute path of a program")
	}
}

func (l *loader) checkSecret(prefix string, s Secret) {
	if s.sources() > 1 {
		l.failAt(prefix+"password", "(secret)", "one of password, password_file, password_command and password_env is enough")
	}
}

func (l *loader) failAt(key, value, text string) { l.fail(key, value, l.cfg.Origin(key), text) }
