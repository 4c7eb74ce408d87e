package auth

import (
	"context"
	"slices"
	"strings"

	"github.com/emersion/go-sasl"

	"mailx/pkg/mail"
)

// The mechanisms that mailx knows, in the names of the IANA registry.
const (
	MechPlain           = "PLAIN"
	MechLogin           = "LOGIN"
	MechScramSHA256     = "SCRAM-SHA-256"
	MechScramSHA256Plus = "SCRAM-SHA-256-PLUS" // bound to the TLS connection
	MechCramMD5         = "CRAM-MD5"           // client only: the server would need the password in clear
	MechOAuthBearer     = "OAUTHBEARER"
	MechXOAuth2         = "XOAUTH2"
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

// Offerer is what a Verifier is too when it can't check everything that mechanisms ask: those that it does not offer on a
// secure channel are not there. A Verifier that is none has passwords and keys, and knows no tokens.
type Offerer interface {
	Offers(mech string) bool
}

// Mechanisms gives what to offer a client, the strongest first. Passwords and tokens in clear are for secure channels
// only. On others SCRAM-SHA-256 is all there is, and so it is offered whoever can use it.
func Mechanisms(ch Channel, v Verifier) []string {
	if !ch.Secure {
		return []string{MechScramSHA256}
	}
	all := []string{MechScramSHA256Plus, MechScramSHA256, MechPlain, MechLogin, MechOAuthBearer, MechXOAuth2}
	isBound := exported(ch.TLS) != nil
	return slices.DeleteFunc(all, func(mech string) bool {
		return mech == MechScramSHA256Plus && !isBound || !offers(v, mech)
	})
}

func offers(v Verifier, mech string) bool {
	if o, ok := v.(Offerer); ok {
		return o.Offers(mech)
	}
	return mech != MechOAuthBearer && mech != MechXOAuth2
}

// Server is the server's side of one exchange. Next gets nil first if the client sent no initial response.
type Server interface {
	sasl.Server
	// User is who it is, once Next has said done without an error; the zero User before.
	User() User
	// Claimed is the name that the client gave, right or not, as it came: for throttle and log. It may be empty.
	Claimed() string
	// Verdict is how the exchange ended, given the error that broke it off, or nil. It is another one when the client was
	// refused already and left instead of hearing it: a guess that is cancelled is a guess.
	Verdict(err error) error
}

// NewServer starts an exchange. A mechanism that Mechanisms doesn't offer for this channel is permanent, 5.5.4; the
// exchange ends with 5.7.8 for wrong credentials, 5.5.2 for responses out of form, 5.5.6 for ones too long, 4.7.0 for
// trouble.
func NewServer(ctx context.Context, mech string, ch Channel, v Verifier) (Server, error) {
	mech = strings.ToUpper(mech)
	x := &exchange{ctx: ch.Attempt(ctx, mech), verifier: v}
	if slices.Contains(Mechanisms(ch, v), mech) {
		x.step = x.firstStep(mech, ch)
	}
	if x.step == nil {
		return nil, mail.Permanentf(5, 4, "Authentication mechanism is not supported here")
	}
	return x, nil
}

func (x *exchange) firstStep(mech string, ch Channel) step {
	switch mech {
	case MechPlain:
		return x.plain
	case MechLogin:
		return x.loginName
	case MechScramSHA256, MechScramSHA256Plus:
		s := &scramServer{exchange: x, plus: mech == MechScramSHA256Plus}
		if offers(x.verifier, MechScramSHA256Plus) {
			s.binding = exported(ch.TLS)
		}
		return s.first
	case MechOAuthBearer, MechXOAuth2:
		if b, ok := newBearerServer(x, mech); ok {
			return b.first
		}
	}
	return nil
}

// step takes a response and says what comes of it.
type step func(response []byte) (challenge []byte, done bool, err error)

// exchange runs one step for each response; a step says what the next one is.
type exchange struct {
	ctx      context.Context
	verifier Verifier
	step     step
	claimed  string
	user     User  // set by the step that says done
	refused  error // what the client has been told in a challenge, before the end
	ended    bool
}

// User is part of Server.
func (x *exchange) User() User { return x.user }

// Claimed is part of Server.
func (x *exchange) Claimed() string { return x.claimed }

// Verdict is part of Server.
func (x *exchange) Verdict(err error) error {
	if err != nil && x.refused != nil {
		return x.refused
	}
	return err
}

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
