package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"sync"
	"syscall"
	"time"

	"mailx/pkg/auth"
	"mailx/pkg/config"
	"mailx/pkg/mail"
	"mailx/pkg/maildir"
	"mailx/pkg/vfs"
)

// quotas knows the limits of mailboxes: that of the configuration, and over it the one in the line of a user:
//
//	quota=1G                          also 1000000S,200C, as in maildirsize; 0 is no limit
//	userdb_quota_rule=*:storage=1G    as Dovecot has it, with :messages=N behind it or in its place
type quotas struct {
	root  string // of the mailboxes
	limit maildir.Quota
	users func() *auth.Users

	mu     *sync.Mutex
	looked time.Time // when that was looked for:
	some   bool      // whether any user has a limit
}

// quotaFields are the keys of a user's line that say something about a quota.
func quotaFields() []string { return []string{"quota", "userdb_quota_rule"} }

func newQuotas(cfg *config.Config, users func() *auth.Users) quotas {
	return quotas{root: path.Clean(cfg.MailRoot), limit: maildir.Quota{Size: cfg.Quota}, users: users,
		mu: new(sync.Mutex)}
}

// ofMaildir gives the limit of the Maildir at a path, as it is whenever that is asked for; nil for one that is nobody's.
func (q *quotas) ofMaildir(name string) func() maildir.Quota {
	if path.Dir(path.Clean(name)) != q.root {
		return nil
	}
	user := path.Base(name)
	return func() maildir.Quota { return q.of(user) }
}

// of gives the limit of a user. When nobody can tell, it is that of the configuration.
func (q *quotas) of(user string) maildir.Quota {
	if !q.anybody() {
		return q.limit
	}
	u, err := q.users().Lookup(user)
	if err != nil {
		return q.limit
	}
	if own, ok := quotaOfFields(u.Fields); ok {
		return own
	}
	return q.limit
}

// anybody reports that some users have limits of their own. That is looked for once a second at most, so that a host without
// quotas does not pay for them.
func (q *quotas) anybody() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	if age := now.Sub(q.looked); age >= 0 && age < time.Second {
		return q.some
	}
	found, err := q.users().AnyField(quotaFields()...)
	q.some = found || err != nil
	if err == nil {
		q.looked = now
	}
	return q.some
}

// quotaOfFields reads the limit in a user's line; false if there is none that can be read. The colons of Dovecot's rule cut
// it into fields of their own.
func quotaOfFields(fields map[string]string) (maildir.Quota, bool) {
	if text, ok := fields["quota"]; ok {
		q, err := maildir.ParseQuota(text)
		return q, err == nil
	}
	if fields["userdb_quota_rule"] != "*" {
		return maildir.Quota{}, false
	}
	var all maildir.Quota
	if text, ok := fields["storage"]; ok {
		q, err := maildir.ParseQuota(text)
		if err != nil {
			return all, false
		}
		all.Size = q.Size
	}
	if text, ok := fields["messages"]; ok {
		q, err := maildir.ParseQuota(text + "C")
		if err != nil {
			return all, false
		}
		all.Count = q.Count
	}
	return all, true
}

// room refuses a message for the Maildir at a path if that is full. Where there is no quota nothing is opened.
func (s *system) room(name string, size int64) error {
	quota := s.quotas.ofMaildir(name)
	if quota == nil || quota().IsZero() {
		return nil
	}
	d, err := s.mailbox(name)
	if err != nil {
		return err
	}
	return d.Room(size)
}

// quotaWaits makes a message that is larger than its mailbox may be a reason to wait: it is safe where it is, and somebody may
// change the quota.
func quotaWaits(err error) error {
	if err != nil && mail.StatusOf(err) == (mail.Status{Class: mail.Permanent, Subject: 2, Detail: 3}) {
		return exitWith(exTempFail, err)
	}
	return err
}

// largeMessage is from which size on it is worth a look at the disk whether there is room, so that nobody sends all of it for nothing.
const largeMessage = 1 << 20

// space refuses a message while the disk has less than the reserve, or would have with it. Without a reserve it is only about what
// is large, and a disk that does not tell how much is free is believed to have room. What a delivery needs is checked again when it
// starts.
func (s *system) space() func(size int64) error {
	reserve := uint64(max(s.cfg.Reserve, 0))
	return func(size int64) error {
		if reserve == 0 && size < largeMessage {
			return nil
		}
		free, err := s.fs.Free(s.cfg.Spool)
		switch need := reserve + uint64(max(size, 0)); {
		case errors.Is(err, fs.ErrNotExist): // the first message makes it
			return nil
		case reserve == 0 && (err != nil || free == 0):
			return nil
		case err == nil && free < need:
			cause := fmt.Errorf("%s: %d octets free, %d are needed", s.cfg.Spool, free, need)
			err = mail.Temporaryf(3, 1, "Insufficient system storage: %w", cause)
		}
		return vfs.Classify(err)
	}
}

// spoolOwner is who owns the spool, or who runs this where there is none yet.
func (s *system) spoolOwner() (uid, gid int) {
	if fi, err := os.Stat(s.cfg.Spool); err == nil {
		if st, ok := fi.Sys().(*syscall.Stat_t); ok {
			return int(st.Uid), int(st.Gid)
		}
	}
	return os.Geteuid(), os.Getegid()
}
