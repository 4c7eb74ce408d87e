package imap

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"mailx/pkg/mail"
	"mailx/pkg/mailbox"
	"mailx/pkg/session"
	"mailx/pkg/wire"
)

func TestResponses(t *testing.T) {
	for _, c := range []struct {
		err  error
		bad  bool
		code string
	}{
		{session.ErrUnknown, true, ""},
		{session.ErrState, true, ""},
		{session.ErrArgs, true, ""},
		{wire.ErrLineTooLong, true, ""},
		{badSyntax("x"), true, ""},
		{errLiteral, true, ""},
		{errors.New("surprise"), false, "UNAVAILABLE"},
		{fs.ErrNotExist, false, "UNAVAILABLE"},
		{mail.Temporaryf(3, 1, "full"), false, "UNAVAILABLE"},
		{mail.Temporaryf(7, 0, "users: %w", fs.ErrNotExist), false, "UNAVAILABLE"},
		{mail.Permanentf(7, 8, "wrong"), false, "AUTHENTICATIONFAILED"},
		{mail.Permanentf(7, 4, "mechanism"), false, ""},
		{mail.Permanentf(2, 2, "quota"), false, "OVERQUOTA"},
		{mail.Temporaryf(2, 2, "quota"), false, "OVERQUOTA"},
		{mail.Temporaryf(2, 0, "busy"), false, "INUSE"},
		{mailbox.ErrNoFolder, false, "NONEXISTENT"},
		{fmt.Errorf("x: %w", mailbox.ErrFolderExists), false, "ALREADYEXISTS"},
		{mailbox.ErrFolderName, false, "CANNOT"},
		{mailbox.ErrInbox, false, "CANNOT"},
		{mailbox.ErrKeywords, false, "LIMIT"},
		{errTooBig, false, "TOOBIG"},
		{errVanished, false, "EXPUNGEISSUED"},
		{errEncryption, false, "PRIVACYREQUIRED"},
		{&no{code: "TRYCREATE", err: mailbox.ErrNoFolder}, false, "TRYCREATE"},
	} {
		if bad := isBad(c.err); bad != c.bad {
			t.Errorf("%v: BAD is %v", c.err, bad)
		}
		if code := codeOf(c.err); !c.bad && code != c.code {
			t.Errorf("%v: code %q, want %q", c.err, code, c.code)
		}
	}
}
