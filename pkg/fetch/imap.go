package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"mailx/pkg/imap"
	"mailx/pkg/mail"
)

// Bounds of one UID FETCH: so much is read to the end when something goes wrong in the middle.
const (
	askMessages = 250
	askOctets   = 8 << 20
)

// IMAP is how to reach an IMAP account.
type IMAP struct {
	Server
	ReadOnly bool // folders are opened by EXAMINE; nothing can be deleted
	Options  imap.ClientOptions
}

// IMAPSession is a connection that is logged in. It has one folder open at a time, and is used by one goroutine, but for
// Close.
type IMAPSession struct {
	c        *imap.Client
	readOnly bool
	seen     map[string]imap.Selected // when it was last listed
}

// Connect connects and logs in.
func (p *IMAP) Connect(ctx context.Context) (*IMAPSession, error) {
	nc, err := p.connect(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	defer stop()
	c, err := imap.NewClient(nc, p.Options)
	if err != nil {
		return nil, err
	}
	if err := p.begin(ctx, c); err != nil {
		c.Close()
		return nil, err
	}
	return &IMAPSession{c: c, readOnly: p.ReadOnly, seen: map[string]imap.Selected{}}, nil
}

func (p *IMAP) begin(ctx context.Context, c *imap.Client) error {
	if p.Security == STLS {
		if err := c.StartTLS(ctx, p.config()); err != nil {
			return err
		}
	}
	if c.IsLoggedIn() {
		return nil
	}
	if err := c.Capability(); err != nil {
		return err
	}
	return p.LogInIMAP(ctx, c)
}

// LogInIMAP logs in over a connection that is there, which the caller has made as secure as it should be, and whose
// capabilities are known.
func (s *Server) LogInIMAP(ctx context.Context, c *imap.Client) error {
	l := login{offered: c.Mechanisms(), state: c.TLS(), command: "LOGIN", plain: c.Login, mechanism: c.Authenticate}
	if c.Has("LOGINDISABLED") {
		l.command = ""
	}
	return s.logIn(ctx, l)
}

// Close drops the connection, at any time and from any goroutine.
func (s *IMAPSession) Close() error { return s.c.Close() }

// Logout ends the session.
func (s *IMAPSession) Logout() error { return s.c.Logout() }

// Err is what ended the session before Logout; nil while it can go on.
func (s *IMAPSession) Err() error { return s.c.Err() }

// Folders lists the folders that can be opened.
func (s *IMAPSession) Folders() ([]imap.Folder, error) {
	var all []imap.Folder
	err := s.c.List("*", func(f imap.Folder) error {
		if !f.Has(`\Noselect`) && !f.Has(`\NonExistent`) {
			all = append(all, f)
		}
		return nil
	})
	return all, err
}

// MaildirElements is where the mail of a folder goes below a Maildir: no elements are the Maildir itself, for INBOX. What
// can't stand in the name of a folder here becomes "_": dots, slashes, control characters, empty levels.
func MaildirElements(f imap.Folder) []string {
	levels := f.Elements()
	if strings.EqualFold(levels[0], "INBOX") {
		levels = levels[1:] // Courier and Cyrus have everything below INBOX
	}
	clean := make([]string, len(levels))
	for i, level := range levels {
		clean[i] = strings.Map(func(r rune) rune {
			if r == '.' || r == '/' || r < ' ' || r >= 0x7f && r < 0xa0 {
				return '_'
			}
			return r
		}, level)
		if clean[i] == "" {
			clean[i] = "_"
		}
	}
	return clean
}

// FolderState is the account name under which the state of a folder is kept, from its name on the server: each name has
// another one.
func FolderState(name string) string {
	if strings.EqualFold(name, "INBOX") {
		name = "INBOX"
	}
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' && i > 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "+%02X", c)
		}
	}
	if b.Len() <= maxAccountName {
		return b.String()
	}
	print := (&headerPrint{head: []byte(name)}).of(Item{Size: int64(len(name))})
	return b.String()[:50] + "@" + strings.ReplaceAll(print, ":", "_")
}

// Folder is a Source of one folder, by its name on the server. Its Quit leaves the session open; Close ends it, if Quit has
// not been called.
func (s *IMAPSession) Folder(name string) Source { return &imapSource{s: s, name: name} }

// longestIdle is how long one IDLE goes on: servers may hang up after 30 minutes (RFC 2177 §3).
const longestIdle = 25 * time.Minute

// Wait waits for mail in a folder, which has been fetched from, at most d. A server without IDLE is asked by NOOP, once.
// The session must be closed to end it earlier.
func (s *IMAPSession) Wait(ctx context.Context, name string, d time.Duration) error {
	before, known := s.seen[name]
	now, err := s.c.Select(name, true)
	if err != nil {
		return err
	}
	if known && now != before {
		return nil // it came while another folder was looked at
	}
	if s.c.Has("IDLE") {
		for d > 0 {
			part := min(d, longestIdle)
			news, err := s.c.Idle(part)
			if news || err != nil {
				return err
			}
			d -= part
		}
		return nil
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
	}
	return s.c.Noop()
}

// imapSource is a folder.
type imapSource struct {
	s      *IMAPSession
	name   string
	doomed []uint32
	quit   atomic.Bool
}

var errNoValidity = mail.Permanentf(5, 1, "The IMAP server has no UIDVALIDITY, so new messages can't be told from old ones")

// List is UID FETCH of everything but the text. The id of a message is "UIDVALIDITY.UID".
func (f *imapSource) List(each func(Item) error) error {
	selected, err := f.s.c.Select(f.name, f.s.readOnly)
	if err != nil {
		return err
	}
	f.s.seen[f.name] = selected
	switch {
	case selected.Exists == 0:
		return nil
	case selected.UIDValidity == 0:
		return errNoValidity
	}
	seen := map[uint32]bool{}
	err = f.s.c.Fetch("1:*", "UID RFC822.SIZE INTERNALDATE FLAGS", func(m *imap.Fetched, _ io.Reader) error {
		if m.UID == 0 || m.Size < 0 || seen[m.UID] { // flags that another client has just changed
			return nil
		}
		seen[m.UID] = true
		return each(Item{
			Number: int(m.UID), ID: fmt.Sprintf("%d.%d", selected.UIDValidity, m.UID),
			Size: m.Size, Date: m.Date, Flags: lettersOf(m.Flags),
		})
	})
	return err
}

// lettersOf gives the flags of a Maildir, sorted. \Deleted is not taken over: who deletes there need not here.
func lettersOf(flags []string) string {
	var letters []byte
	for _, flag := range flags {
		switch strings.ToLower(flag) {
		case `\draft`:
			letters = append(letters, 'D')
		case `\flagged`:
			letters = append(letters, 'F')
		case `$forwarded`:
			letters = append(letters, 'P')
		case `\answered`:
			letters = append(letters, 'R')
		case `\seen`:
			letters = append(letters, 'S')
		}
	}
	slices.Sort(letters)
	return string(slices.Compact(letters))
}

// Retrieve asks for many messages at a time; BODY.PEEK leaves \Seen as it is.
func (f *imapSource) Retrieve(items []Item, each func(it Item, text io.Reader, err error) error) error {
	return f.inParts(items, func(part []Item) error { return f.retrieve(part, each) })
}

// Headers is Retrieve for the headers alone; messages that are gone are left out.
func (f *imapSource) Headers(items []Item, each func(it Item, header io.Reader) error) error {
	return f.inParts(items, func(part []Item) error {
		_, err := f.ask(part, "BODY.PEEK[HEADER]", func(it Item, text io.Reader, _ error) error { return each(it, text) })
		return err
	})
}

// inParts cuts items where one command has enough of them.
func (f *imapSource) inParts(items []Item, do func([]Item) error) error {
	for len(items) > 0 {
		n, octets := 0, int64(0)
		for n < len(items) && n < askMessages && (n == 0 || octets+items[n].Size <= askOctets) {
			octets += items[n].Size
			n++
		}
		if err := do(items[:n]); err != nil {
			return err
		}
		items = items[n:]
	}
	return nil
}

// retrieve asks once more, one by one, for what did not come: the server may have stumbled over one message, or be one that
// says the UID only behind the text.
func (f *imapSource) retrieve(items []Item, each func(it Item, text io.Reader, err error) error) error {
	got, err := f.ask(items, "BODY.PEEK[]", each)
	if err != nil && !isReply(err) {
		return err
	}
	for i, it := range items {
		if got[i] {
			continue
		}
		one, err := f.ask(items[i:i+1], "BODY.PEEK[]", each)
		if err != nil && !isReply(err) {
			return err
		}
		if one[0] {
			continue
		}
		if err == nil {
			err = &imap.ReplyError{Verb: "UID FETCH", Text: "there is no such message any more"}
		}
		if err := each(it, nil, err); err != nil {
			return err
		}
	}
	return nil
}

// isReply is a refusal of the server, as opposed to trouble of ours.
func isReply(err error) bool {
	var said *imap.ReplyError
	return errors.As(err, &said)
}

// ask is one UID FETCH. got says which of the items have come; its error is that of each, or of the server.
func (f *imapSource) ask(items []Item, what string, each func(it Item, text io.Reader, err error) error) (got []bool, err error) {
	index := make(map[uint32]int, len(items))
	for i, it := range items {
		index[uint32(it.Number)] = i
	}
	got = make([]bool, len(items))
	var failed error
	err = f.s.c.Fetch(setOf(items), "UID "+what, func(m *imap.Fetched, text io.Reader) error {
		i, asked := index[m.UID]
		if len(items) == 1 && m.UID == 0 {
			i, asked = 0, true
		}
		if text == nil || !asked || got[i] || m.Octets == 0 && items[i].Size > 0 {
			return nil // an empty text is a server that can't read its own message: NIL, or ""
		}
		got[i] = true
		if m.Octets > mostOf(items[i]) {
			failed = errFlood
		} else {
			failed = each(items[i], text, nil)
		}
		return failed
	})
	if failed != nil {
		return got, failed
	}
	return got, err
}

// setOf is a sequence set (RFC 9051 §9), with ranges where items follow each other.
func setOf(items []Item) string {
	uids := make([]uint32, len(items))
	for i, it := range items {
		uids[i] = uint32(it.Number)
	}
	slices.Sort(uids)
	var b strings.Builder
	for i := 0; i < len(uids); {
		j := i
		for j+1 < len(uids) && uids[j+1] <= uids[j]+1 {
			j++
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatUint(uint64(uids[i]), 10))
		if uids[j] != uids[i] {
			b.WriteByte(':')
			b.WriteString(strconv.FormatUint(uint64(uids[j]), 10))
		}
		i = j + 1
	}
	return b.String()
}

var errOthersDeleted = errors.New("other messages are marked deleted there, and the server can't remove ours alone (no UIDPLUS)")

// Delete marks messages; Quit expunges them. A server without UIDPLUS expunges whatever is marked: then nothing is deleted
// while anything is marked that is not ours. Who marks something between that look and EXPUNGE loses it, as with every
// client of such a server.
func (f *imapSource) Delete(items []Item, each func(it Item, err error) error) error {
	if len(items) == 0 {
		return nil
	}
	if err := f.mayExpunge(items); err != nil {
		if f.s.Err() != nil {
			return err
		}
		return eachWith(items, err, each)
	}
	for part := range slices.Chunk(items, askMessages) {
		err := f.s.c.MarkDeleted(setOf(part))
		if f.s.Err() != nil {
			return err
		}
		if err == nil {
			for _, it := range part {
				f.doomed = append(f.doomed, uint32(it.Number))
			}
		}
		if err := eachWith(part, err, each); err != nil {
			return err
		}
	}
	return nil
}

func eachWith(items []Item, err error, each func(it Item, err error) error) error {
	for _, it := range items {
		if err := each(it, err); err != nil {
			return err
		}
	}
	return nil
}

func (f *imapSource) mayExpunge(ours []Item) error {
	if f.s.c.Has("UIDPLUS") || f.s.c.Has("IMAP4rev2") {
		return nil
	}
	marked, err := f.s.c.Deleted(len(ours))
	if err != nil && (f.s.Err() != nil || isReply(err)) {
		return err
	}
	known := map[uint32]bool{}
	for _, it := range ours {
		known[uint32(it.Number)] = true
	}
	for _, uid := range marked {
		if !known[uid] {
			return errOthersDeleted
		}
	}
	return nil
}

// Quit expunges. The folder stays selected until another one is.
func (f *imapSource) Quit() error {
	f.quit.Store(true)
	for part := range slices.Chunk(f.doomed, askMessages) {
		items := make([]Item, len(part))
		for i, uid := range part {
			items[i].Number = int(uid)
		}
		set := setOf(items)
		if !f.s.c.Has("UIDPLUS") && !f.s.c.Has("IMAP4rev2") {
			set = ""
		}
		if err := f.s.c.Expunge(set); err != nil {
			return err
		}
	}
	return nil
}

// Close ends the session in the middle of something.
func (f *imapSource) Close() error {
	if f.quit.Swap(true) {
		return nil
	}
	return f.s.Close()
}

// TellsNews reports a server with IDLE.
func (s *IMAPSession) TellsNews() bool { return s.c.Has("IDLE") }
