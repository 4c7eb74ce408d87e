package auth

import (
	"context"
	"strings"

	"mailx/pkg/mail"
)

// TokenVerifier is what a Verifier is too when it knows OAuth 2.0 tokens. It says so by [Offerer].
type TokenVerifier interface {
	// AuthenticateToken checks a token: 5.7.8 for a wrong one, temporary for trouble.
	AuthenticateToken(ctx context.Context, name, token string) (User, error)
}

// What a client is told of a token that is not good: RFC 7628 §3.2.2, and Google's form of it.
const (
	refusedBearer  = `{"status":"invalid_token"}`
	refusedXOAuth2 = `{"status":"401","schemes":"bearer"}`
)

// bearerServer is the server's side of OAUTHBEARER (RFC 7628) and XOAUTH2. A refusal goes out as a challenge first; only
// after the response to it, whatever that is, the exchange fails (RFC 7628 §3.2.3).
type bearerServer struct {
	*exchange
	tokens TokenVerifier
	parse  func(response string) (name, token string, ok bool)
	report string
}

func newBearerServer(x *exchange, mech string) (*bearerServer, bool) {
	tokens, ok := x.verifier.(TokenVerifier)
	b := &bearerServer{exchange: x, tokens: tokens, parse: parseBearer, report: refusedBearer}
	if mech == MechXOAuth2 {
		b.parse, b.report = parseXOAuth2, refusedXOAuth2
	}
	return b, ok
}

func (b *bearerServer) first(response []byte) ([]byte, bool, error) {
	if response == nil {
		return []byte{}, false, nil
	}
	name, token, ok := b.parse(string(response))
	if !ok {
		return nil, true, errMalformed()
	}
	b.claimed = name
	user, err := b.tokens.AuthenticateToken(b.ctx, name, token)
	if err == nil {
		b.user = user
		return nil, true, nil
	}
	if !mail.StatusOf(err).IsPermanent() {
		return nil, true, err
	}
	b.refused = err
	b.step = b.dismiss
	return []byte(b.report), false, nil
}

func (b *bearerServer) dismiss([]byte) ([]byte, bool, error) { return nil, true, b.refused }

// parseBearer reads RFC 7628 §3.1: a GS2 header with the name, then key=value pairs, each with a ^A behind it, and one
// more ^A. Keys but auth are ignored.
func parseBearer(response string) (name, token string, ok bool) {
	header, pairs, _ := strings.Cut(response, "\x01")
	parts := strings.Split(header, ",")
	if len(parts) != 3 || (parts[0] != "n" && parts[0] != "y") || parts[2] != "" {
		return "", "", false
	}
	saslname, ok1 := strings.CutPrefix(parts[1], "a=")
	name, ok2 := unescapeName(saslname)
	token, ok3 := bearerToken(pairs)
	return name, token, ok1 && ok2 && ok3
}

// parseXOAuth2 reads "user=" name ^A "auth=Bearer " token ^A ^A.
func parseXOAuth2(response string) (name, token string, ok bool) {
	first, pairs, _ := strings.Cut(response, "\x01")
	name, ok1 := strings.CutPrefix(first, "user=")
	token, ok2 := bearerToken(pairs)
	return name, token, ok1 && ok2 && name != "" && !strings.Contains(name, "\x00")
}

// bearerToken finds the token in pairs. RFC 6750 §2.1: printable ASCII without blanks; the scheme in any letter case.
func bearerToken(pairs string) (token string, ok bool) {
	pairs, ok = strings.CutSuffix(pairs, "\x01\x01")
	if !ok {
		return "", false
	}
	for pair := range strings.SplitSeq(pairs, "\x01") {
		key, value, found := strings.Cut(pair, "=")
		switch {
		case !found || key == "":
			return "", false
		case key != "auth":
			continue
		case token != "" || len(value) < len("Bearer ") || !strings.EqualFold(value[:len("Bearer ")], "Bearer "):
			return "", false
		}
		token = strings.Trim(value[len("Bearer "):], " ")
		if !isToken(token) {
			return "", false
		}
	}
	return token, token != ""
}

func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return s != ""
}
