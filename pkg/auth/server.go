package auth

import (
	"context"
	"strings"

	"github.com/emersion/go-sasl"

	"mailx/pkg/mail"
)

// The mechanisms that mailx knows, in the names of the IANA registry.
const (
	MechPlain       = "PLAIN"
	MechLogin       = "LOGIN"
	MechScramSHA256 = "SCRAM-SHA-256"
	MechCramMD5     = "CRAM-MD5"    // client only: the server would need the password in clear
	MechOAuthBearer = "OAUTHBEARER" // client only
	MechXOAuth2     = "XOAUTH2"     // client only
)

// maxResponse is the longest response of a client, decoded. Tokens of OAuth have some kilobytes.
const maxResponse = 12288

// Verifier knows the users; Users is one. It is safe for concurrent use.
type Verifier interface {
	// Authenticate checks a password: 5.7.8 for a wrong name or password, temporary for trouble.
	Authenticate(ctx context.Context, name, password string) (User, error)
	// ScramKeys gives keys for any name, such that no password fits for an unknown one. Errors are temporary.
	ScramKeys(name string) (User, ScramKeys, error)
}

// Mechanisms gives what to offer a client, the strongest first. Passwords in clear are for secure connections only:
// TLS, or where the configuration calls loopback secure.
func Mechanisms(secure bool) []string {
	if secure {
		return []string{MechScramSHA256, MechPlain, MechLogin}
	}
	return []string{MechScramSHA256}
}

// Server is the server's side of one exchange. Next gets nil first if the client sent no initial response.
type Server interface {
	sasl.Server
	// User is who it is, once Next has said done without an error; the zero User before.
	User() User
	// Claimed is the name that the client gave, right or not, as it came: for throttle and log. It may be empty.
	Claimed() string
}

// NewServer starts an exchange. A mechanism that Mechanisms doesn't offer for this connection is permanent, 5.5.4; the
// exchange ends with 5.7.8 for wrong credentials, 5.5.2 for responses out of form, 5.5.6 for ones too long, 4.7.0 for
// trouble.
func NewServer(ctx context.Context, mech string, secure bool, v Verifier) (Server, error) {
	x := &exchange{ctx: ctx, verifier: v}
	mech = strings.ToUpper(mech)
	for _, offered := range Mechanisms(secure) {
		if mech != offered {
			continue
		}
		switch mech {
		case MechPlain:
			x.step = x.plain
		case MechLogin:
			x.step = x.loginName
		case MechScramSHA256:
			x.step = (&scramServer{exchange: x}).first
		}
		return x, nil
	}
	return nil, mail.Permanentf(5, 4, "Authentication mechanism is not supported here")
}

// exchange runs one step for each response; a step says what the next one is.
type exchange struct {
	ctx      context.Context
	verifier Verifier
	step     func(response []byte) (challenge []byte, done bool, err error)
	claimed  string
	user     User // set by the step that says done
	ended    bool
}

// User is part of Server.
func (x *exchange) User() User { return x.user }

// Claimed is part of Server.
func (x *exchange) Claimed() string { return x.claimed }

// Next is part of sasl.Server.
func (x *exchange) Next(response []byte) (challenge []byte, done bool, err error) {
	switch {
	case x.ended:
		return nil, true, errMalformed()
	case len(response) > maxResponse:
		err = mail.Permanentf(5, 6, "Authentication response is too long")
	default:
		challenge, done, err = x.step(response)
	}
	if err != nil {
		x.ended, x.user = true, User{}
		return nil, true, err
	}
	x.ended = done
	return challenge, done, nil
}

func (x *exchange) check(name, password string) (challenge []byte, done bool, err error) {
	x.claimed = name
	x.user, err = x.verifier.Authenticate(x.ctx, name, password)
	return nil, true, err
}

// plain is RFC 4616: [authzid] NUL authcid NUL passwd. Nobody may act for somebody else.
func (x *exchange) plain(response []byte) ([]byte, bool, error) {
	if response == nil {
		return []byte{}, false, nil
	}
	parts := strings.Split(string(response), "\x00")
	if len(parts) != 3 || parts[1] == "" {
		return nil, true, errMalformed()
	}
	if parts[0] != "" && !strings.EqualFold(parts[0], parts[1]) {
		x.claimed = parts[1]
		return nil, true, errCredentials()
	}
	return x.check(parts[1], parts[2])
}

// loginName is the first step of LOGIN (draft-murchison-sasl-login).
//
// QUIRK: a NUL behind the name or the password is dropped; old Outlook sends it.
func (x *exchange) loginName(response []byte) ([]byte, bool, error) {
	if response == nil {
		return []byte("Username:"), false, nil
	}
	x.claimed = strings.TrimSuffix(string(response), "\x00")
	x.step = x.loginPassword
	return []byte("Password:"), false, nil
}

func (x *exchange) loginPassword(response []byte) ([]byte, bool, error) {
	return x.check(x.claimed, strings.TrimSuffix(string(response), "\x00"))
}
