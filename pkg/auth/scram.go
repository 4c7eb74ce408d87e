package auth

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"

	"mailx/pkg/mail"
)

// The SCRAM-SHA-256 messages (RFC 5802 §7, RFC 7677):
//
//	client-first   n,,n=user,r=cnonce
//	server-first   r=cnonce snonce,s=salt,i=iterations
//	client-final   c=biws,r=cnonce snonce,p=ClientProof
//	server-final   v=ServerSignature
//
// With channel binding "n,," is "p=tls-exporter,,", and the data of the binding stand behind it in c=. It is "y,," if the
// client could have bound the channel, but was not offered to.

// scramServer is the server's side. The response to server-final is empty, and only then the exchange is done.
type scramServer struct {
	*exchange
	plus       bool   // the mechanism is SCRAM-SHA-256-PLUS
	binding    []byte // of the channel; nil if -PLUS is not offered
	fixedNonce string // for tests; else random
	keys       ScramKeys
	known      User
	header     string // what c= has to be, decoded
	nonce      string
	first2     string // client-first-message-bare "," server-first-message
}

// errBinding says that client and server are not the two ends of one TLS connection, or that somebody hid that the server
// can check that. RFC 5802 §6.
func errBinding() error { return mail.Permanentf(7, 8, "Channel binding does not match") }

func (s *scramServer) first(response []byte) ([]byte, bool, error) {
	if response == nil {
		return []byte{}, false, nil
	}
	msg, ok := parseClientFirst(string(response))
	if !ok {
		return nil, true, errMalformed()
	}
	s.claimed = msg.name
	if err := s.bind(msg); err != nil {
		return nil, true, err
	}
	known, keys, err := s.verifier.ScramKeys(msg.name)
	if err != nil {
		return nil, true, err
	}
	s.known, s.keys, s.nonce = known, keys, msg.nonce+s.fixedNonce
	if s.fixedNonce == "" {
		s.nonce = msg.nonce + rand.Text()
	}
	challenge := "r=" + s.nonce + ",s=" + base64.StdEncoding.EncodeToString(keys.Salt) + ",i=" + strconv.Itoa(keys.Iterations)
	s.first2 = msg.bare + "," + challenge
	s.step = s.final
	return []byte(challenge), false, nil
}

// bind looks whether the client means the channel that there is.
func (s *scramServer) bind(msg clientFirst) error {
	s.header = msg.gs2
	if !s.plus {
		switch {
		case msg.flag == "p":
			return errMalformed()
		case msg.flag == "y" && s.binding != nil: // it was not shown our offer
			return errBinding()
		}
		return nil
	}
	switch {
	case msg.flag != "p":
		return errMalformed()
	case msg.binding != tlsExporter:
		return errBinding()
	}
	s.header += string(s.binding)
	return nil
}

// clientFirst is a client-first-message: gs2 and bare are its two halves as they came.
type clientFirst struct {
	flag    string // "n", "y" or "p"
	binding string // the type behind "p="
	gs2     string // with its commas, "n,,"
	bare    string
	name    string
	nonce   string
}

// parseClientFirst reads a client-first-message (RFC 5802 §7). An authorization identity must be the name itself.
// Extensions that are mandatory ("m=") are refused, others ignored.
func parseClientFirst(text string) (msg clientFirst, ok bool) {
	parts := strings.SplitN(text, ",", 3)
	if len(parts) != 3 {
		return msg, false
	}
	msg.gs2, msg.bare = parts[0]+","+parts[1]+",", parts[2]
	var isBound bool
	msg.flag, msg.binding, isBound = strings.Cut(parts[0], "=")
	attrs := strings.Split(msg.bare, ",")
	if isBound != (msg.flag == "p") || isBound != isBindingType(msg.binding) || len(attrs) < 2 ||
		(!isBound && msg.flag != "n" && msg.flag != "y") {
		return msg, false
	}
	saslname, ok1 := strings.CutPrefix(attrs[0], "n=")
	nonce, ok2 := strings.CutPrefix(attrs[1], "r=")
	name, ok3 := unescapeName(saslname)
	if !ok1 || !ok2 || !ok3 || !isNonce(nonce) || (parts[1] != "" && parts[1] != "a="+saslname) {
		return msg, false
	}
	msg.name, msg.nonce = name, nonce
	return msg, true
}

// isBindingType is cb-name of RFC 5802 §7.
func isBindingType(s string) bool {
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '-' {
			return false
		}
	}
	return s != ""
}

// final checks the proof. ClientProof = ClientKey XOR HMAC(StoredKey, AuthMessage), and H(ClientKey) = StoredKey.
func (s *scramServer) final(response []byte) ([]byte, bool, error) {
	msg := string(response)
	i := strings.LastIndex(msg, ",p=")
	if i < 0 {
		return nil, true, errMalformed()
	}
	proof, err := base64.StdEncoding.DecodeString(msg[i+len(",p="):])
	rest, ok := strings.CutPrefix(msg[:i], "c="+base64.StdEncoding.EncodeToString([]byte(s.header))+",r=")
	switch {
	case !ok && s.plus && strings.HasPrefix(msg, "c="):
		return nil, true, errBinding()
	case !ok:
		return nil, true, errMalformed()
	}
	rest, ok = strings.CutPrefix(rest, s.nonce)
	if err != nil || len(proof) != sha256.Size || !ok || (rest != "" && rest[0] != ',') {
		return nil, true, errMalformed()
	}
	return s.answer(s.first2+","+msg[:i], proof)
}

func (s *scramServer) answer(authMessage string, proof []byte) ([]byte, bool, error) {
	clientKey := make([]byte, sha256.Size)
	subtle.XORBytes(clientKey, proof, mac(s.keys.StoredKey, authMessage))
	if stored := sha256.Sum256(clientKey); subtle.ConstantTimeCompare(stored[:], s.keys.StoredKey) != 1 || s.known.Name == "" {
		return nil, true, errCredentials()
	}
	s.step = s.last
	return []byte("v=" + base64.StdEncoding.EncodeToString(mac(s.keys.ServerKey, authMessage))), false, nil
}

func (s *scramServer) last(response []byte) ([]byte, bool, error) {
	if len(response) != 0 {
		return nil, true, errMalformed()
	}
	s.user = s.known
	return nil, true, nil
}

// scramClient is the client's side.
type scramClient struct {
	name, password string
	gs2            string // "n,,", "y,," or "p=tls-exporter,,"; "" is the first
	binding        []byte // behind "p=": the mechanism is SCRAM-SHA-256-PLUS
	nonce          string
	step           int
	bare           string
	signature      []byte // what the server must prove
}

// Errors of the client's side; the server is to blame, or somebody in between.
var (
	errScramServer = errors.New("SCRAM: the server's message is malformed or out of order")
	errScramNonce  = errors.New("SCRAM: the server changed the nonce")
	errScramRounds = errors.New("SCRAM: the server asks for too few or too many iterations")
	errScramProof  = errors.New("SCRAM: the server does not know the password")
)

// Start is part of sasl.Client.
func (c *scramClient) Start() (mech string, ir []byte, err error) {
	if c.nonce == "" {
		c.nonce = rand.Text()
	}
	c.bare = "n=" + escapeName(prepare(c.name)) + ",r=" + c.nonce
	c.step = 1
	c.gs2 = cmp.Or(c.gs2, "n,,")
	if c.binding != nil {
		return MechScramSHA256Plus, []byte(c.gs2 + c.bare), nil
	}
	return MechScramSHA256, []byte(c.gs2 + c.bare), nil
}

// Next is part of sasl.Client.
func (c *scramClient) Next(challenge []byte) (response []byte, err error) {
	c.step++
	switch {
	case c.step == 2:
		return c.final(string(challenge))
	case c.step == 3 && c.signature != nil:
		return c.verify(challenge)
	default:
		return nil, errScramServer
	}
}

func (c *scramClient) final(serverFirst string) ([]byte, error) {
	if len(serverFirst) > maxResponse {
		return nil, errScramServer
	}
	attrs := strings.Split(serverFirst, ",")
	if len(attrs) < 3 {
		return nil, errScramServer
	}
	nonce, ok1 := strings.CutPrefix(attrs[0], "r=")
	salt64, ok2 := strings.CutPrefix(attrs[1], "s=")
	rounds, ok3 := strings.CutPrefix(attrs[2], "i=")
	salt, err := base64.StdEncoding.DecodeString(salt64)
	if !ok1 || !ok2 || !ok3 || err != nil || len(salt) == 0 {
		return nil, errScramServer
	}
	if !strings.HasPrefix(nonce, c.nonce) || len(nonce) == len(c.nonce) || !isNonce(nonce) {
		return nil, errScramNonce
	}
	n, err := strconv.Atoi(rounds)
	if err != nil || n < minIterations || n > maxIterations {
		return nil, errScramRounds
	}
	withoutProof := "c=" + base64.StdEncoding.EncodeToString(append([]byte(c.gs2), c.binding...)) + ",r=" + nonce
	return c.prove(salt, n, c.bare+","+serverFirst+","+withoutProof, withoutProof), nil
}

func (c *scramClient) prove(salt []byte, rounds int, authMessage, withoutProof string) []byte {
	salted := saltedPassword(c.password, salt, rounds)
	clientKey := mac(salted, "Client Key")
	stored := sha256.Sum256(clientKey)
	proof := make([]byte, sha256.Size)
	subtle.XORBytes(proof, clientKey, mac(stored[:], authMessage))
	c.signature = mac(mac(salted, "Server Key"), authMessage)
	return []byte(withoutProof + ",p=" + base64.StdEncoding.EncodeToString(proof))
}

func (c *scramClient) verify(serverFinal []byte) ([]byte, error) {
	value, ok := bytes.CutPrefix(serverFinal, []byte("v="))
	value, _, _ = bytes.Cut(value, []byte(","))
	got, err := base64.StdEncoding.DecodeString(string(value))
	if !ok || err != nil || !hmac.Equal(got, c.signature) {
		return nil, errScramProof
	}
	return []byte{}, nil
}

// isNonce is RFC 5802 §7 printable: no comma, no blank, no control character.
func isNonce(s string) bool {
	if s == "" || len(s) > 1024 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == ',' {
			return false
		}
	}
	return true
}

func escapeName(name string) string { return strings.NewReplacer("=", "=3D", ",", "=2C").Replace(name) }

// unescapeName reads RFC 5802 §7 saslname: "=" stands only in "=2C" and "=3D".
func unescapeName(s string) (string, bool) {
	name := strings.NewReplacer("=2C", ",", "=3D", "=").Replace(s)
	ok := s != "" && strings.Count(s, "=") == strings.Count(s, "=2C")+strings.Count(s, "=3D") && !strings.Contains(s, "\x00")
	return name, ok
}
