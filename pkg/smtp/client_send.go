package smtp

import (
	"context"
	"errors"
	"io"
	"time"

	"mailx/pkg/mail"
)

const (
	// MaxTransaction is how many recipients one transaction takes (RFC 5321 §4.5.3.1.8 promises 100; 1000 is what
	// servers take).
	MaxTransaction = 1000
	// maxWindow is how many octets of commands may wait for their replies. It fits into the buffers of any system, so
	// that client and server can't block each other (RFC 2920 §3.1).
	maxWindow = 16 << 10
)

func errClosed() error { return mail.Temporaryf(4, 2, "Connection is closed") }

// Send sends one message, in local form, to the recipients of env, and gives one result for each of them in their
// order. size is its length in octets, 0 if that is not known; it is used where the message can't be looked at before it goes out: that is
// possible up to 64 KiB, and for any size when msg is an io.Seeker.
//
// Recipients beyond MaxTransaction are not tried; they get 4.5.3. If the server takes no 8-bit data the message is
// converted (message.SevenBit), which has to be possible (5.6.3) and needs a message of up to 64 KiB or one that is an
// io.ReaderAt and an io.Seeker at its start. On that condition NUL, and lines that are too long for SMTP, are mended, too
// (message.Fit). One that is shorter than size is not sent. When ctx ends the connection is closed, and what has not been
// answered is temporary; but when it is cancelled, a text that is sent has its verdict awaited for Timeouts.Parting.
func (c *Client) Send(ctx context.Context, env *mail.Envelope, msg io.Reader, size int64) []mail.Result {
	return c.SendTelling(ctx, env, msg, size, nil)
}

// SendTelling is Send, and calls tell, which may be nil, with results that are final while others are not there yet: in LMTP each
// recipient has a verdict, and the next one may take long.
func (c *Client) SendTelling(
	ctx context.Context, env *mail.Envelope, msg io.Reader, size int64, tell func([]mail.Result),
) []mail.Result {
	t := newTransaction(c, env)
	t.tell = tell
	if c.broken {
		t.fail(errClosed())
		return t.results
	}
	if err := c.under(ctx, func() error { return t.run(msg, size) }); err != nil {
		t.fail(err)
	}
	c.stale = t.isStale
	return t.results
}

// transaction is one message on its way. A recipient is decided once its result is final.
type transaction struct {
	c        *Client
	env      *mail.Envelope
	results  []mail.Result
	decided  []bool
	waiting  []sent // commands without a reply yet, in order
	octets   int    // of these commands
	answers  int    // replies so far
	isStale  bool   // the connection ended before the first one
	accepted []int  // recipients that the server took
	refused  *Reply // of MAIL
	data     *Reply // of DATA or BDAT

	body *content
	todo []int // recipients that can be named to this server

	utf8       bool // SMTPUTF8 is said
	isChunk    bool // the message went out with BDAT
	tellsRelay bool // the sender is to hear that the message was relayed (RFC 2852 §4.1.4)

	tell func([]mail.Result) // see SendTelling

	// follow is called when all of the text is written, before it is sent: the commands of the next message may go with it. It
	// may be nil.
	follow func()
}

// sent is a command on the wire; rcpt is its recipient's index.
type sent struct {
	verb string
	rcpt int
}

func newTransaction(c *Client, env *mail.Envelope) *transaction {
	c.begun++
	t := &transaction{c: c, env: env}
	t.results = make([]mail.Result, len(env.Rcpts))
	t.decided = make([]bool, len(env.Rcpts))
	for i, r := range env.Rcpts {
		t.results[i] = mail.Result{Recipient: r, RemoteMTA: c.opt.Server}
	}
	return t
}

// fail decides every recipient that is not decided.
func (t *transaction) fail(err error) {
	for i := range t.results {
		t.refuse(i, err)
	}
}

func (t *transaction) refuse(i int, err error) {
	if t.decided[i] {
		return
	}
	t.decided[i] = true
	t.results[i].Err = err
	var r *Reply
	if errors.As(err, &r) {
		t.results[i].Reply = r.Error()
	}
}

func (t *transaction) accept(i int, r *Reply) {
	t.decided[i] = true
	t.results[i].Relayed = !t.c.opt.LMTP
	t.results[i].Reply = r.Error()
	if t.c.ext.Has("DSN") { // the server reports success now (RFC 3461 §5.2.2)
		t.results[i].Notify &^= mail.NotifySuccess
	}
	if t.tellsRelay {
		t.results[i].Notify |= mail.NotifySuccess
	}
}

// run is all of it. It gives the error that holds for every recipient not decided, as begin and end do.
func (t *transaction) run(msg io.Reader, size int64) error {
	if err := t.begin(msg, size); err != nil {
		return err
	}
	return t.end()
}

// begin looks at the message and writes the commands. Without PIPELINING, or when there are many, they are answered already.
func (t *transaction) begin(msg io.Reader, size int64) (err error) {
	if t.body, err = t.c.inspect(msg, size); err != nil {
		return err
	}
	args, err := t.mailArgs(t.body)
	if err != nil {
		return err
	}
	requests, err := t.requests()
	if err != nil {
		return err
	}
	t.utf8 = args.UTF8
	if t.todo = t.candidates(); len(t.todo) == 0 {
		return nil
	}
	return t.staleIf(t.commands(args.String() + requests))
}

// end reads what the server says to the commands, sends the text if it wants it, and takes the verdict.
func (t *transaction) end() error {
	if len(t.todo) == 0 {
		return nil
	}
	if err := t.staleIf(t.answer()); err != nil {
		return err
	}
	switch {
	case t.refused != nil || len(t.accepted) == 0:
		return t.nobody()
	case t.data.Code/100 == 2 && t.isChunk:
		return t.verdict(t.data, t.accepted)
	case t.data.Code != 354 || t.isChunk:
		t.c.needReset = true
		return t.c.unexpected(t.data)
	}
	return t.content()
}

// staleIf notes a connection that ended before the server said a word about this message.
func (t *transaction) staleIf(err error) error {
	t.isStale = err != nil && t.answers == 0 && t.c.broken
	return err
}

// mailArgs decides what MAIL says, or why this message can't go to this server.
func (t *transaction) mailArgs(b *content) (*MailArgs, error) {
	env, ext := t.env, t.c.ext
	if !env.Sender.IsNull() {
		if err := checkAddress(env.Sender); err != nil {
			return nil, err
		}
	}
	m := &MailArgs{Sender: env.Sender}
	if err := t.sender(m, b); err != nil {
		return nil, err
	}
	declared := env.Body != mail.Body7Bit // what came as BINARYMIME has been stored as text, too
	has8bit := b.is8bit || !b.known && declared
	switch {
	case ext.Has("8BITMIME") && (has8bit || declared):
		m.Body = mail.Body8BitMIME
	case has8bit:
		if err := b.toSevenBit(t.c); err != nil {
			return nil, err
		}
	}
	if err := b.toFit(t.c); err != nil {
		return nil, err
	}
	if limit := ext.MaxSize(); limit > 0 && b.size > limit {
		return nil, mail.Permanentf(3, 4, "Message of %d octets is too big for %s, which takes %d",
			b.size, printable(t.c.opt.Server), limit)
	}
	if ext.Has("SIZE") {
		m.Size = b.size
	}
	if ext.Has("DSN") {
		m.Ret, m.EnvID = env.Ret, sendableEnvID(env.EnvID)
	}
	return m, nil
}

// sender decides about SMTPUTF8. It can be done without if the header is ASCII, and the addresses are when their domains are
// in A-label form; then it is, for the next host may not offer it.
func (t *transaction) sender(m *MailArgs, b *content) error {
	env, offered := t.env, t.c.ext.Has("SMTPUTF8")
	isHeaderUTF8 := env.UTF8 && (b.is8bitHeader || !b.known)
	ascii, ok := env.Sender.ToASCII()
	m.UTF8 = offered && (isHeaderUTF8 || env.UTF8 || !ok || t.hasUTF8Recipient())
	if m.UTF8 {
		return nil
	}
	if isHeaderUTF8 || !ok {
		return errNoUTF8(t.c)
	}
	m.Sender = ascii
	return nil
}

func errNoUTF8(c *Client) error {
	return mail.Permanentf(6, 7, "%s does not take addresses and headers in UTF-8", printable(c.opt.Server))
}

func (t *transaction) hasUTF8Recipient() bool {
	for i := range t.env.Rcpts {
		if _, ok := t.env.Rcpts[i].ToASCII(); !ok {
			return true
		}
	}
	return false
}

// candidates gives the recipients that can be named to this server, and decides the others.
func (t *transaction) candidates() []int {
	todo := make([]int, 0, len(t.results))
	for i, r := range t.env.Rcpts {
		err := checkAddress(r.Address)
		_, isASCII := r.Address.ToASCII()
		switch {
		case err != nil:
		case !t.utf8 && !isASCII:
			err = errNoUTF8(t.c)
		case len(todo) == MaxTransaction:
			err = mail.Temporaryf(5, 3, "Too many recipients for one transaction")
		}
		if err != nil {
			t.refuse(i, err)
			continue
		}
		todo = append(todo, i)
	}
	return todo
}

// commands writes RSET (if a transaction was left open), MAIL, RCPT for each of todo and DATA, or BDAT with the message, for
// as few writes to the network as PIPELINING allows (RFC 2920). DATA and BDAT are not sent when it is known that nobody was
// accepted.
func (t *transaction) commands(args string) error {
	if t.c.needReset {
		t.c.needReset = false
		if err := t.command(sent{verb: "RSET"}, ""); err != nil {
			return err
		}
	}
	if err := t.command(sent{verb: "MAIL"}, " "+args); err != nil {
		return err
	}
	dsn := t.c.ext.Has("DSN")
	for _, i := range t.todo {
		if t.refused != nil {
			return nil
		}
		r := t.env.Rcpts[i]
		if r.Orig = sendableOrig(r.Orig); !dsn {
			r.Orig, r.Notify = "", 0
		}
		if !t.utf8 {
			r.Address, _ = r.Address.ToASCII()
		}
		if err := t.command(sent{"RCPT", i}, " "+formatRcpt(r)); err != nil {
			return err
		}
	}
	if len(t.waiting) == 0 && (t.refused != nil || len(t.accepted) == 0) {
		return nil
	}
	if t.isChunk = t.canChunk(t.body); t.isChunk {
		return t.chunk(t.body)
	}
	return t.command(sent{verb: "DATA"}, "")
}

// command writes one command, and reads the replies when the window is full: at once without PIPELINING.
func (t *transaction) command(s sent, args string) error {
	if err := t.c.wc.WriteLine(s.verb + args); err != nil {
		return t.c.lost(err)
	}
	t.waiting = append(t.waiting, s)
	t.octets += len(s.verb) + len(args) + 2
	if t.c.ext.Has("PIPELINING") && t.octets < maxWindow {
		return nil
	}
	return t.answer()
}

// answer sends what is waiting and reads all its replies.
func (t *transaction) answer() error {
	if err := t.c.wc.Flush(); err != nil {
		return t.c.lost(err)
	}
	if t.isChunk {
		defer t.c.awaitVerdict()()
	}
	for _, s := range t.waiting {
		r, err := t.c.reply(t.c.timeoutOf(s.verb))
		if err == nil {
			err = t.take(s, r)
		}
		if err != nil {
			return err
		}
		t.answers++
	}
	t.waiting, t.octets = t.waiting[:0], 0
	return nil
}

func (c *Client) timeoutOf(verb string) time.Duration {
	switch verb {
	case "RCPT":
		return c.opt.Timeouts.Rcpt
	case "DATA":
		return c.opt.Timeouts.Data
	case "BDAT":
		return c.opt.Timeouts.Final
	}
	return c.opt.Timeouts.Mail
}

// take notes what the reply to one command means.
func (t *transaction) take(s sent, r *Reply) error {
	isDone, isRefused := r.Code/100 == 2, r.Code >= 400
	switch {
	case s.verb == "DATA", s.verb == "BDAT":
		t.data = r
		return nil
	case s.verb == "RSET" && !isDone, !isDone && !isRefused:
		return t.c.lost(protocolError("unexpected reply to " + s.verb))
	case s.verb == "MAIL" && r.Code == 530 && t.c.isKnown:
		return t.c.forgotten(r)
	case s.verb == "MAIL" && isRefused:
		t.refused = r
	case s.verb == "RCPT" && isRefused && t.refused == nil:
		t.refuse(s.rcpt, t.refusal(r))
	case s.verb == "RCPT" && isDone:
		t.accepted = append(t.accepted, s.rcpt)
	}
	return nil
}

// refusal is what a refused RCPT means. Where others were taken before, 452 and the 552 of old say that there are too many for one
// transaction (RFC 5321 §4.5.3.1.10), unless the status says something else: the next one is for the rest.
func (t *transaction) refusal(r *Reply) error {
	isTooMany := r.Status.IsZero() || r.Status.Subject == 5 && r.Status.Detail == 3
	if len(t.accepted) == 0 || r.Code != 452 && r.Code != 552 || !isTooMany {
		return r
	}
	return mail.Temporaryf(5, 3, "%s: %w", r.MailText(), r)
}

// nobody ends a transaction without a recipient. A server that wants the message all the same gets an empty one, since
// DATA was on its way already (RFC 2920 §3.1).
func (t *transaction) nobody() error {
	t.c.needReset = t.refused == nil
	if t.data != nil && t.data.Code == 354 && !t.isChunk {
		t.emptyMessage()
	}
	if t.refused != nil {
		return t.refused
	}
	return nil
}

func (t *transaction) emptyMessage() {
	t.c.needReset = false
	if t.c.opt.LMTP { // no reply would follow: RFC 2033 §4.2 says one for each recipient
		t.c.Close()
		return
	}
	t.c.command(".", t.c.opt.Timeouts.Final) // all recipients are decided, whatever this says
}

// content sends the message and takes the verdict: one reply, or one for each accepted recipient in LMTP.
func (t *transaction) content() error {
	if err := t.c.writeContent(t.body); err != nil {
		return err
	}
	if t.follow != nil {
		t.follow()
	}
	if err := t.c.wc.Flush(); err != nil {
		return t.hungUp(err)
	}
	defer t.c.awaitVerdict()()
	if !t.c.opt.LMTP {
		r, err := t.c.reply(t.c.opt.Timeouts.Final)
		if err != nil {
			return err
		}
		return t.verdict(r, t.accepted)
	}
	return t.verdicts()
}

// verdicts takes those of LMTP. Before it has to wait for one it tells of those that are there.
func (t *transaction) verdicts() error {
	told := 0
	for n, i := range t.accepted {
		if t.tell != nil && n > told && !t.c.wc.Pending() {
			t.tell(t.resultsOf(t.accepted[told:n]))
			told = n
		}
		r, err := t.c.reply(t.c.opt.Timeouts.Final)
		if err == nil {
			err = t.verdict(r, []int{i})
		}
		if err != nil && t.c.broken {
			return err
		}
		if err != nil {
			t.refuse(i, err)
		}
	}
	return nil
}

func (t *transaction) resultsOf(rcpts []int) []mail.Result {
	results := make([]mail.Result, len(rcpts))
	for n, i := range rcpts {
		results[n] = t.results[i]
	}
	return results
}

// hungUp is for a server that took all of the text, perhaps, but not all of what stands behind that. Then its verdict is there.
func (t *transaction) hungUp(err error) error {
	r := t.c.lastReply()
	if r == nil || t.c.opt.LMTP && r.Code < 400 {
		return t.c.lost(err)
	}
	t.c.Close()
	return t.verdict(r, t.accepted)
}

func (t *transaction) verdict(r *Reply, rcpts []int) error {
	if r.Code/100 != 2 {
		return t.c.unexpected(r)
	}
	for _, i := range rcpts {
		t.accept(i, r)
	}
	return nil
}
