package message

import (
	"net/url"
	"regexp"
	"slices"
	"strings"

	"mailx/pkg/mail"
)

// Audience says who gets an answer.
type Audience int

// The audiences.
const (
	ToAuthor Audience = iota // who wrote the message, or whom he named for answers
	ToAll                    // and all who got it
	ToList                   // the mailing list that it came from
)

// Answer is what the header of a message says about an answer to it.
type Answer struct {
	To, Cc     []Mailbox
	Subject    string
	InReplyTo  string // message ids with angle brackets, for Draft
	References string
	Unread     []string // entries of address lists that are none, each safe to print
}

// NewAnswer reads whom an answer is for and how it belongs to a message (RFC 5322 §3.6.3 and §3.6.4): Mail-Reply-To, Reply-To or
// From; for all, To and Cc too, or Mail-Followup-To instead of everything; for a list, its List-Post (RFC 2369 §3.4) or
// Mail-Followup-To. own says which addresses are those of who answers: they get no copy, and an answer to a message of
// one's own goes where that went. Nobody may be left; then To is empty. Lists are read entry by entry, so that one which
// is no address costs only itself.
func NewAnswer(h *Header, audience Audience, own func(mail.Address) bool) Answer {
	r := &answering{h: h, own: own}
	switch audience {
	case ToList:
		r.toList()
	case ToAll:
		r.toAll()
	default:
		r.To = r.authors()
	}
	r.Cc = except(r.Cc, r.To)
	r.Subject = ReplySubject(h.Get("Subject"))
	r.InReplyTo, r.References = threadOf(h)
	return r.Answer
}

// NewForward is the same for a message that is sent on: it names nobody, and what it belongs to without being an answer.
func NewForward(h *Header) Answer {
	_, references := threadOf(h)
	return Answer{Subject: ForwardSubject(h.Get("Subject")), References: references}
}

type answering struct {
	Answer
	h   *Header
	own func(mail.Address) bool
}

func (r *answering) isOwn(m Mailbox) bool { return r.own != nil && r.own(m.Address) }

// authors are those whom an answer is for.
func (r *answering) authors() []Mailbox {
	from := r.mailboxes("From")
	if len(from) > 0 && !slices.ContainsFunc(from, func(m Mailbox) bool { return !r.isOwn(m) }) {
		if to := r.others(r.mailboxes("To")); len(to) > 0 {
			return to
		}
	}
	for _, name := range []string{"Mail-Reply-To", "Reply-To"} {
		if list := r.mailboxes(name); len(list) > 0 {
			return list
		}
	}
	if len(from) == 0 {
		from = r.mailboxes("Sender")
	}
	return from
}

func (r *answering) toAll() {
	if list := r.others(r.mailboxes("Mail-Followup-To")); len(list) > 0 {
		r.To = list
		return
	}
	r.To = r.authors()
	r.Cc = r.others(append(r.mailboxes("To"), r.mailboxes("Cc")...))
	if others := r.others(r.To); len(others) > 0 {
		r.To = others
	} else if len(r.Cc) > 0 { // one's own Reply-To
		r.To, r.Cc = r.Cc, nil
	}
}

func (r *answering) toList() {
	if r.To = r.others(r.mailboxes("Mail-Followup-To")); len(r.To) > 0 {
		return
	}
	for _, value := range r.h.Values("List-Post") {
		if a, ok := mailtoAddress(value); ok {
			r.To = []Mailbox{{Address: a}}
			return
		}
	}
}

// mailtoAddress finds the address of the first mailto URL in a field of RFC 2369.
func mailtoAddress(value string) (mail.Address, bool) {
	for _, part := range strings.Split(value, "<")[1:] {
		target, _, _ := strings.Cut(part, ">")
		scheme, rest, _ := strings.Cut(strings.TrimSpace(target), ":")
		rest, _, _ = strings.Cut(rest, "?")
		address, err := url.PathUnescape(rest)
		if err != nil || !strings.EqualFold(scheme, "mailto") {
			continue
		}
		if a, err := mail.ParseAddress(strings.TrimSpace(address)); err == nil && a.Domain != "" {
			return a, true
		}
	}
	return mail.Address{}, false
}

// others drops one's own addresses, and those that are there twice.
func (r *answering) others(list []Mailbox) []Mailbox {
	return except(slices.DeleteFunc(slices.Clone(list), r.isOwn), nil)
}

// except gives each mailbox once that is not among others. Letter case makes no difference: no host tells people apart by
// it, whatever RFC 5321 §2.4 allows.
func except(list, others []Mailbox) []Mailbox {
	key := func(m Mailbox) mail.Address {
		return mail.Address{Local: strings.ToLower(m.Address.Local), Domain: m.Address.Domain}
	}
	seen := map[mail.Address]bool{}
	for _, m := range others {
		seen[key(m)] = true
	}
	var kept []Mailbox
	for _, m := range list {
		if k := key(m); !seen[k] {
			seen[k] = true
			kept = append(kept, m)
		}
	}
	return kept
}

// mailboxes reads all fields with a name. What is no address is noted in Unread.
func (r *answering) mailboxes(name string) []Mailbox {
	var all []Mailbox
	for _, value := range r.h.Values(name) {
		list, unread := ParseMailboxesLoosely(value)
		all = append(all, list...)
		for _, entry := range unread {
			if !slices.Contains(r.Unread, entry) {
				r.Unread = append(r.Unread, entry)
			}
		}
	}
	return all
}

// ParseMailboxesLoosely reads what it can of an address list in a message of somebody else. unread are the entries that are
// no addresses, safe to print. What it gives can be written into a header again.
func ParseMailboxesLoosely(value string) (list []Mailbox, unread []string) {
	value = Printable(strings.ToValidUTF8(value, "\ufffd"))
	if list, err := ParseMailboxes(value); err == nil {
		return usableMailboxes(list), nil
	}
	for _, entry := range splitEntries(value) {
		part, err := ParseMailboxes(entry)
		if err != nil {
			unread = append(unread, strings.TrimSpace(entry))
		}
		list = append(list, part...)
	}
	return usableMailboxes(list), unread
}

func usableMailboxes(list []Mailbox) []Mailbox {
	return slices.DeleteFunc(list, func(m Mailbox) bool { return m.Address.IsNull() || checkMailbox(m) != "" })
}

// splitEntries cuts an address list at its commas and semicolons, but not inside of quotes, comments and angle brackets.
func splitEntries(s string) []string {
	var entries []string
	start, end := 0, byte(0) // end closes what is open
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			i++
		case end != 0:
			if c == end {
				end = 0
			}
		case c == '"':
			end = '"'
		case c == '(':
			end = ')'
		case c == '<':
			end = '>'
		case c == ',' || c == ';':
			entries, start = append(entries, s[start:i]), i+1
		}
	}
	return append(entries, s[start:])
}

// maxReferences bounds how far a thread is written back.
const maxReferences = 100

// threadOf gives In-Reply-To and References of what belongs to a message (RFC 5322 §3.6.4).
func threadOf(h *Header) (inReplyTo, references string) {
	ids := messageIDs(h.Get("References"))
	if len(ids) == 0 {
		if parents := messageIDs(h.Get("In-Reply-To")); len(parents) == 1 {
			ids = parents
		}
	}
	if own := messageIDs(h.Get("Message-ID")); len(own) > 0 {
		inReplyTo = own[0]
		ids = append(slices.DeleteFunc(ids, func(id string) bool { return id == inReplyTo }), inReplyTo)
	}
	if len(ids) > maxReferences { // the first says which thread it is
		ids = slices.Delete(ids, 1, len(ids)-maxReferences+1)
	}
	return inReplyTo, strings.Join(ids, " ")
}

// messageIDs finds what can be a message id, among comments and whatever else there is.
func messageIDs(value string) []string {
	var ids []string
	for _, part := range strings.Split(value, "<")[1:] {
		id, _, ok := strings.Cut(part, ">")
		if id = "<" + id + ">"; ok && isMsgID(id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// What stands before a subject that has been answered or sent on, in the languages that programs are known to speak.
const (
	replyPrefix   = `(?i)^((re|aw|sv|antw|odp)(\[[0-9]+\])?[ \t]*:[ \t]*)+`
	forwardPrefix = `(?i)^(fwd?|wg|tr|vb|vl)(\[[0-9]+\])?[ \t]*:`
)

// ReplySubject puts "Re: " before a subject, once. What is in a header is decoded.
func ReplySubject(s string) string {
	s = strings.TrimSpace(DecodeText(s))
	return strings.TrimSpace("Re: " + regexp.MustCompile(replyPrefix).ReplaceAllString(s, ""))
}

// ForwardSubject puts "Fwd: " before a subject, unless something like that is there already.
func ForwardSubject(s string) string {
	s = strings.TrimSpace(DecodeText(s))
	if regexp.MustCompile(forwardPrefix).MatchString(s) {
		return s
	}
	return strings.TrimSpace("Fwd: " + s)
}
