package main

import "strings"

// msmtpMode is what msmtp(1) is asked to be.
type msmtpMode uint8

const (
	msmtpSend    msmtpMode = iota
	msmtpPretend           // -P: print the settings
	msmtpVersion
	msmtpHelp
)

// msmtpLine is a command line of msmtp(1), read and checked: that of sendmail(8) with what msmtp has beside it.
type msmtpLine struct {
	sendmailLine
	mode     msmtpMode
	readFrom bool   // --read-envelope-from: the sender is in the header
	trace    bool   // -d
	file     string // -C; "" for the usual ones
	account  string // -a
	// set are the commands of a msmtprc that the line has, and win over those of the account.
	set map[string]string
}

// msmtpValue says what a long option may have behind it.
type msmtpValue uint8

const (
	msmtpNone    msmtpValue = iota
	msmtpMayHave            // only after "=", as in --tls=off
	msmtpNeeds
)

// msmtpLong gives the long options that are commands of a msmtprc by another spelling, --tls-trust-file for tls_trust_file.
func msmtpLong() map[string]msmtpValue {
	return map[string]msmtpValue{
		"host": msmtpNeeds, "port": msmtpNeeds, "source-ip": msmtpMayHave, "proxy-host": msmtpMayHave, "proxy-port": msmtpMayHave,
		"socket": msmtpMayHave, "timeout": msmtpNeeds, "connect-timeout": msmtpNeeds, "protocol": msmtpNeeds, "domain": msmtpNeeds,
		"auth": msmtpMayHave, "user": msmtpNeeds, "passwordeval": msmtpNeeds, "tls": msmtpMayHave, "tls-starttls": msmtpMayHave,
		"tls-trust-file": msmtpNeeds, "tls-crl-file": msmtpNeeds, "tls-fingerprint": msmtpNeeds, "tls-key-file": msmtpNeeds,
		"tls-cert-file": msmtpNeeds, "tls-certcheck": msmtpMayHave, "tls-priorities": msmtpNeeds, "tls-host-override": msmtpNeeds,
		"tls-min-dh-prime-bits": msmtpNeeds, "auto-from": msmtpMayHave, "maildomain": msmtpMayHave, "aliases": msmtpMayHave,
		"logfile": msmtpMayHave, "logfile-time-format": msmtpNeeds, "syslog": msmtpMayHave, "keepbcc": msmtpMayHave,
		"remove-bcc-headers": msmtpMayHave, "undisclosed-recipients": msmtpMayHave, "set-from-header": msmtpMayHave,
		"set-date-header": msmtpMayHave, "set-msgid-header": msmtpMayHave, "add-missing-from-header": msmtpMayHave,
		"add-missing-date-header": msmtpMayHave, "allow-from-override": msmtpMayHave,
	}
}

// msmtpParser reads a command line: the letters are those of sendmail(8), but for some.
type msmtpParser struct {
	sendmailParser
	line    msmtpLine
	options map[byte]sendmailOption
}

// msmtpLetters are the options of sendmail with those of msmtp over them.
func (p *msmtpParser) msmtpLetters() map[byte]sendmailOption {
	options := sendmailOptions()
	value := func(to *string) sendmailOption {
		return sendmailOption{takesValue: true, do: func(_ *sendmailParser, value string) { *to = value }}
	}
	plain := func(do func()) sendmailOption {
		return sendmailOption{do: func(*sendmailParser, string) { do() }}
	}
	options['a'] = value(&p.line.account)
	options['C'] = value(&p.line.file)
	options['P'] = plain(func() { p.line.mode = msmtpPretend })
	options['d'] = plain(func() { p.line.trace = true })
	options['v'] = options['d']
	options['N'] = sendmailOption{takesValue: true, do: msmtpUnlessOff((*sendmailParser).setNotify)}
	options['R'] = sendmailOption{takesValue: true, do: msmtpUnlessOff((*sendmailParser).setRet)}
	options['S'] = plain(func() {
		p.usage("-S: asking a server is no part of sending; mailx explain says where an address leads")
	})
	for _, letter := range []byte("qIVrMpQD") { // sendmail has them, msmtp does not
		delete(options, letter)
	}
	options['b'] = sendmailOption{takesValue: true, do: func(q *sendmailParser, value string) {
		if value != "m" {
			q.usage("-b%s: only mail is sent under this name", printable(value))
		}
	}}
	return options
}

// msmtpUnlessOff takes the word off for what is so anyway, and headers for hdrs.
func msmtpUnlessOff(set func(*sendmailParser, string)) func(*sendmailParser, string) {
	return func(p *sendmailParser, value string) {
		switch value {
		case "off":
		case "headers":
			set(p, "hdrs")
		default:
			set(p, value)
		}
	}
}

// parseMsmtp reads the words behind the name of msmtp(1). A wrong option is exit 64, a bad value 65.
func parseMsmtp(args []string) (*msmtpLine, error) {
	p := &msmtpParser{line: msmtpLine{set: map[string]string{}}}
	p.options = p.msmtpLetters()
	for len(args) > 0 && p.values.err == nil {
		word := args[0]
		args = args[1:]
		long, isLong := strings.CutPrefix(word, "--")
		switch {
		case word == "--":
			for _, word := range args {
				p.recipient(word)
			}
			args = nil
		case isLong:
			args = args[p.long(long, args):]
		case word == "-" || !strings.HasPrefix(word, "-"):
			p.recipient(word)
		default:
			args = args[p.cluster(word[1:], args, p.options):]
		}
	}
	p.line.sendmailLine = p.sendmailParser.line
	if p.values.err == nil && p.line.mode == msmtpSend {
		p.values.err = p.line.check()
	}
	if p.values.err == nil && p.line.account != "" && p.line.set["host"] != "" {
		p.values.err = usagef("either --account or --host")
	}
	if p.values.err != nil {
		return nil, p.values.err
	}
	return &p.line, nil
}

// long reads a long option, and says how many of the next words are its value.
func (p *msmtpParser) long(word string, next []string) (used int) {
	name, value, glued := strings.Cut(word, "=")
	if letter, is := p.longLetter(name); is {
		return p.asLetter(name, letter, value, glued, next)
	}
	switch {
	case name == "version":
		p.line.mode = msmtpVersion
		return 0
	case name == "help":
		p.line.mode = msmtpHelp
		return 0
	case name == "read-envelope-from":
		p.line.readFrom = true
		return 0
	}
	kind, known := msmtpLong()[name]
	switch {
	case !known:
		p.usage("unknown option --%s", printable(name))
		return 0
	case kind == msmtpNeeds && !glued:
		if len(next) == 0 {
			p.usage("option --%s needs a value", name)
			return 0
		}
		value, used = next[0], 1
	}
	if p.values.clean("--"+name, value) {
		p.line.set[strings.ReplaceAll(name, "-", "_")] = value
	}
	return used
}

// longLetter gives the letter of the long options that have one.
func (p *msmtpParser) longLetter(name string) (byte, bool) {
	letter, is := map[string]byte{"file": 'C', "account": 'a', "pretend": 'P', "debug": 'd', "serverinfo": 'S', "from": 'f',
		"dsn-notify": 'N', "dsn-return": 'R', "read-recipients": 't'}[name]
	return letter, is
}

func (p *msmtpParser) asLetter(name string, letter byte, value string, glued bool, next []string) (used int) {
	o := p.options[letter]
	switch {
	case o.takesValue && !glued:
		if len(next) == 0 {
			p.usage("option --%s needs a value", name)
			return 0
		}
		value, used = next[0], 1
	case !o.takesValue && glued:
		p.usage("option --%s takes no value", name)
	}
	o.act(&p.sendmailParser, value)
	return used
}
