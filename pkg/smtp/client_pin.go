package smtp

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
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

// PinsOf gives the pins of a certificate: of all of it, and of its key.
func PinsOf(cert *x509.Certificate) (whole, key Pin) {
	return Pin{sum: sha256.Sum256(cert.Raw)}, Pin{isKey: true, sum: sha256.Sum256(cert.RawSubjectPublicKeyInfo)}
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
		whole, key := PinsOf(state.PeerCertificates[0])
		if slices.Contains(pins, whole) || slices.Contains(pins, key) {
			return nil
		}
		return errPin
	}
}
