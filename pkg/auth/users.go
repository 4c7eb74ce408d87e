package auth

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime/debug"
	"sync"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/vfs"
)

// Bounds of the user file and of the work on passwords.
const (
	maxUserFile = 16 << 20 // octets
	maxHashing  = 2        // passwords hashed at a time, each in argonMemory KiB; others wait
	maxCached   = 1024     // passwords remembered

	// refusalTime is how long a refusal takes where some passwords are hashed and for others a command is asked, or where
	// hashes are of several kinds.
	refusalTime = time.Second

	// settled is how old a modification time must be before an unchanged one proves that the content is unchanged.
	settled = 2 * time.Second
)

// ErrMode says that others than its owner can read the user file.
var ErrMode = errors.New("can be read by others")

// User is somebody who may log in or get mail.
type User struct {
	Name   string            // canonical; for a name under Wildcard the one that was asked for
	Fields map[string]string // the key=value fields that auth has no use for; nil if none. Don't change it
}

// Users is the user file. Every call looks whether the file has changed, so an edit is seen at once. It is safe for
// concurrent use; make it with NewUsers.
type Users struct {
	// Remember is for how long a password that was right is taken again without hashing; 0: not at all. It is for
	// programs that listen: pollers then cost next to nothing. Set it before the first call.
	Remember time.Duration
	// Now is the clock; time.Now if nil.
	Now func() time.Time
	// Checker is asked about passwords of those who have no secret in the file; nil: nobody is. Set it before the first
	// call. Since it can't know keys, SCRAM is not offered beside it.
	Checker *Checker
	// Tokens is asked about OAuth 2.0 tokens, whatever the file has; nil: none is right. Set it before the first call.
	Tokens *Checker

	fsys    vfs.FS
	path    string
	limit   int64 // octets of the file
	hashing chan struct{}
	key     [sha256.Size]byte // of the cache; it never leaves the process
	sleep   func(time.Duration)
	after   func(time.Duration) <-chan time.Time

	derive func(password string, salt []byte, iterations int) ScramKeys

	mu     sync.Mutex
	salt   []byte // see saltKey; nil: not read yet
	loaded *userFile
	known  map[[sha256.Size]byte]time.Time // MAC of name, secret and password -> when it is forgotten
}

// userFile is one state of the file.
type userFile struct {
	info    fs.FileInfo
	readAt  time.Time
	entries map[string]entry
	decoy   Secret
	digest  [sha256.Size]byte

	isMixed   bool         // the secrets are not all the same work
	lacksKeys bool         // there is a line that can do with a password, but not with SCRAM
	derives   bool         // there is a line with the password itself, whose keys have to be derived
	shapes    []scramShape // of the lines with keys
}

// NewUsers gives the users in the file at path; nothing is read yet.
func NewUsers(fsys vfs.FS, path string) *Users {
	u := &Users{fsys: fsys, path: path, limit: maxUserFile, hashing: make(chan struct{}, maxHashing), sleep: time.Sleep,
		after: time.After, derive: deriveScram}
	rand.Read(u.key[:])
	return u
}

// Lookup finds a user. An unknown name and one that can't be a name is ErrNoUser; other errors are temporary.
func (u *Users) Lookup(name string) (User, error) {
	file, err := u.load()
	if err != nil {
		return User{}, err
	}
	canonical, e, ok := file.find(name)
	switch {
	case !ok:
		return User{}, ErrNoUser
	case e.err != nil:
		return User{}, errUnavailable(e.err)
	}
	return User{canonical, e.fields}, nil
}

// Exists reports whether there is such a user; errors are temporary.
func (u *Users) Exists(name string) (bool, error) {
	_, err := u.Lookup(name)
	if errors.Is(err, ErrNoUser) {
		return false, nil
	}
	return err == nil, err
}

// Authenticate checks a password. A wrong one and a wrong name are permanent, 5.7.8; all else is temporary, 4.7.0. At
// most two passwords are hashed at a time; ctx ends the wait for that.
//
// Beside a Checker, and with secrets of several kinds, a refusal comes after a second at the earliest: so nobody sees who is
// in the file by the time that only the others take.
func (u *Users) Authenticate(ctx context.Context, name, password string) (User, error) {
	file, err := u.load()
	if err != nil {
		return User{}, err
	}
	canonical, e, _ := file.find(name)
	if e.err != nil {
		return User{}, errUnavailable(e.err)
	}
	start := u.now()
	switch {
	case e.secret.check == nil && u.Checker != nil:
		err = u.Checker.check(ctx, canonical, password)
	case e.secret.check == nil:
		err = u.compare(ctx, canonical, file.decoy, password)
		err = cmp.Or(err, errCredentials())
	default:
		err = u.compare(ctx, canonical, e.secret, password)
	}
	if err != nil && (u.Checker != nil || file.isMixed) && mail.StatusOf(err).IsPermanent() {
		u.wait(ctx, refusalTime-u.now().Sub(start))
	}
	if err != nil {
		return User{}, err
	}
	return User{canonical, e.fields}, nil
}

// AuthenticateToken checks an OAuth 2.0 token, which only a command can; see Tokens. The name need not be in the file.
func (u *Users) AuthenticateToken(ctx context.Context, name, token string) (User, error) {
	file, err := u.load()
	if err != nil {
		return User{}, err
	}
	canonical, e, _ := file.find(name)
	switch {
	case e.err != nil:
		return User{}, errUnavailable(e.err)
	case u.Tokens == nil:
		return User{}, errCredentials()
	}
	if err := u.Tokens.check(ctx, canonical, token); err != nil {
		return User{}, err
	}
	return User{canonical, e.fields}, nil
}

// Offers is part of Offerer. SCRAM is for files where everybody can use it: a client takes the strongest mechanism, and
// would be told that its good password is wrong.
func (u *Users) Offers(mech string) bool {
	switch mech {
	case MechScramSHA256, MechScramSHA256Plus:
		if u.Checker != nil {
			return false
		}
		file, err := u.load()
		return err != nil || !file.lacksKeys
	case MechOAuthBearer, MechXOAuth2:
		return u.Tokens != nil
	}
	return true
}

// compare gives nil if the password fits.
func (u *Users) compare(ctx context.Context, name string, secret Secret, password string) error {
	right, err := u.verify(ctx, name, secret, password)
	switch {
	case err != nil:
		return errUnavailable(err)
	case !right:
		return errCredentials()
	}
	return nil
}

func (u *Users) wait(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-u.after(d):
	case <-ctx.Done():
	}
}

func (u *Users) verify(ctx context.Context, name string, secret Secret, password string) (bool, error) {
	if len(password) > MaxPassword {
		password = "" // the work of a wrong one
	}
	id := u.cacheID(name, secret, password)
	if u.remembers(id) {
		return true, nil
	}
	select {
	case u.hashing <- struct{}{}:
		defer u.endHashing()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	right := secret.Verify(password) && password != ""
	if right {
		u.remember(id)
	}
	return right, nil
}

// endHashing gives the megabytes of the hash back before the next one may start: else fifty clients that log in at once
// leave the garbage of as many hashes. That costs a millisecond or so, of the tens that a hash takes.
func (u *Users) endHashing() {
	debug.FreeOSMemory()
	<-u.hashing
}

// cacheID has the secret in it, so that a new password makes the old one forgotten.
func (u *Users) cacheID(name string, secret Secret, password string) (id [sha256.Size]byte) {
	h := hmac.New(sha256.New, u.key[:])
	fmt.Fprintf(h, "%d %d %s%s%s", len(name), len(secret.text), name, secret.text, password)
	h.Sum(id[:0])
	return id
}

func (u *Users) remembers(id [sha256.Size]byte) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	until, ok := u.known[id]
	left := until.Sub(u.now())
	return ok && left > 0 && left <= u.Remember
}

func (u *Users) remember(id [sha256.Size]byte) {
	if u.Remember <= 0 {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.known == nil || len(u.known) >= maxCached {
		u.known = make(map[[sha256.Size]byte]time.Time)
	}
	u.known[id] = u.now().Add(u.Remember)
}

// find gives the line for a name. The zero entry is for a name that has none.
func (f *userFile) find(name string) (canonical string, e entry, ok bool) {
	canonical, err := CanonicalName(name)
	if err != nil {
		return "", entry{}, false
	}
	if e, ok = f.entries[canonical]; !ok {
		e, ok = f.entries[Wildcard]
	}
	return canonical, e, ok
}

// load gives the current state of the file. Errors are temporary.
func (u *Users) load() (*userFile, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	info, err := u.fsys.Lstat(u.path)
	if err == nil && u.isCurrent(info) {
		return u.loaded, nil
	}
	if err == nil {
		u.loaded, err = u.read()
	}
	if err != nil {
		u.loaded = nil
		return nil, errUnavailable(err)
	}
	return u.loaded, nil
}

// isCurrent takes no young modification time for proof: the content may have changed twice within one tick of the file
// system's clock.
func (u *Users) isCurrent(info fs.FileInfo) bool {
	f := u.loaded
	return f != nil && vfs.SameFile(f.info, info) && f.info.Size() == info.Size() && f.info.Mode() == info.Mode() &&
		f.info.ModTime().Equal(info.ModTime()) && f.readAt.Sub(info.ModTime()) > settled
}

func (u *Users) read() (*userFile, error) {
	now := u.now()
	data, info, err := u.readRaw()
	if err != nil {
		return nil, err
	}
	f := &userFile{info: info, readAt: now, digest: sha256.Sum256(data), decoy: decoy()}
	f.entries = parseUsers(data, &f.decoy)
	f.isMixed = hasSeveralCosts(f.entries)
	f.survey()
	return f, nil
}

// readRaw gives the content of the file, and what was known of it before the content was read.
func (u *Users) readRaw() ([]byte, fs.FileInfo, error) {
	f, err := u.fsys.Open(u.path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, nil, fmt.Errorf("%s %w: chmod 600 %s", u.path, ErrMode, u.path)
	}
	data, err := io.ReadAll(io.LimitReader(f, u.limit+1))
	if err == nil && int64(len(data)) > u.limit {
		err = fmt.Errorf("%s is larger than %d octets", u.path, u.limit)
	}
	return data, info, err
}

func (u *Users) now() time.Time {
	if u.Now != nil {
		return u.Now()
	}
	return time.Now()
}
