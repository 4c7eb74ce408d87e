package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"mailx/pkg/config"
	"mailx/pkg/delivery"
	"mailx/pkg/mail"
	"mailx/pkg/maildir"
	"mailx/pkg/message"
	"mailx/pkg/smtp"
)

// handoverFlags say whom a message is for beside its header, and how it gets there.
func (e *env) handoverFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "to-file", Usage: "to the addresses in `FILE`, a line each"},
		&cli.StringFlag{Name: "bcc-file", Usage: "a copy that nobody sees to the addresses in `FILE`"},
		&cli.StringFlag{Name: "envelope-from", Aliases: []string{"f"}, Usage: "the reverse-path is `ADDRESS`; empty or <> is the null one"},
		&cli.BoolFlag{Name: "from-header", Aliases: []string{"t"}, Usage: "the whole message is on standard input; its header names recipients too"},
		&cli.BoolFlag{Name: "each", Usage: "send everybody a message of his own"},
		&cli.StringFlag{Name: "merge", Usage: "send a message of his own for each row of `FILE`, CSV or JSON, which the templates are about"},
		&cli.StringFlag{Name: "merge-field", Usage: "the field `NAME` of a row has the address", Value: "email"},
		&cli.BoolFlag{Name: "skip-empty", Usage: "send nothing if there is nothing to send"},
		&cli.StringFlag{Name: "notify", Usage: "the sender wants to be told of `EVENTS`: never, or some of success, failure, delay"},
		&cli.StringFlag{Name: "ret", Usage: "a notice of failure brings back `WHAT`: full or hdrs"},
		&cli.StringFlag{Name: "envid", Usage: "notices name the message `TEXT`"},
		&cli.StringFlag{Name: "save-to", Usage: "keep a copy in `FOLDER`, or in a Maildir"},
		&cli.StringFlag{Name: "account", Usage: "send with the account `NAME`"},
		&cli.IntFlag{Name: "password-fd", Usage: "read the password for the server from the descriptor `N`"},
		e.keyFlag("server", "smarthost", "hand all remote mail to the server at `URL`"),
		&cli.BoolFlag{Name: "queue", Usage: "only store the message in the queue"},
		&cli.BoolFlag{Name: "now", Usage: "deliver now or fail; nothing is stored"},
		&cli.StringFlag{Name: "timeout", Usage: "give the attempt `TIME`", Value: config.FormatDuration(defaultAttempt)},
		&cli.BoolFlag{Name: "dry-run", Usage: "print the message instead of sending it, the envelope on standard error"},
		&cli.BoolFlag{Name: "crlf", Usage: "with --dry-run: lines end in CRLF, as on the wire"},
		&cli.BoolFlag{Name: "trace", Usage: "show the dialog on standard error, secrets masked"},
		&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "say what became of each recipient"},
		jsonFlag(),
	}
}

// Bounds of what a list of recipients may have.
const (
	maxRecipientFile = 16 << 20 // octets
	maxRecipients    = 10_000   // of one message; --each makes many of it
)

// checkHandoverFlags refuses what makes no sense together.
func checkHandoverFlags(c *cli.Context, given func(names ...string) []string) error {
	for _, group := range [][]string{{"queue", "now", "dry-run"}, {"account", "server"}, {"save-to", "dry-run"}, {"json", "dry-run"}} {
		if set := given(group...); len(set) > 1 {
			return usagef("either %s or %s", set[0], set[1])
		}
	}
	named := given("to", "to-file", "data")
	others := given("from-header", "cc", "bcc", "bcc-file")
	switch {
	case c.IsSet("merge") && len(others) > 0:
		return usagef("with --merge everybody gets a message of his own: leave out %s", others[0])
	case c.IsSet("merge") && len(named) > 0:
		return usagef("with --merge the rows name the recipients and are the data: leave out %s", named[0])
	case c.IsSet("merge") && c.Args().Present():
		return usagef("with --merge the rows name the recipients: leave out %s", c.Args().First())
	case c.IsSet("merge-field") && !c.IsSet("merge"):
		return usagef("--merge-field is for --merge")
	case c.Bool("each") && len(others) > 0:
		return usagef("with --each everybody gets a message of his own: leave out %s", others[0])
	case c.Bool("crlf") && !c.Bool("dry-run"):
		return usagef("--crlf is for --dry-run")
	}
	return nil
}

// handover reads the options that are not about the content.
func (r *sendReader) handover(o *sendOptions) {
	c := r.c
	o.sender, o.account, o.passwordFD = r.sender("envelope-from"), r.text("account"), r.descriptor("password-fd")
	o.timeout = r.duration("timeout")
	o.whole, o.fromHeader, o.skipEmpty = c.Bool("from-header"), c.Bool("from-header"), c.Bool("skip-empty")
	o.each, o.saveTo = c.Bool("each"), r.text("save-to")
	o.queue, o.now, o.dryRun, o.crlf = c.Bool("queue"), c.Bool("now"), c.Bool("dry-run"), c.Bool("crlf")
	o.trace, o.json, o.verbose = c.Bool("trace"), c.Bool("json"), c.Bool("verbose")
	if c.IsSet("save-to") && o.saveTo == "" && r.err == nil {
		r.err = usagef("--save-to: which folder?")
	}
	r.notices(o)
}

// notices reads what the sender wants to be told (RFC 3461).
func (r *sendReader) notices(o *sendOptions) {
	var reason string
	if r.c.IsSet("notify") {
		if o.notify, reason = parseNotify(r.c.String("notify")); reason != "" {
			reason = fmt.Sprintf("--notify %q: %s", r.c.String("notify"), reason)
		}
	}
	switch ret := strings.ToLower(r.c.String("ret")); {
	case reason != "":
	case !r.c.IsSet("ret"):
	case ret == "full":
		o.ret = mail.RetFull
	case ret == "hdrs":
		o.ret = mail.RetHeaders
	default:
		reason = "--ret is full or hdrs"
	}
	o.envID = r.c.String("envid")
	switch {
	case reason != "" && r.err == nil:
		r.err = usagef("%s", reason)
	case !isEnvID(o.envID):
		r.bad("--envid", "at most 100 printable characters, and no blanks")
	}
}

// isEnvID reports what ENVID may be (RFC 3461 §4.4).
func isEnvID(s string) bool {
	return len(s) <= 100 && !strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c >= 0x7f })
}

// parseNotify reads the values of NOTIFY (RFC 3461 §4.1), in any letter case; a reason says what is wrong with them.
func parseNotify(value string) (n mail.Notify, reason string) {
	words := strings.Split(value, ",")
	for _, word := range words {
		i := slices.Index(eventNames(), strings.ToLower(strings.TrimSpace(word)))
		if i < 0 {
			return 0, "never, or some of success, failure and delay with commas"
		}
		n |= mail.Notify(1) << i
	}
	if n&mail.NotifyNever != 0 && n != mail.NotifyNever {
		return 0, "never stands alone"
	}
	return n, ""
}

// eventNames has the names of the bits of mail.Notify, in their order.
func eventNames() []string { return []string{"never", "success", "failure", "delay"} }

func notifyText(n mail.Notify) string {
	var words []string
	for i, word := range eventNames() {
		if n&(1<<i) != 0 {
			words = append(words, strings.ToUpper(word))
		}
	}
	return strings.Join(words, ",")
}

// senderParams is what MAIL says of notices.
func senderParams(env *mail.Envelope) string {
	text := map[mail.Ret]string{mail.RetFull: " RET=FULL", mail.RetHeaders: " RET=HDRS"}[env.Ret]
	if env.EnvID != "" {
		text += " ENVID=" + env.EnvID
	}
	return text
}

// recipientFiles adds what --to-file and --bcc-file name.
func (r *sendReader) recipientFiles(o *sendOptions) {
	o.to = append(o.to, r.recipientFile(o, "to-file")...)
	o.bcc = append(o.bcc, r.recipientFile(o, "bcc-file")...)
}

// recipientFile reads lines with addresses. Empty ones, and those that begin with #, are for people.
func (r *sendReader) recipientFile(o *sendOptions, flag string) []message.Mailbox {
	if !r.c.IsSet(flag) {
		return nil
	}
	var all []message.Mailbox
	n := 0
	for line := range strings.Lines(string(r.whole(o, flag, maxRecipientFile))) {
		n++
		line = strings.TrimSpace(line)
		if line != "" && line[0] != '#' && r.err == nil {
			all = append(all, r.parse(fmt.Sprintf("--%s, line %d", flag, n), line)...)
		}
	}
	return all
}

// handover gives letters away, all in the same way.
type handover struct {
	e   *env
	sys *system
	opt *sendOptions

	carrier *delivery.Transport // kept between letters; nil: none is open
	folder  *maildir.Dir        // for copies; nil: not opened yet
	waits   []waiting           // what was queued without a try, or for trouble of ours
	unsaved error               // a copy that could not be kept
}

// waiting is a letter in the queue that nobody else will tell of.
type waiting struct {
	why, queueID, next string
	isTrouble          bool
}

func (h *handover) close() {
	if h.carrier != nil {
		h.carrier.Relay.Close()
	}
}

// limited gives the attempt its time.
func (h *handover) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, h.opt.timeout, fmt.Errorf("not done within %s", config.FormatDuration(h.opt.timeout)))
}

// letter builds a letter, and says by which account it goes; nil if it is empty and --skip-empty was given.
func (h *handover) letter(opt *sendOptions) (*letter, error) {
	l, err := h.e.letter(h.sys, opt)
	if err != nil || l == nil {
		return nil, err
	}
	if len(l.env.Rcpts) > maxRecipients {
		return nil, tooMany(len(l.env.Rcpts))
	}
	return l, h.sys.chooseAccount(l, opt)
}

func tooMany(n int) error {
	return exitWith(exDataErr, fmt.Errorf("%d recipients are too many for one message: send it in parts, or with --each", n))
}

// one hands a letter over. An error is one of before anything was sent or stored.
func (h *handover) one(ctx context.Context, l *letter) ([]outcome, error) {
	write := l.bounded(h.sys.cfg.SMTP.MaxSize)
	if h.opt.queue && h.opt.saveTo == "" { // no user file is read, no name resolved, and nothing kept in memory
		return h.enqueue(l, write)
	}
	msg := &held{} // whole before anything of it is sent
	defer msg.close()
	if err := write(msg); err != nil {
		return nil, err
	}
	saved, err := h.startCopy(l, msg)
	if err != nil {
		return nil, err
	}
	var outcomes []outcome
	if h.opt.queue {
		outcomes, err = h.enqueue(l, msg.writeTo)
	} else {
		outcomes, err = h.deliver(ctx, l, msg)
	}
	h.endCopy(saved, outcomes)
	return outcomes, err
}

func (h *handover) deliver(ctx context.Context, l *letter, msg *held) ([]outcome, error) {
	p := &posting{sys: h.sys, env: &l.env, msg: msg, mayStore: !h.opt.now, carrier: h.open}
	outcomes, err := p.run(ctx)
	if p.why != "" && p.queueID != "" {
		h.waits = append(h.waits, waiting{p.why, p.queueID, h.nextTry(&l.env), p.isTrouble})
	}
	return outcomes, err
}

func (h *handover) enqueue(l *letter, write func(io.Writer) error) ([]outcome, error) {
	id, err := h.sys.store(&l.env, write)
	if mail.StatusOf(err) == (mail.Status{Class: mail.Temporary, Subject: 5, Detail: 3}) {
		err = tooMany(len(l.env.Rcpts))
	}
	if err != nil {
		return nil, err
	}
	outcomes := make([]outcome, len(l.env.Rcpts))
	for i, r := range l.env.Rcpts {
		outcomes[i] = outcome{Result: mail.Result{Recipient: r}, queueID: id}
	}
	return outcomes, nil
}

// open gives what carries letters. A connection that is of no more use is ended with a QUIT to whose answer nobody listens: the
// message has its reply, and whoever waits for us has waited long enough.
func (h *handover) open() (*delivery.Transport, error) {
	if h.carrier != nil {
		return h.carrier, nil
	}
	t, err := h.sys.transport(nil)
	if err != nil {
		return nil, err
	}
	t.Submit = nil
	if !h.opt.now {
		t.Submit = func(_ context.Context, env *mail.Envelope, msg io.Reader) error {
			_, err := h.sys.store(env, func(w io.Writer) error {
				_, err := io.Copy(w, msg)
				return err
			})
			return err
		}
	}
	t.Relay.Trace = h.e.tracer(h.opt.trace, false)
	t.Relay.Timeouts = smtp.Timeouts{Quit: 1}
	if !h.opt.each {
		t.Relay.IdleLimit = -1
	}
	h.carrier = t
	return t, nil
}

// nextTry says whom a flush will try.
func (h *handover) nextTry(env *mail.Envelope) string {
	if h.sys.hasWay(env, env.Rcpts) {
		return "mailx queue flush will try"
	}
	return "mailx queue flush will try the MX hosts"
}

// report tells what has to be told and gives the outcome of the verb.
func (h *handover) report(outcomes []outcome) error {
	isSaid := h.tellWaiting()
	err := h.e.reportSent(outcomes, h.opt, isSaid)
	if h.unsaved != nil {
		h.e.note("the message is on its way, but %v; don't send it again", h.unsaved)
		if err == nil {
			return exitWith(exCantCreate, nil)
		}
	}
	return err
}

// tellWaiting says why letters wait, and reports whether it did: of many with one reason, how many they are.
func (h *handover) tellWaiting() (isSaid bool) {
	for i, w := range h.waits {
		same := func(o waiting) bool { return o.why == w.why && o.next == w.next }
		if slices.ContainsFunc(h.waits[:i], same) {
			continue
		}
		n := 0
		for _, o := range h.waits {
			if same(o) {
				n++
			}
		}
		switch {
		case !w.isTrouble && !h.opt.verbose && h.opt.isQuiet && !h.e.stderrIsTerminal():
			continue
		case n == 1:
			h.e.note("%s: queued as %s; %s", w.why, w.queueID, w.next)
		default:
			h.e.note("%s: %d messages are queued; %s", w.why, n, w.next)
		}
		isSaid = true
	}
	return isSaid
}
