// Package auth says who somebody is: the user file, password hashes, SASL mechanisms for both sides, and the brake on
// guessing.
//
// The user file has one line for each user, "#" before comments, and mode 0600:
//
//	name:secret[:key=value...]
//
// Names are compared in lower case (see [CanonicalName]); the name "*" stands for every name that has no line of its
// own. The secret is one of
//
//	$argon2id$v=19$m=...,t=...,p=...$salt$hash    what mailx writes
//	$scrypt$ln=...,r=...,p=...$salt$hash          read
//	$2a$ $2b$ $2y$ (bcrypt), $6$ (sha512-crypt)   read, for users who come from elsewhere
//	{PLAIN}text  {PLAIN.B64}base64                read; a text with a colon needs the second form
//	{SCRAM-SHA-256}                               read; the keys that scram= has, and nothing else
//	                                              nothing: a Checker knows the password
//
// and the key mailx uses is scram=iterations,salt,StoredKey,ServerKey (RFC 5802 §3, the last three in base64). Other
// keys are kept.
//
// Lines of Dovecot's passwd-file are read too: its names of schemes may stand in front of these hashes
// ({BLF-CRYPT}$2y$...), and five fields of passwd(5) between the secret and the keys, which are cut at blanks then.
//
// A wrong name and a wrong password give the same error (5.7.8) after the same work; trouble with the file is
// temporary (4.7.0), so that nobody is told that a good password is bad.
package auth

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"mailx/pkg/mail"
)

// maxName is the longest file name on Linux: a user's name is the name of a Maildir.
const maxName = 255

// Wildcard is the name of the line that stands for every name without a line of its own.
const Wildcard = "*"

// CanonicalName checks a user name and gives it in lower case. It must be usable as the name of a directory and as a
// field of the user file: no slash, colon, blank or control character, no leading dot or "#", no "..", valid UTF-8, 1
// to 255 octets, and not Wildcard.
func CanonicalName(name string) (string, error) {
	lower := strings.ToLower(name)
	switch {
	case lower == "" || lower == Wildcard, len(lower) > maxName, !utf8.ValidString(name),
		lower[0] == '.', lower[0] == '#', strings.Contains(lower, ".."), strings.ContainsAny(lower, "/:"):
		return "", errName
	}
	for _, r := range lower {
		if unicode.IsSpace(r) || !unicode.IsPrint(r) {
			return "", errName
		}
	}
	return lower, nil
}

var errName = errors.New("not a valid user name")

// errCredentials is the answer to every wrong name and every wrong password. RFC 4954 §6.
func errCredentials() error { return mail.Permanentf(7, 8, "Authentication credentials invalid") }

// errUnavailable is the answer when nobody can tell. RFC 4954 §4.7.
func errUnavailable(err error) error {
	return mail.Temporaryf(7, 0, "Temporary authentication failure: %w", err)
}

func errMalformed() error { return mail.Permanentf(5, 2, "Malformed authentication response") }
