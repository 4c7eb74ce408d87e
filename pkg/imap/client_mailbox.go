package imap

import (
	"errors"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"mailx/pkg/mailbox"
	"mailx/pkg/wire"
)

// Folder is a mailbox that a server lists.
type Folder struct {
	Name  string // as the server writes it
	Delim string // between the levels of Name; empty: it has none
	Flags []string
}

// Elements is the name in UTF-8, level by level. A level that is no modified UTF-7 (RFC 3501 §5.1.3) stays as it is.
func (f Folder) Elements() []string {
	parts := []string{f.Name}
	if f.Delim != "" {
		parts = strings.Split(f.Name, f.Delim)
	}
	for i, p := range parts {
		if text, ok := mailbox.DecodeUTF7(p); ok {
			parts[i] = text
		} else if !utf8.ValidString(p) {
			parts[i] = strings.ToValidUTF8(p, "_")
		}
	}
	return parts
}

// Has reports a flag such as \Noselect, in any letter case.
func (f Folder) Has(flag string) bool { return hasFlag(f.Flags, flag) }

func hasFlag(flags []string, flag string) bool {
	for _, have := range flags {
		if strings.EqualFold(have, flag) {
			return true
		}
	}
	return false
}

// List calls each for every mailbox that matches a pattern: "*" for all.
func (c *Client) List(pattern string, each func(Folder) error) error {
	count := 0
	return c.command(`LIST "" `+quoteString(pattern), func(kind string, _ uint32, r *replyLine) error {
		if kind != "LIST" {
			return nil
		}
		if count++; count > MaxFolders {
			return c.broken(errServer("mailboxes without end"))
		}
		f, err := r.folder()
		if err != nil {
			return c.broken(err)
		}
		return each(f)
	})
}

// folder reads "(\Flag ...) "/" name" (RFC 9051 §7.3.1).
func (r *replyLine) folder() (f Folder, err error) {
	if f.Flags, err = r.words(); err != nil {
		return f, err
	}
	r.blank()
	if f.Delim, err = r.str(); err != nil {
		return f, err
	}
	r.blank()
	f.Name, err = r.str()
	if err == nil && f.Name == "" {
		err = errServer("a mailbox without a name")
	}
	return f, err
}

// EncodeName gives a mailbox name in UTF-8 as it stands on the wire.
func EncodeName(name string) string { return mailbox.EncodeUTF7(name) }

// Selected is what a server says of a mailbox that is opened.
type Selected struct {
	UIDValidity uint32 // 0: it did not say
	UIDNext     uint32 // 0: it did not say
	Exists      uint32
}

// Select opens a mailbox by its name on the wire; readOnly changes nothing in it.
func (c *Client) Select(name string, readOnly bool) (s Selected, err error) {
	verb := "SELECT "
	if readOnly {
		verb = "EXAMINE "
	}
	c.exists = 0
	err = c.command(verb+quoteString(name), func(kind string, _ uint32, r *replyLine) error {
		if kind != "OK" {
			return nil
		}
		inner, ok := strings.CutPrefix(r.rest, "[")
		if !ok {
			return nil
		}
		inner, _, _ = strings.Cut(inner, "]")
		word, digits, _ := strings.Cut(inner, " ")
		n, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 32)
		switch {
		case err != nil:
		case strings.EqualFold(word, "UIDVALIDITY"):
			s.UIDValidity = uint32(n)
		case strings.EqualFold(word, "UIDNEXT"):
			s.UIDNext = uint32(n)
		}
		return nil
	})
	s.Exists = c.exists
	return s, err
}

// Fetched is what an answer to Fetch has said so far.
type Fetched struct {
	UID   uint32    // 0: not said
	Size  int64     // octets on the wire; -1: not said
	Flags []string  // nil: not said
	Date  time.Time // INTERNALDATE; zero: not said
	// Octets are those of the text, on the wire; -1 without a text.
	Octets int64
}

// Fetch asks for items of messages (RFC 9051 §6.4.5), such as "1:*" and "UID RFC822.SIZE", by UID. It calls each once for
// every answer that has no text, at its end; and for every text (BODY[...]), in local form, with what has been said before
// it. A text is over when each returns, read or not. An error of each is returned once the answers have been read, or ends
// the connection if too much would have to be read for that.
func (c *Client) Fetch(set, items string, each func(m *Fetched, text io.Reader) error) error {
	return c.command("UID FETCH "+set+" ("+items+")", func(kind string, _ uint32, r *replyLine) error {
		if kind != "FETCH" {
			return nil
		}
		m := &Fetched{Size: -1, Octets: -1}
		err := r.message(m, each)
		if err == nil && m.Octets < 0 {
			err = each(m, nil)
		}
		return err
	})
}

// message reads "(ITEM value ...)".
func (r *replyLine) message(m *Fetched, each func(m *Fetched, text io.Reader) error) error {
	if !r.octet('(') {
		return r.c.broken(errServer("answer to FETCH"))
	}
	var failed error
	for !r.octet(')') {
		name := strings.ToUpper(r.itemName())
		if name == "" {
			return r.c.broken(errServer("answer to FETCH"))
		}
		r.blank()
		err := r.item(name, m, each)
		if r.c.err != nil {
			return err
		}
		if err != nil && failed == nil {
			failed = err
			each = func(*Fetched, io.Reader) error { return nil }
		}
		r.blank()
	}
	return failed
}

func (r *replyLine) item(name string, m *Fetched, each func(m *Fetched, text io.Reader) error) (err error) {
	switch {
	case name == "UID":
		n, err := strconv.ParseUint(r.atom(), 10, 32)
		if err != nil || n == 0 {
			return r.c.broken(errServer("UID"))
		}
		m.UID = uint32(n)
	case name == "RFC822.SIZE":
		if m.Size, err = parseOctets(r.atom()); err != nil {
			return r.c.broken(errServer("size of a message"))
		}
	case name == "FLAGS":
		if m.Flags, err = r.words(); err != nil {
			return r.c.broken(err)
		}
	case name == "INTERNALDATE":
		text, err := r.str()
		if err != nil {
			return r.c.broken(err)
		}
		if t, err := time.Parse("_2-Jan-2006 15:04:05 -0700", text); err == nil {
			m.Date = t
		}
	case strings.HasPrefix(name, "BODY["):
		return r.body(m, each)
	default:
		return r.skipValue(0)
	}
	return nil
}

func parseOctets(digits string) (int64, error) {
	n, err := strconv.ParseUint(digits, 10, 62)
	return int64(n), err
}

// body hands a text on.
func (r *replyLine) body(m *Fetched, each func(m *Fetched, text io.Reader) error) error {
	n, isLiteral, err := r.literal()
	if err != nil {
		return r.c.broken(err)
	}
	if !isLiteral {
		text, err := r.str()
		if err != nil {
			return r.c.broken(err)
		}
		m.Octets = int64(len(text))
		return each(m, strings.NewReader(text))
	}
	m.Octets = n
	c := r.c
	c.c.Idle(c.opt.ReplyTime)
	text := c.c.ChunkReader(wire.DotOptions{MaxText: -1, Bare: wire.TakeBare})
	counted := &countedText{r: text}
	text.Next(n, true)
	failed := each(m, counted)
	if failed != nil && n-counted.read > maxSkip {
		c.err = failed
		return failed
	}
	if err := text.Drain(); err != nil && !wire.IsPeerFault(err) {
		return c.broken(err)
	}
	if err := r.nextLine(); err != nil {
		return err
	}
	return failed
}

// countedText counts the octets that were read.
type countedText struct {
	r    io.Reader
	read int64
}

func (t *countedText) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	t.read += int64(n)
	return n, err
}

// MarkDeleted gives messages the flag \Deleted.
func (c *Client) MarkDeleted(set string) error {
	return c.command(`UID STORE `+set+` +FLAGS.SILENT (\Deleted)`, nil)
}

// Expunge removes the messages of a set that are marked deleted (UID EXPUNGE, RFC 4315 §2.1); with an empty set, all that
// are marked.
func (c *Client) Expunge(set string) error {
	if set == "" {
		return c.command("EXPUNGE", nil)
	}
	return c.command("UID EXPUNGE "+set, nil)
}

// errTooMany ends a listing of which the caller has seen enough.
var errTooMany = errors.New("too many messages")

// Deleted gives the UIDs of the messages that are marked deleted. More than most of them is an error.
func (c *Client) Deleted(most int) (uids []uint32, err error) {
	err = c.Fetch("1:*", "UID FLAGS", func(m *Fetched, _ io.Reader) error {
		if m.UID == 0 || !hasFlag(m.Flags, `\Deleted`) {
			return nil
		}
		if uids = append(uids, m.UID); len(uids) > most {
			return errTooMany
		}
		return nil
	})
	return uids, err
}
