package smtp

import (
	"context"
	"encoding/base64"
	"slices"
	"strings"

	"github.com/emersion/go-sasl"

	"mailx/pkg/mail"
)

// Bounds of an AUTH exchange (RFC 4954 §4: a line of 12288 octets).
const (
	maxAuthLine  = 12288
	maxAuthSteps = 16
)

// Auth authenticates (RFC 4954). What is sent and the server's challenges stand in no trace. A refusal is the
// server's *Reply; whoever has mail to send must not take its 535 for a verdict about the mail.
//
// It refuses to show a password to the network (5.7.11): mechanisms that do so need MaySendSecret.
func (c *Client) Auth(ctx context.Context, mech sasl.Client) error {
	if c.broken {
		return errClosed()
	}
	name, initial, err := mech.Start()
	if err != nil {
		return mail.Permanentf(7, 0, "Authentication could not begin: %w", err)
	}
	name = strings.ToUpper(name)
	if !hidesPassword(name) && !c.MaySendSecret() {
		return mail.Permanentf(7, 11, "Encryption is required before a password is sent to %s", printable(c.opt.Server))
	}
	if !slices.Contains(c.ext.Mechanisms(), name) {
		return mail.Permanentf(7, 4, "%s does not offer %s authentication", printable(c.opt.Server), name)
	}
	return c.under(ctx, func() error { return c.authenticate(mech, name, initial) })
}

// forgotten is for a server that wants authentication (530) though there was one: tokens expire, and so may what they were shown
// for. Another connection may do, and no mail comes back for it.
func (c *Client) forgotten(r *Reply) error {
	c.Close()
	return mail.Temporaryf(7, 0, "%s wants us to log in again: %w", printable(c.opt.Server), r)
}

// hidesPassword reports a mechanism that shows a listener no password.
func hidesPassword(mech string) bool {
	return mech == "CRAM-MD5" || mech == "EXTERNAL" || mech == "ANONYMOUS" || strings.HasPrefix(mech, "SCRAM-")
}

// MaySendSecret reports that the connection keeps a password from third parties: TLS, this host, or AuthInClear.
func (c *Client) MaySendSecret() bool {
	return c.wc.TLS() != nil || c.isLocal() || c.opt.AuthInClear
}

func (c *Client) authenticate(mech sasl.Client, name string, initial []byte) error {
	line, shown := "AUTH "+name, "AUTH "+name
	if initial != nil {
		line, shown = line+" "+encodeInitial(initial), shown+" ***"
	}
	if len(line) > maxAuthLine {
		return mail.Permanentf(7, 0, "Authentication data is too long")
	}
	// The trace must not show the challenges: some mechanisms put names and keys there.
	c.wc.SetTrace(nil)
	defer c.wc.SetTrace(c.opt.Trace)
	for range maxAuthSteps {
		c.traceSecret(shown)
		r, err := c.secret(line, shown, c.opt.Timeouts.Greeting)
		if err != nil {
			return err
		}
		c.traceReply(r)
		if r.Code != 334 {
			if r.Code == 235 {
				c.isKnown = true
				return nil
			}
			return c.unexpected(r)
		}
		line, err = nextResponse(mech, r.Lines[0])
		shown = "***"
		if err != nil {
			return c.cancelAuth(err)
		}
	}
	return c.cancelAuth(protocolError("endless authentication"))
}

func (c *Client) traceSecret(shown string) {
	if c.opt.Trace != nil {
		c.opt.Trace(true, shown)
	}
}

func (c *Client) traceReply(r *Reply) {
	if c.opt.Trace == nil {
		return
	}
	if r.Code == 334 {
		c.opt.Trace(false, "334 ***")
		return
	}
	c.opt.Trace(false, r.Error())
}

// encodeInitial is base64, and "=" for a response that is there and empty (RFC 4954 §4).
func encodeInitial(b []byte) string {
	if len(b) == 0 {
		return "="
	}
	return base64.StdEncoding.EncodeToString(b)
}

func nextResponse(mech sasl.Client, challenge string) (string, error) {
	b, err := base64.StdEncoding.DecodeString(challenge)
	if err != nil {
		return "", protocolError("challenge is not base64")
	}
	response, err := mech.Next(b)
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(response), nil
}

// cancelAuth leaves the exchange with "*"; the server answers 501.
func (c *Client) cancelAuth(why error) error {
	if r, err := c.command("*", c.opt.Timeouts.Greeting); err == nil && r.Code/100 == 5 {
		return mail.Temporaryf(7, 0, "Authentication was given up: %w", why)
	}
	return c.lost(why)
}
