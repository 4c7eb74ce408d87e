package queue

import (
	"context"
	"iter"
	"strings"
	"time"

	"mailx/pkg/mail"
)

// Selection says which entries are meant: those for which every field that is set holds. Addresses are compared without
// letter case; "@example.com" stands for all at that domain.
type Selection struct {
	Sender string        // "<>" for notices
	Rcpt   string        // a recipient that is still to do, or has failed
	Domain string        // of such a recipient
	Older  time.Duration // arrived longer ago than this
}

// IsZero reports that nothing is set: everything is meant.
func (s Selection) IsZero() bool { return s == Selection{} }

// Takes reports that an entry is meant. A damaged one is so only if nothing is set.
func (s Selection) Takes(item *Item, now time.Time) bool {
	if s.IsZero() {
		return true
	}
	if item.Damaged != nil || !s.takesMessage(item.Sender, item.Arrived, now) {
		return false
	}
	if s.Rcpt == "" && s.Domain == "" {
		return true
	}
	for i := range item.Rcpts {
		if item.Rcpts[i].State != RcptDelivered && s.takesRcpt(item.Rcpts[i].Address) {
			return true
		}
	}
	return false
}

func (s *Selection) takesMessage(sender mail.Address, arrived, now time.Time) bool {
	return (s.Sender == "" || isMeant(s.Sender, sender)) && (s.Older <= 0 || now.Sub(arrived) > s.Older)
}

func (s *Selection) takesRcpt(a mail.Address) bool {
	return (s.Rcpt == "" || isMeant(s.Rcpt, a)) && (s.Domain == "" || strings.EqualFold(s.Domain, a.Domain))
}

// mayTake reports whether an entry of this name can have a recipient who is meant: what says that it is for another domain need not
// be opened.
func (s *Selection) mayTake(name string) bool {
	domain := ""
	if at := strings.LastIndexByte(s.Rcpt, '@'); at >= 0 {
		domain = strings.TrimSuffix(s.Rcpt[at+1:], ">")
	}
	if domain == "" && s.Domain == "" {
		return true
	}
	is := domainIn(name)
	return is == "" || (s.Domain == "" || strings.EqualFold(s.Domain, is)) && (domain == "" || strings.EqualFold(domain, is))
}

func isMeant(pattern string, a mail.Address) bool {
	if domain, ok := strings.CutPrefix(pattern, "@"); ok {
		return strings.EqualFold(domain, a.Domain)
	}
	pattern = strings.TrimSuffix(strings.TrimPrefix(pattern, "<"), ">")
	return strings.EqualFold(pattern, a.String()) || pattern == "" && a.IsNull()
}

// Find is List for the entries that are meant.
func (q *Queue) Find(ctx context.Context, sel Selection) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		for item, err := range q.listOf(ctx, sel.mayTake) {
			if (err != nil || sel.Takes(&item, q.opt.Now())) && !yield(item, err) {
				return
			}
		}
	}
}
