package auth

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"github.com/emersion/go-sasl"

	"mailx/pkg/mail"
)

// Credentials are what a client shows a server. They print masked.
type Credentials struct {
	User     string
	Password string
	Token    string // OAuth 2.0 access token; with it only OAUTHBEARER and XOAUTH2 are used
	Host     string // of the server, for OAUTHBEARER; may be empty
	Port     int    // of the server, for OAUTHBEARER; may be 0
}

// String masks.
func (c Credentials) String() string { return c.User + ":" + masked }

// GoString masks.
func (c Credentials) GoString() string { return c.String() }

// LogValue masks.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Choice says what a client may do.
type Choice struct {
	Offered []string // by the server, in any letter case
	Secure  bool     // the connection is TLS with the right peer, or needs none
	Only    string   // the mechanism that the configuration names; empty: the strongest

	// TLS is the connection, for channel binding: with it SCRAM proves that nobody sits in between, even where nobody
	// looked at the certificate. nil: none.
	TLS *tls.ConnectionState
}

// preference gives the mechanisms for these credentials, the strongest first. CRAM-MD5 comes after the plain ones on
// secure connections, where it adds nothing, and where servers offer it that can't do it for hashed passwords.
func (c Credentials) preference(secure bool) []string {
	switch {
	case c.Token != "" && secure:
		return []string{MechOAuthBearer, MechXOAuth2}
	case c.Token != "":
		return nil
	case secure:
		return []string{MechScramSHA256Plus, MechScramSHA256, MechPlain, MechLogin, MechCramMD5}
	default:
		return []string{MechScramSHA256Plus, MechScramSHA256, MechCramMD5}
	}
}

// NewClient picks the strongest mechanism that both sides have. Passwords and tokens never go in clear over a
// connection that is not secure. Not finding one is temporary (4.7.0): it is a matter of configuration, and mail waits.
func NewClient(cred Credentials, choice Choice) (sasl.Client, error) {
	if err := cred.check(); err != nil {
		return nil, mail.Temporaryf(7, 0, "Credentials for the server can't be used: %w", err)
	}
	offered := make(map[string]bool, len(choice.Offered))
	for _, mech := range choice.Offered {
		offered[strings.ToUpper(mech)] = true
	}
	binding := exported(choice.TLS)
	wanted := cred.preference(choice.Secure)
	if binding == nil {
		wanted = slices.DeleteFunc(wanted, func(mech string) bool { return mech == MechScramSHA256Plus })
	}
	if choice.Only != "" {
		only := strings.ToUpper(choice.Only)
		wanted = slices.DeleteFunc(wanted, func(mech string) bool { return mech != only })
	}
	for _, mech := range wanted {
		switch {
		case !offered[mech]:
			continue
		case mech == MechScramSHA256Plus || mech == MechScramSHA256:
			return cred.scramClient(mech, binding, offered[MechScramSHA256Plus]), nil
		}
		return cred.client(mech), nil
	}
	return nil, errNoMechanism(cred, choice, offered)
}

func errNoMechanism(cred Credentials, choice Choice, offered map[string]bool) error {
	if choice.Secure {
		return mail.Temporaryf(7, 0, "Server offers no authentication mechanism that can be used")
	}
	for _, mech := range cred.preference(true) {
		if offered[mech] {
			return mail.Temporaryf(7, 0, "Password is not sent without TLS")
		}
	}
	return mail.Temporaryf(7, 0, "Server offers no authentication mechanism without TLS")
}

// check refuses what could break out of a mechanism's message.
func (c Credentials) check() error {
	switch {
	case c.User == "" && c.Token == "":
		return errors.New("user name is empty")
	case c.Password == "" && c.Token == "":
		return errors.New("password is empty")
	case strings.ContainsAny(c.User+c.Password+c.Token+c.Host, "\x00\x01\r\n"):
		return errors.New("control character in user name, password or token")
	}
	return nil
}

func (c Credentials) client(mech string) sasl.Client {
	switch mech {
	case MechPlain:
		return sasl.NewPlainClient("", c.User, c.Password)
	case MechLogin:
		return &loginClient{user: c.User, password: c.Password}
	case MechCramMD5:
		return &cramClient{user: c.User, password: c.Password}
	default:
		return &bearerClient{mech: mech, cred: c}
	}
}

// scramClient tells the server too when it could have bound the channel, and was not offered to: then a server that did
// offer it knows that somebody has changed its list (RFC 5802 §6).
func (c Credentials) scramClient(mech string, binding []byte, wasOffered bool) sasl.Client {
	client := &scramClient{name: c.User, password: c.Password, gs2: "n,,"}
	switch {
	case mech == MechScramSHA256Plus:
		client.gs2, client.binding = "p="+tlsExporter+",,", binding
	case binding != nil && !wasOffered:
		client.gs2 = "y,,"
	}
	return client
}

var errOutOfOrder = errors.New("authentication: the server asks for more than the mechanism has")

// loginClient answers the first question with the name and the second with the password, and does not read them.
//
// QUIRK: the questions are "Username:" and "Password:" by the draft, but "User Name" and others are in use.
type loginClient struct {
	user, password string
	asked          int
}

// Start is part of sasl.Client.
func (c *loginClient) Start() (mech string, ir []byte, err error) { return MechLogin, nil, nil }

// Next is part of sasl.Client.
func (c *loginClient) Next([]byte) ([]byte, error) {
	c.asked++
	switch c.asked {
	case 1:
		return []byte(c.user), nil
	case 2:
		return []byte(c.password), nil
	default:
		return nil, errOutOfOrder
	}
}

// cramClient is RFC 2195.
type cramClient struct {
	user, password string
	asked          bool
}

// Start is part of sasl.Client.
func (c *cramClient) Start() (mech string, ir []byte, err error) { return MechCramMD5, nil, nil }

// Next is part of sasl.Client.
func (c *cramClient) Next(challenge []byte) ([]byte, error) {
	if c.asked || len(challenge) == 0 || len(challenge) > maxResponse {
		return nil, errOutOfOrder
	}
	c.asked = true
	h := hmac.New(md5.New, []byte(c.password))
	h.Write(challenge)
	return []byte(c.user + " " + hex.EncodeToString(h.Sum(nil))), nil
}

// bearerClient is OAUTHBEARER (RFC 7628 §3.1) and Google's XOAUTH2. A challenge is the server's report of a failure;
// the answer to it lets the server say so in its own protocol.
type bearerClient struct {
	mech  string
	cred  Credentials
	asked bool
}

// Start is part of sasl.Client.
func (c *bearerClient) Start() (mech string, ir []byte, err error) {
	end := "\x01auth=Bearer " + c.cred.Token + "\x01\x01"
	if c.mech == MechXOAuth2 {
		return c.mech, []byte("user=" + c.cred.User + end), nil
	}
	gs2 := "n,,"
	if c.cred.User != "" {
		gs2 = "n,a=" + escapeName(c.cred.User) + ","
	}
	if c.cred.Host != "" {
		gs2 += "\x01host=" + c.cred.Host
	}
	if c.cred.Port != 0 {
		gs2 += "\x01port=" + strconv.Itoa(c.cred.Port)
	}
	return c.mech, []byte(gs2 + end), nil
}

// Next is part of sasl.Client.
func (c *bearerClient) Next([]byte) ([]byte, error) {
	if c.asked {
		return nil, errOutOfOrder
	}
	c.asked = true
	if c.mech == MechXOAuth2 {
		return []byte{}, nil
	}
	return []byte{1}, nil
}
