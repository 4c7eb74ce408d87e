package smtp

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
)

// Pin names a certificate, or the public key in it: the key stays when a certificate is renewed.
type Pin struct {
	isKey bool
	sum   [sha256.Size]byte
}

// pinKey is how the sum of a key begins, as curl has it.
const pinKey = "sha256//"

// ParsePin reads the SHA-256 sum of a certificate, 64 hexadecimal digits with or without colons, as `openssl x509 -fingerprint
// -sha256` prints it, or that of a public key, "sha256//" and base64.
func ParsePin(s string) (Pin, error) {
	text, isKey := strings.CutPrefix(s, pinKey)
	decode := base64.StdEncoding.DecodeString
	if !isKey {
		text, decode = strings.ReplaceAll(text, ":", ""), hex.DecodeString
	}
	sum, err := decode(text)
	if err != nil || len(sum) != sha256.Size {
		return Pin{}, errors.New("a fingerprint is the SHA-256 of a certificate in hexadecimal, or sha256// and that of its key in base64")
	}
	return Pin{isKey, [sha256.Size]byte(sum)}, nil
}

// String is what ParsePin reads.
func (p Pin) String() string {
	if p.isKey {
		return pinKey + base64.StdEncoding.EncodeToString(p.sum[:])
	}
	return hex.EncodeToString(p.sum[:])
}

// errPin is told to people on this host.
var errPin = errors.New("certificate has none of the fingerprints that are configured")

// checkPins looks at the certificate of the server itself: what has signed it does not matter, nor do names and dates.
func checkPins(pins []Pin) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return errPin
		}
		leaf := state.PeerCertificates[0]
		whole, key := sha256.Sum256(leaf.Raw), sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
		for _, p := range pins {
			if p.isKey && p.sum == key || !p.isKey && p.sum == whole {
				return nil
			}
		}
		return errPin
	}
}
