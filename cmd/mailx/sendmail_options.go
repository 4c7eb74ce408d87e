package main

import (
	"fmt"
	"strings"

	"mailx/pkg/config"
	"mailx/pkg/mail"
	"mailx/pkg/message"
)

// sendmailMode is what sendmail(8) is asked to be, by -b or one of its short forms.
type sendmailMode uint8

const (
	sendmailSubmit  sendmailMode = iota // -bm: take a message from standard input
	sendmailSMTP                        // -bs: an SMTP session on standard input and output
	sendmailList                        // -bp: print the queue
	sendmailFlush                       // -q: work the queue once
	sendmailVerify                      // -bv: say where addresses lead
	sendmailAliases                     // -bi, -I: aliases need no making
	sendmailHelp                        // --help
)

// sendmailLine is a command line of sendmail(8), read and checked. The zero value is that of sendmail without options.
type sendmailLine struct {
	mode  sendmailMode
	rcpts []message.Mailbox

	fromHeader bool          // -t: the header names recipients too
	ignoreDots bool          // -i: a lone dot is text, at a terminal too
	queueOnly  bool          // -odq, -odd: no attempt now
	verbose    bool          // -v
	json       bool          // --json
	sender     *mail.Address // -f, -r; nil: who runs this
	fullName   string        // -F

	notify mail.Notify // -N
	ret    mail.Ret    // -R
	envID  string      // -V
	kind   mail.Body   // -B

	onlyDue bool     // -q with an interval: what is due, and not all
	ids     []string // -qI: only entries with one of these in their id
	senders []string // -qS: in their sender
	toWhom  []string // -qR: in a recipient
}

// sendmailOption is an option by its letter. One without a function is taken and means nothing here.
type sendmailOption struct {
	takesValue bool
	// next, if set, makes the value optional: it says which next words are one, if there is none in the same word.
	next func(word string) bool
	do   func(p *sendmailParser, value string)
}

// sendmailOptions is the table of the options that sendmail, Postfix and Exim have between them, as far as their callers use
// them. It is a function so that nothing is made before it is needed.
func sendmailOptions() map[byte]sendmailOption {
	ignored, ignoredValue := sendmailOption{}, sendmailOption{takesValue: true}
	digit := func(word string) bool { return word != "" && word[0] >= '0' && word[0] <= '9' }
	value := func(do func(*sendmailParser, string)) sendmailOption { return sendmailOption{takesValue: true, do: do} }
	plain := func(do func(*sendmailParser)) sendmailOption {
		return sendmailOption{do: func(p *sendmailParser, _ string) { do(p) }}
	}
	return map[byte]sendmailOption{
		'b': value((*sendmailParser).setMode),
		'B': value((*sendmailParser).setBody),
		'f': value((*sendmailParser).setSender),
		'r': value((*sendmailParser).setSender),
		'F': value((*sendmailParser).setFullName),
		'N': value((*sendmailParser).setNotify),
		'R': value((*sendmailParser).setRet),
		'V': value((*sendmailParser).setEnvID),
		'o': value((*sendmailParser).setShort),
		'O': value((*sendmailParser).setLong),
		'q': {takesValue: true, next: isInterval, do: (*sendmailParser).setFlush},
		'i': plain(func(p *sendmailParser) { p.line.ignoreDots = true }),
		't': plain(func(p *sendmailParser) { p.line.fromHeader = true }),
		'v': plain(func(p *sendmailParser) { p.line.verbose = true }),
		'I': plain(func(p *sendmailParser) { p.choose(sendmailAliases) }),

		'A': ignoredValue, // -Ac, -Am: which of two configurations
		'C': ignoredValue, // a configuration file of another program
		'D': ignoredValue,
		'e': ignoredValue, // -em, -eq: how to tell of errors; the exit code and standard error do
		'h': ignoredValue, // hops; Received fields are counted
		'L': ignoredValue,
		'M': ignoredValue,
		'p': ignoredValue,
		'X': ignoredValue,
		'd': {takesValue: true, next: digit}, // -d0-4.1; -d alone
		'Q': {takesValue: true, next: func(string) bool { return false }},
		'c': ignored, 'E': ignored, 'G': ignored, 'm': ignored, 'n': ignored, 's': ignored, 'T': ignored, 'U': ignored,
		'x': ignored,
	}
}

// isInterval reports a time such as 30m or 1h30m, with its unit.
func isInterval(word string) bool {
	_, err := config.ParseDuration(word)
	return err == nil && word[0] >= '0' && word[0] <= '9' && strings.Trim(word, "0123456789") != ""
}

// sendmailParser reads a command line. The first error sticks.
type sendmailParser struct {
	line   sendmailLine
	values sendReader
	chosen bool // the mode was given
}

// parseSendmail reads the words behind the name of sendmail(8). Options may stand between recipients, until "--". A
// wrong option is exit 64, a bad value 65.
func parseSendmail(args []string) (*sendmailLine, error) {
	p, options := &sendmailParser{}, sendmailOptions()
	for len(args) > 0 && p.values.err == nil {
		word := args[0]
		args = args[1:]
		switch {
		case word == "--":
			for _, word := range args {
				p.recipient(word)
			}
			args = nil
		case word == "--json":
			p.line.json = true
		case word == "--help":
			return &sendmailLine{mode: sendmailHelp}, nil
		case strings.HasPrefix(word, "--"):
			p.usage("unknown option %s", printable(word))
		case word == "-" || !strings.HasPrefix(word, "-"):
			p.recipient(word)
		default:
			args = args[p.cluster(word[1:], args, options):]
		}
	}
	if p.values.err == nil {
		p.values.err = p.line.check()
	}
	if p.values.err != nil {
		return nil, p.values.err
	}
	return &p.line, nil
}

// recipient takes a word that is a list of addresses with commas, which may be empty: "a@x," b@y.
func (p *sendmailParser) recipient(word string) {
	p.line.rcpts = append(p.line.rcpts, p.values.parse("recipient", word)...)
}

// cluster reads the letters of one word, "ti" or "iFName", and says how many of the next words are a value of theirs.
func (p *sendmailParser) cluster(letters string, next []string, options map[byte]sendmailOption) (used int) {
	for i := range len(letters) {
		o, known := options[letters[i]]
		if !known {
			p.usage("unknown option -%s", printable(letters[i:i+1]))
			return 0
		}
		if !o.takesValue {
			o.act(p, "")
			continue
		}
		value := letters[i+1:]
		switch {
		case value != "":
		case len(next) > 0 && (o.next == nil || o.next(next[0])):
			value, used = next[0], 1
		case o.next == nil:
			p.usage("option -%c needs a value", letters[i])
			return 0
		}
		if letters[i] == 'q' && used == 0 && len(value) == 1 && strings.Contains("ISR", value) && len(next) > 0 {
			value, used = value+next[0], 1 // -qI id
		}
		o.act(p, value)
		return used
	}
	return 0
}

func (o sendmailOption) act(p *sendmailParser, value string) {
	if o.do != nil {
		o.do(p, value)
	}
}

func (p *sendmailParser) usage(format string, args ...any) {
	if p.values.err == nil {
		p.values.err = usagef(format, args...)
	}
}

// printable is for error messages: one octet or more of a command line, in one line.
func printable(s string) string { return strings.Trim(fmt.Sprintf("%q", s), `"`) }

// choose sets the mode; -q does not outdo a -b.
func (p *sendmailParser) choose(mode sendmailMode) { p.line.mode, p.chosen = mode, true }

func (p *sendmailParser) setMode(value string) {
	modes := map[string]sendmailMode{"m": sendmailSubmit, "s": sendmailSMTP, "p": sendmailList, "v": sendmailVerify,
		"i": sendmailAliases}
	mode, known := modes[value]
	switch {
	case known:
		p.choose(mode)
	case value == "d" || value == "D":
		p.usage("-b%s: no daemon under this name; see mailx serve-smtp, and mailx queue flush for cron", value)
	default:
		p.usage("-b %s: the modes are -bm, -bs, -bp, -bv and -bi", printable(value))
	}
}

// setBody declares the message (RFC 6152). What other types there are is found out by looking.
func (p *sendmailParser) setBody(value string) {
	p.line.kind = mail.Body7Bit
	if strings.EqualFold(value, "8BITMIME") {
		p.line.kind = mail.Body8BitMIME
	}
}

// setSender takes what -f has: a path, an address, or the name of a user; also a whole mailbox, of which only the
// address counts.
func (p *sendmailParser) setSender(value string) {
	value = strings.Trim(value, " ")
	if open := strings.IndexByte(value, '<'); open > 0 {
		if list := p.values.parse("-f", value); len(list) == 1 {
			p.line.sender = &list[0].Address
			return
		}
		p.values.bad("-f", "one address is needed")
	}
	p.line.sender = p.values.reversePath("-f", value)
}

func (p *sendmailParser) setFullName(value string) {
	p.values.clean("-F", value)
	p.line.fullName = value
}

// setNotify reads the values of NOTIFY (RFC 3461 §4.1), in any letter case.
func (p *sendmailParser) setNotify(value string) {
	var reason string
	if p.line.notify, reason = parseNotify(value); reason != "" {
		p.usage("-N %s: %s", printable(value), reason)
	}
}

func (p *sendmailParser) setRet(value string) {
	switch strings.ToLower(value) {
	case "full":
		p.line.ret = mail.RetFull
	case "hdrs":
		p.line.ret = mail.RetHeaders
	default:
		p.usage("-R %s: full or hdrs", printable(value))
	}
}

// setEnvID takes what ENVID may be (RFC 3461 §4.4): printable and at most 100 octets.
func (p *sendmailParser) setEnvID(value string) {
	if !isEnvID(value) {
		p.values.bad("-V", "at most 100 printable characters")
	}
	p.line.envID = value
}

// setShort reads an option of -o. Those that nobody knows are no error: the next sendmail has others.
func (p *sendmailParser) setShort(value string) {
	switch {
	case value == "i":
		p.line.ignoreDots = true
	case strings.HasPrefix(value, "d"):
		p.setDeliveryMode(value[1:])
	}
}

// setLong reads Name=value.
func (p *sendmailParser) setLong(value string) {
	name, value, _ := strings.Cut(value, "=")
	switch {
	case strings.EqualFold(name, "IgnoreDots"):
		p.line.ignoreDots = value == "" || strings.ContainsAny(value[:1], "TtYy1")
	case strings.EqualFold(name, "DeliveryMode"):
		p.setDeliveryMode(value)
	}
}

// setDeliveryMode: q and d only queue; i and b and all others try now, and wait for it.
func (p *sendmailParser) setDeliveryMode(mode string) {
	p.line.queueOnly = strings.HasPrefix(mode, "q") || strings.HasPrefix(mode, "d")
}

// setFlush reads -q, -q30m, -qIid, -qSsender, -qRrecipient. What else there is behind a q, -qf, -qp1m, is one pass.
func (p *sendmailParser) setFlush(value string) {
	if !p.chosen {
		p.line.mode = sendmailFlush
	}
	lists := map[byte]*[]string{'I': &p.line.ids, 'S': &p.line.senders, 'R': &p.line.toWhom}
	switch {
	case value == "":
	case lists[value[0]] == nil:
		p.line.onlyDue = isInterval(value)
	case len(value) == 1:
		p.usage("-q%s needs a value", value)
	default:
		list := lists[value[0]]
		*list = append(*list, value[1:])
	}
}

// check refuses what makes no sense together.
func (l *sendmailLine) check() error {
	has := len(l.rcpts) > 0
	switch l.mode {
	case sendmailSubmit:
		if !has && !l.fromHeader {
			return usagef("no recipients: name them, or use -t for those in the header")
		}
	case sendmailVerify:
		if !has {
			return usagef("-bv: which addresses?")
		}
	case sendmailFlush, sendmailSMTP, sendmailList:
		if has {
			return usagef("%s is not needed here: nothing is sent to it", l.rcpts[0].Address.Path())
		}
		if l.fromHeader && l.mode == sendmailFlush {
			return usagef("-q works the queue and takes no message; leave out -t")
		}
	}
	return nil
}
