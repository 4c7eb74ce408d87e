package auth

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/crypto/scrypt"
)

// Parameters of new hashes: OWASP's row with the least memory, as strong as its others. Every login under way needs
// argonMemory KiB.
const (
	argonMemory = 7168
	argonTime   = 5
	saltSize    = 16
	hashSize    = 32
)

// Bounds on the hashes of a user file: a line must not be able to stop the server.
const (
	maxMemory = 1 << 20 // KiB
	maxRounds = 1_000_000
)

// Secret is what the user file knows of a password. It prints masked everywhere; Encode is its text.
type Secret struct {
	text  string
	plain string                     // the password, if the file has it
	scram *ScramKeys                 // if the secret is nothing else
	check func(password string) bool // gets a prepared password
}

var errSecret = errors.New("secret is of no known form")

// ParseSecret reads the second field of a line of the user file. Errors don't have the secret in them.
func ParseSecret(text string) (Secret, error) {
	s := Secret{text: text}
	var err error
	switch scheme, rest := cutScheme(text); scheme {
	case "{PLAIN}", "{CLEARTEXT}", "{PLAIN.B64}":
		s.plain, err = parsePlain(scheme, rest)
		s.check = func(password string) bool { return equal([]byte(password), []byte(prepare(s.plain))) }
	case "{SCRAM-SHA-256}":
		var keys ScramKeys
		keys, err = ParseScramKeys(rest)
		s.scram, s.check = &keys, keys.fit
	default:
		s.check, err = parseHash(hashOf(scheme, text, rest))
	}
	if err != nil {
		return Secret{}, err
	}
	return s, nil
}

// hashOf takes the name in front off a hash as Dovecot writes it, {BLF-CRYPT}$2y$...; "" if it is the wrong one.
func hashOf(scheme, text, rest string) string {
	kinds := map[string]string{"{ARGON2ID}": "$argon2id$", "{BLF-CRYPT}": "$2", "{SHA512-CRYPT}": "$6$", "{CRYPT}": "$"}
	prefix, named := kinds[scheme]
	switch {
	case !named:
		return text
	case !strings.HasPrefix(rest, prefix):
		return ""
	}
	return rest
}

// parseHash reads "$name$...".
func parseHash(text string) (func(string) bool, error) {
	switch name, rest := cutScheme(text); name {
	case "argon2id":
		return parseArgon(rest)
	case "scrypt":
		return parseScrypt(rest)
	case "2a", "2b", "2y":
		return parseBcrypt(text)
	case "6":
		return parseSHA512Crypt(rest)
	}
	return nil, errSecret
}

// cutScheme splits "$name$rest" and "{NAME}rest".
func cutScheme(text string) (scheme, rest string) {
	if after, ok := strings.CutPrefix(text, "$"); ok {
		scheme, rest, _ = strings.Cut(after, "$")
		return scheme, rest
	}
	if end := strings.IndexByte(text, '}'); end > 0 && text[0] == '{' {
		return strings.ToUpper(text[:end+1]), text[end+1:]
	}
	return "", ""
}

// NewSecret makes an argon2id hash of a password with a salt of its own.
func NewSecret(password string) Secret {
	salt := make([]byte, saltSize)
	rand.Read(salt)
	sum := argon2.IDKey([]byte(prepare(password)), salt, argonTime, argonMemory, 1, hashSize)
	return argonSecret(salt, sum)
}

func argonSecret(salt, sum []byte) Secret {
	enc := base64.RawStdEncoding.EncodeToString
	text := fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=1$%s$%s", argon2.Version, argonMemory, argonTime, enc(salt), enc(sum))
	s, _ := ParseSecret(text)
	return s
}

// cost is the same for secrets that are the same work: the text without salt and hash.
func (s Secret) cost() string {
	scheme, rest := cutScheme(s.text)
	if strings.HasPrefix(s.text, "{") {
		if inner := hashOf(scheme, s.text, rest); inner != s.text && inner != "" {
			return Secret{text: inner}.cost()
		}
		if s.scram != nil {
			rest, _, _ = strings.Cut(rest, ",") // the rounds
			return scheme + rest
		}
		return "{PLAIN}" // in any form, and {CLEARTEXT}
	}
	fields := strings.Split(s.text, "$")
	last := 2 // salt and hash
	if strings.HasPrefix(scheme, "2") {
		last = 1
	}
	return strings.Join(fields[:max(0, len(fields)-last)], "$")
}

// hasSeveralCosts reports that a wrong password takes longer for some of these than for others.
func hasSeveralCosts(entries map[string]entry) bool {
	first := ""
	for _, e := range entries {
		if e.err != nil || e.secret.check == nil {
			continue
		}
		cost := e.secret.cost()
		if first != "" && cost != first {
			return true
		}
		first = cost
	}
	return false
}

// decoy is a secret that no password fits and that is as much work as a real one.
func decoy() Secret { return argonSecret(make([]byte, saltSize), make([]byte, hashSize)) }

// Verify takes the time of the hash: milliseconds and megabytes. The zero Secret fits nothing.
func (s Secret) Verify(password string) bool { return s.check != nil && s.check(prepare(password)) }

// Encode is the text for the user file.
func (s Secret) Encode() string { return s.text }

// String masks.
func (s Secret) String() string { return masked }

// GoString masks.
func (s Secret) GoString() string { return masked }

// LogValue masks.
func (s Secret) LogValue() slog.Value { return slog.StringValue(masked) }

// parsePHC reads "params$salt$hash" (the PHC string format), with the named params in this order.
func parsePHC(rest string, names ...string) (params []int, salt, sum []byte, err error) {
	parts := strings.Split(rest, "$")
	if len(parts) != 3 {
		return nil, nil, nil, errSecret
	}
	words := strings.Split(parts[0], ",")
	if len(words) != len(names) {
		return nil, nil, nil, errSecret
	}
	for i, word := range words {
		value, ok := strings.CutPrefix(word, names[i]+"=")
		n, err := strconv.ParseUint(value, 10, 31)
		if !ok || err != nil {
			return nil, nil, nil, errSecret
		}
		params = append(params, int(n))
	}
	dec := base64.RawStdEncoding.Strict()
	salt, err1 := dec.DecodeString(parts[1])
	sum, err2 := dec.DecodeString(parts[2])
	if err1 != nil || err2 != nil || len(salt) < 8 || len(salt) > 64 || len(sum) < 16 || len(sum) > 64 {
		return nil, nil, nil, errSecret
	}
	return params, salt, sum, nil
}

// parseArgon reads what follows "$argon2id$".
func parseArgon(rest string) (func(string) bool, error) {
	rest, ok := strings.CutPrefix(rest, fmt.Sprintf("v=%d$", argon2.Version))
	params, salt, sum, err := parsePHC(rest, "m", "t", "p")
	if err != nil || !ok {
		return nil, errSecret
	}
	m, t, p := params[0], params[1], params[2]
	if p < 1 || p > 16 || m < 8*p || m > maxMemory || t < 1 || t > 100 {
		return nil, errSecret
	}
	return func(password string) bool {
		return equal(argon2.IDKey([]byte(password), salt, uint32(t), uint32(m), uint8(p), uint32(len(sum))), sum)
	}, nil
}

// parseScrypt reads what follows "$scrypt$".
func parseScrypt(rest string) (func(string) bool, error) {
	params, salt, sum, err := parsePHC(rest, "ln", "r", "p")
	if err != nil {
		return nil, err
	}
	ln, r, p := params[0], params[1], params[2]
	if ln < 1 || ln > 20 || r < 1 || r > 32 || p < 1 || p > 16 || r<<ln > 8*maxMemory {
		return nil, errSecret
	}
	return func(password string) bool {
		got, err := scrypt.Key([]byte(password), salt, 1<<ln, r, p, len(sum))
		return err == nil && equal(got, sum)
	}, nil
}

func parseBcrypt(text string) (func(string) bool, error) {
	cost, err := bcrypt.Cost([]byte(text))
	if err != nil || cost > 18 {
		return nil, errSecret
	}
	return func(password string) bool {
		return bcrypt.CompareHashAndPassword([]byte(text), []byte(password)) == nil
	}, nil
}

func parsePlain(scheme, rest string) (string, error) {
	if scheme == "{PLAIN.B64}" {
		raw, err := base64.StdEncoding.DecodeString(rest)
		if err != nil {
			return "", errSecret
		}
		rest = string(raw)
	}
	if rest == "" {
		return "", errors.New("secret is empty")
	}
	return rest, nil
}
