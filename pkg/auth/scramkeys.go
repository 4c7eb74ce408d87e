package auth

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"log/slog"
	"strconv"
	"strings"
)

// Iterations of SCRAM: what new keys get, the least a server may ask for (RFC 7677 §4), and the most.
const (
	newIterations = 32768
	minIterations = 4096
	maxIterations = 2_000_000
)

// ScramKeys is what a server keeps of a password for SCRAM-SHA-256 (RFC 5802 §3). They don't let one log in, but
// they let one guess offline, at Iterations a guess. They print masked.
type ScramKeys struct {
	Iterations int
	Salt       []byte
	StoredKey  []byte // 32 octets
	ServerKey  []byte // 32 octets
}

// NewScramKeys makes keys with a salt of their own.
func NewScramKeys(password string) ScramKeys {
	salt := make([]byte, saltSize)
	rand.Read(salt)
	return deriveScram(password, salt, newIterations)
}

func deriveScram(password string, salt []byte, iterations int) ScramKeys {
	salted := saltedPassword(password, salt, iterations)
	stored := sha256.Sum256(mac(salted, "Client Key"))
	return ScramKeys{iterations, salt, stored[:], mac(salted, "Server Key")}
}

// saltedPassword is Hi(Normalize(password), salt, i). RFC 5802 §2.2.
func saltedPassword(password string, salt []byte, iterations int) []byte {
	key, err := pbkdf2.Key(sha256.New, prepare(password), salt, iterations, sha256.Size)
	if err != nil { // only in FIPS mode, with a short salt: fits nothing
		key = make([]byte, sha256.Size)
		rand.Read(key)
	}
	return key
}

// fit checks a password as a hash would.
func (k ScramKeys) fit(password string) bool {
	return hmac.Equal(deriveScram(password, k.Salt, k.Iterations).StoredKey, k.StoredKey)
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

var errScramKeys = errors.New("scram keys are malformed")

// ParseScramKeys reads "iterations,salt,StoredKey,ServerKey".
func ParseScramKeys(text string) (ScramKeys, error) {
	parts := strings.Split(text, ",")
	if len(parts) != 4 {
		return ScramKeys{}, errScramKeys
	}
	n, err := strconv.Atoi(parts[0])
	if err != nil || n < 1 || n > maxIterations {
		return ScramKeys{}, errScramKeys
	}
	var raw [3][]byte
	for i, p := range parts[1:] {
		if raw[i], err = base64.StdEncoding.DecodeString(p); err != nil {
			return ScramKeys{}, errScramKeys
		}
	}
	k := ScramKeys{n, raw[0], raw[1], raw[2]}
	if len(k.Salt) == 0 || len(k.Salt) > 64 || len(k.StoredKey) != sha256.Size || len(k.ServerKey) != sha256.Size {
		return ScramKeys{}, errScramKeys
	}
	return k, nil
}

// Encode is the text that ParseScramKeys reads.
func (k ScramKeys) Encode() string {
	enc := base64.StdEncoding.EncodeToString
	return strconv.Itoa(k.Iterations) + "," + enc(k.Salt) + "," + enc(k.StoredKey) + "," + enc(k.ServerKey)
}

// String masks.
func (k ScramKeys) String() string { return masked }

// GoString masks.
func (k ScramKeys) GoString() string { return masked }

// LogValue masks.
func (k ScramKeys) LogValue() slog.Value { return slog.StringValue(masked) }
