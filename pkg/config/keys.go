package config

import "strings"

// Key describes one configuration key.
type Key struct {
	Name    string // "smtp.max_size"
	Default string // as it would be written; "" if it depends on the host or on other keys
	Doc     string // one line
	Secret  bool   // the value is never shown

	set   func([]string) error // from the texts of a value: one, or one for each element of a list
	get   func() []string
	split func(string) []string // a text from a variable or flag into elements; nil: it is one
}

func newKey(name, def, doc string) Key { return Key{Name: name, Default: def, Doc: doc} }

func (k Key) hidden() Key {
	k.Secret = true
	return k
}

// Env is the name of the variable: MAILX_ and the key in upper case, dots and dashes as underscores.
func (k Key) Env() string {
	name := []byte("MAILX_" + k.Name)
	for i, c := range name {
		switch {
		case c == '.' || c == '-':
			name[i] = '_'
		case c >= 'a' && c <= 'z':
			name[i] = c - 'a' + 'A'
		}
	}
	return string(name)
}

// Keys lists every fixed key, in the order of the manual, with its default.
func Keys() []Key { return new(Config).keys() }

// AccountKeys lists the keys of an [account.NAME] table; their names have no prefix.
func AccountKeys() []Key { return new(Account).keys("") }

func (c *Config) keys() []Key {
	keys := []Key{
		newKey("hostname", "", "fully qualified name of this host").text(&c.Hostname, checkDomain),
		newKey("spool", "", "directory of mail, queue and state").text(&c.Spool, nil),
		newKey("domains", "", "local domains").list(&c.Domains, checkDomain),
		newKey("users", "", "user file").text(&c.Users, nil),
		newKey("aliases", "/etc/aliases", "aliases(5) file").text(&c.Aliases, nil),
		newKey("virtual", "", "virtual alias file").text(&c.Virtual, nil),
		newKey("virtual_domains", "", "domains whose users are called user@domain").list(&c.VirtualDomains, checkDomain),
		newKey("recipient_delimiter", "+", "characters that may stand between a user and a detail; none: no details").
			text(&c.Delimiter, checkDelimiter),
		newKey("mail_root", "", "directory of the users' Maildirs").text(&c.MailRoot, nil),
		newKey("queue_dir", "", "directory of the queue").text(&c.QueueDir, nil),
		newKey("smarthost", "", "URLs of the servers that take all remote mail, tried in order, or a command").
			servers(&c.Smarthost),
		newKey("from", "", "default sender address, perhaps with a name before it").text(&c.From, checkMailbox),
		newKey("addresses", "", "further addresses of the user").list(&c.Addresses, checkAddress),
		newKey("reserve", "0", "space to leave free on the disk of the spool").size(&c.Reserve),
		newKey("run_as", "", "user that servers started by root become").text(&c.RunAs, nil),
		newKey("quota", "0", "size of a mailbox with its folders; 0: no limit").size(&c.Quota),
	}
	keys = append(keys, c.Password.keys("", "of the smarthost")...)
	keys = append(keys,
		newKey("token_command", "", "command that prints an OAuth token for the smarthost").argv(&c.TokenCommand),
		newKey("mechanism", "", "the only SASL mechanism that may be used with the smarthost").text(&c.Mechanism, checkMechanism),
		newKey("rewrite_from", "false", "what goes out is from the address in from, whoever has sent it").yesNo(&c.Rewrite))
	keys = append(keys, c.Auth.keys()...)
	keys = append(keys, c.TLS.keys()...)
	keys = append(keys, c.SMTP.keys()...)
	keys = append(keys, c.POP3.keys("pop3", "127.0.0.1:1110", "600s")...)
	keys = append(keys, c.IMAP.keys("imap", "127.0.0.1:1143", "30m")...)
	keys = append(keys, c.Serve.keys()...)
	keys = append(keys, c.ACME.keys()...)
	keys = append(keys, c.Queue.keys()...)
	keys = append(keys, c.Hooks.keys()...)
	keys = append(keys, c.Milter.keys()...)
	return append(keys, c.Log.keys()...)
}

func (a *Auth) keys() []Key {
	return []Key{
		newKey("auth.command", "", "command that knows the passwords of users who have none in the user file").argv(&a.Command),
		newKey("auth.token_command", "", "command that knows the OAuth tokens of users").argv(&a.TokenCommand),
	}
}

func (t *TLS) keys() []Key {
	return []Key{
		newKey("tls.cert", "", "PEM file with the certificate chain of the servers").text(&t.Cert, nil),
		newKey("tls.key", "", "PEM file with its private key").text(&t.Key, nil),
		newKey("tls.more", "", "further certificates by name or kind of key, as chain.pem:key.pem").list(&t.More, checkPair),
		newKey("tls.ca", "", "PEM file with the roots that clients trust").text(&t.CA, nil),
		newKey("tls.policy", "opportunistic", "TLS towards other servers").
			oneOf(&t.Policy, tlsPolicies()...),
		newKey("tls.mta_sts", "true", "follow the MTA-STS policies of domains").yesNo(&t.MTASTS),
		newKey("tls.fingerprints", "", "certificates or keys of which the smarthost must have one").list(&t.Fingerprints, checkFingerprint),
		newKey("tls.client_cert", "", "PEM file with the certificate that clients show").text(&t.ClientCert, nil),
		newKey("tls.client_key", "", "PEM file with its private key").text(&t.ClientKey, nil),
	}
}

func (s *SMTP) keys() []Key {
	return []Key{
		newKey("smtp.listen", "127.0.0.1:2525", "addresses of serve-smtp").list(&s.Listen, checkListen),
		newKey("smtp.role", "any", "what serve-smtp is for").
			oneOf(&s.Role, RoleAny, RoleMX, RoleSubmission, RoleSubmissions),
		newKey("smtp.max_size", "50M", "largest message").size(&s.MaxSize),
		newKey("smtp.max_rcpts", "1000", "recipients of a message").count(&s.MaxRcpts),
		newKey("smtp.max_messages", "100", "messages of a connection without AUTH").count(&s.MaxMessages),
		newKey("smtp.max_hold", "30d", "how long a message may wait for its release (FUTURERELEASE)").span(&s.MaxHold),
		newKey("smtp.timeout", "300s", "wait for a command").span(&s.Timeout),
		newKey("smtp.data_timeout", "600s", "how far the data of a message may fall behind smtp.min_rate").span(&s.DataTimeout),
		newKey("smtp.min_rate", "100", "octets a second that message data has to come at").limit(&s.MinRate),
		newKey("smtp.greet_delay", "0s", "wait for clients that talk before the greeting").span(&s.GreetDelay),
		newKey("smtp.max_connections", "1000", "connections at once").count(&s.MaxConnections),
		newKey("smtp.max_per_address", "50", "connections at once from an IP address").
			count(&s.MaxPerAddress),
		newKey("smtp.max_rcpts_per_hour", "0", "recipients an hour of an authenticated user").limit(&s.MaxRcptsUser),
		newKey("smtp.max_rcpts_per_address", "0", "recipients an hour of a client without AUTH").
			limit(&s.MaxRcptsAddress),
		newKey("smtp.max_bad_commands", "20", "errors before a client is sent away").
			count(&s.MaxBadCommands),
		newKey("smtp.proxy_from", "", "networks of proxies, which send a PROXY header").networks(&s.ProxyFrom),
		newKey("smtp.xclient_from", "", "networks that may use XCLIENT").networks(&s.XClientFrom),
		newKey("smtp.relay_networks", "", "networks whose clients may relay without AUTH").networks(&s.RelayNetworks),
		newKey("smtp.auth_required", "false", "no mail without AUTH").yesNo(&s.AuthRequired),
		newKey("smtp.any_sender", "false", "authenticated users may use senders that are not theirs").yesNo(&s.AnySender),
		newKey("smtp.allow_insecure_auth", "false", "AUTH without TLS, on loopback only").
			yesNo(&s.AllowInsecureAuth),
	}
}

func (m *Mailbox) keys(proto, listen, timeout string) []Key {
	return []Key{
		newKey(proto+".listen", listen, "addresses of serve-"+proto).list(&m.Listen, checkListen),
		newKey(proto+".timeout", timeout, "wait for a command").span(&m.Timeout),
		newKey(proto+".max_connections", "1000", "connections at once").count(&m.MaxConnections),
		newKey(proto+".max_per_address", "50", "connections at once from an IP address").count(&m.MaxPerAddress),
		newKey(proto+".proxy_from", "", "networks of proxies, which send a PROXY header").networks(&m.ProxyFrom),
	}
}

func (q *Queue) keys() []Key {
	return []Key{
		newKey("queue.step", "400s", "age at the second try; try n+1 is at n² times this").span(&q.Step),
		newKey("queue.lifetime", "5d", "age at which a message bounces").span(&q.Lifetime),
		newKey("queue.warn_after", "4h", "age at which the sender is warned").span(&q.WarnAfter),
		newKey("queue.parallel", "20", "messages worked on at once").count(&q.Parallel),
		newKey("queue.per_destination", "20", "connections to a destination at once").count(&q.PerDestination),
		newKey("queue.messages_per_connection", "0", "messages over a connection to another server, if not 0").limit(&q.PerConnection),
		newKey("queue.source", "", "addresses that connections to other servers come from").addresses(&q.Source),
		newKey("queue.discard_ehlo_keywords", "", "extensions that other servers offer and that are not used").list(&q.Discard, checkKeyword),
	}
}

// RouteKeys lists the keys of a [route."DOMAIN"] table; their names have no prefix.
func RouteKeys() []Key { return new(Route).keys("") }

func (r *Route) keys(prefix string) []Key {
	keys := []Key{
		newKey(prefix+"via", "", "URLs of the servers that take the mail, tried in order, or a command; the MX hosts if empty").
			servers(&r.Via),
		newKey(prefix+"tls", "", "in the place of tls.policy").oneOf(&r.TLS, tlsPolicies()...),
		newKey(prefix+"fingerprints", "", "certificates or keys of which the server must have one").list(&r.Fingerprints, checkFingerprint),
		newKey(prefix+"client_cert", "", "in the place of tls.client_cert").text(&r.ClientCert, nil),
		newKey(prefix+"client_key", "", "in the place of tls.client_key").text(&r.ClientKey, nil),
		newKey(prefix+"source", "", "in the place of queue.source").addresses(&r.Source),
		newKey(prefix+"connections", "0", "in the place of queue.per_destination, if not 0").limit(&r.Connections),
		newKey(prefix+"messages_per_connection", "0", "in the place of queue.messages_per_connection, if not 0").limit(&r.Messages),
		newKey(prefix+"discard_ehlo_keywords", "", "in the place of queue.discard_ehlo_keywords").list(&r.Discard, checkKeyword),
		newKey(prefix+"token_command", "", "command that prints an OAuth token for the servers").argv(&r.TokenCommand),
		newKey(prefix+"mechanism", "", "the only SASL mechanism that may be used").text(&r.Mechanism, checkMechanism),
	}
	return append(keys, r.Password.keys(prefix, "of the servers")...)
}

func tlsPolicies() []string { return []string{"none", "opportunistic", "required", "verified"} }

func (l *Log) keys() []Key {
	return []Key{
		newKey("log.level", "info", "least severity that is logged").
			oneOf(&l.Level, "debug", "info", "warn", "error"),
		newKey("log.format", "text", "form of a log line").oneOf(&l.Format, "text", "json"),
	}
}

func (s *Secret) keys(prefix, whose string) []Key {
	return []Key{
		newKey(prefix+"password", "", "password "+whose+", in a file that nobody else may read").hidden().
			text(&s.Text, nil),
		newKey(prefix+"password_file", "", "file with the password "+whose).text(&s.File, nil),
		newKey(prefix+"password_command", "", "command that prints the password "+whose).argv(&s.Command),
		newKey(prefix+"password_env", "", "variable with the password "+whose).text(&s.Env, nil),
	}
}

func (a *Account) keys(prefix string) []Key {
	keys := []Key{
		newKey(prefix+"url", "", "the mailbox, pop3s://user@host or imaps://user@host/FOLDER").server(&a.URL, accountSchemes),
		newKey(prefix+"smarthost", "", "URLs of the servers that take the mail of the account, tried in order").
			servers(&a.Smarthost),
		newKey(prefix+"from", "", "addresses whose mail goes by the account; * stands for any text").list(&a.From, checkPattern),
		newKey(prefix+"tls", "", "in the place of tls.policy towards the smarthost of the account").oneOf(&a.TLS, tlsPolicies()...),
		newKey(prefix+"fingerprints", "", "certificates or keys of which the smarthost of the account must have one").
			list(&a.Fingerprints, checkFingerprint),
		newKey(prefix+"rewrite_from", "false", "what goes out is from the first address in from, whoever has sent it").
			yesNo(&a.Rewrite),
		newKey(prefix+"delete", "false", "remove messages from the server when they are stored here").
			yesNo(&a.Delete),
		newKey(prefix+"delete_after", "0s", "remove messages from the server so long after they were fetched").span(&a.DeleteAfter),
		newKey(prefix+"max_size", "0", "leave larger messages on the server").size(&a.MaxSize),
		newKey(prefix+"max_age", "0s", "leave older messages on the server").span(&a.MaxAge),
		newKey(prefix+"folders", "", "folders of an IMAP account; INBOX if there are none").list(&a.Folders, anyText),
		newKey(prefix+"all_folders", "false", "all folders of an IMAP account").yesNo(&a.AllFolders),
		newKey(prefix+"flags", "false", "keep the flags of an IMAP account, such as read").yesNo(&a.KeepFlags),
		newKey(prefix+"poll", "5m", "how often --idle asks a server that can't tell").span(&a.Poll),
		newKey(prefix+"into", "", "local user or Maildir that gets the mail").text(&a.Into, nil),
		newKey(prefix+"deliver", "", "local user to whom the mail is delivered as by mailx deliver").text(&a.Deliver, nil),
		newKey(prefix+"exec", "", "command that gets each message on its standard input").argv(&a.Exec),
		newKey(prefix+"lmtp", "", "path of a socket, or host:port, of an LMTP server that gets the mail").text(&a.LMTP, nil),
		newKey(prefix+"smtp", "", "URL of an SMTP server that gets the mail").server(&a.SMTP, smarthostSchemes),
		newKey(prefix+"recipients", "", "addresses to which lmtp and smtp deliver").list(&a.Recipients, checkAddress),
		newKey(prefix+"token_command", "", "command that prints an OAuth token for the account").argv(&a.TokenCommand),
		newKey(prefix+"mechanism", "", "the only SASL mechanism that may be used").text(&a.Mechanism, nil),
	}
	return append(keys, a.Password.keys(prefix, "of the account")...)
}

// Example is the default as TOML, or an empty value of the right type.
func (k Key) Example() string {
	switch {
	case k.split != nil && k.Default == "":
		return "[]"
	case k.split != nil:
		return `["` + strings.Join(k.split(k.Default), `", "`) + `"]`
	case k.Default == "true", k.Default == "false", strings.Trim(k.Default, "0123456789") == "" && k.Default != "":
		return k.Default
	}
	return `"` + k.Default + `"`
}
