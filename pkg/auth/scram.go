package auth

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
)

// The SCRAM-SHA-256 messages (RFC 5802 §7, RFC 7677), without channel binding:
//
//	client-first   n,,n=user,r=cnonce
//	server-first   r=cnonce snonce,s=salt,i=iterations
//	client-final   c=biws,r=cnonce snonce,p=ClientProof
//	server-final   v=ServerSignature

// scramServer is the server's side. The response to server-final is empty, and only then the exchange is done.
type scramServer struct {
	*exchange
	fixedNonce string // for tests; else random
	keys       ScramKeys
	known      User
	gs2        string // "n,," as the client sent it
	nonce      string
	first2     string // client-first-message-bare "," server-first-message
}

func (s *scramServer) first(response []byte) ([]byte, bool, error) {
	if response == nil {
		return []byte{}, false, nil
	}
	gs2, bare, name, nonce, ok := parseClientFirst(string(response))
	if !ok {
		return nil, true, errMalformed()
	}
	s.claimed = name
	known, keys, err := s.verifier.ScramKeys(name)
	if err != nil {
		return nil, true, err
	}
	s.known, s.keys, s.gs2, s.nonce = known, keys, gs2, nonce+s.fixedNonce
	if s.fixedNonce == "" {
		s.nonce = nonce + rand.Text()
	}
	challenge := "r=" + s.nonce + ",s=" + base64.StdEncoding.EncodeToString(keys.Salt) + ",i=" + strconv.Itoa(keys.Iterations)
	s.first2 = bare + "," + challenge
	s.step = s.final
	return []byte(challenge), false, nil
}

// parseClientFirst takes "n,," and "y,,"; an authorization identity must be the name itself. Extensions that are
// mandatory ("m=") are refused, others ignored.
func parseClientFirst(msg string) (gs2, bare, name, nonce string, ok bool) {
	parts := strings.SplitN(msg, ",", 3)
	if len(parts) != 3 || (parts[0] != "n" && parts[0] != "y") {
		return "", "", "", "", false
	}
	gs2, bare = parts[0]+","+parts[1]+",", parts[2]
	attrs := strings.Split(bare, ",")
	if len(attrs) < 2 {
		return "", "", "", "", false
	}
	saslname, ok1 := strings.CutPrefix(attrs[0], "n=")
	nonce, ok2 := strings.CutPrefix(attrs[1], "r=")
	name, ok3 := unescapeName(saslname)
	if !ok1 || !ok2 || !ok3 || !isNonce(nonce) || (parts[1] != "" && parts[1] != "a="+saslname) {
		return "", "", "", "", false
	}
	return gs2, bare, name, nonce, true
}

// final checks the proof. ClientProof = ClientKey XOR HMAC(StoredKey, AuthMessage), and H(ClientKey) = StoredKey.
func (s *scramServer) final(response []byte) ([]byte, bool, error) {
	msg := string(response)
	i := strings.LastIndex(msg, ",p=")
	if i < 0 {
		return nil, true, errMalformed()
	}
	proof, err := base64.StdEncoding.DecodeString(msg[i+len(",p="):])
	binding := "c=" + base64.StdEncoding.EncodeToString([]byte(s.gs2)) + ",r=" + s.nonce
	rest, ok := strings.CutPrefix(msg[:i], binding)
	if err != nil || len(proof) != sha256.Size || !ok || (rest != "" && rest[0] != ',') {
		return nil, true, errMalformed()
	}
	authMessage := s.first2 + "," + msg[:i]
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
	return MechScramSHA256, []byte("n,," + c.bare), nil
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
	withoutProof := "c=biws,r=" + nonce
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
