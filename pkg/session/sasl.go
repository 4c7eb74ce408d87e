package session

import (
	"context"
	"encoding/base64"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/wire"
)

// What a client can do to end a SASL exchange.
var (
	ErrBase64    = mail.Permanentf(5, 2, "Not base64")
	ErrCancelled = mail.Permanentf(5, 0, "Authentication cancelled")
)

// Exchange runs the challenges and responses of a SASL mechanism (RFC 4422 §3) in base64 lines, as SMTP (RFC 4954 §4), POP3
// (RFC 5034 §4) and IMAP (RFC 9051 §6.2.2) all have them: prompt is what a challenge line starts with ("334 ", "+ "), initial
// what came with the command, "" if nothing did, "=" for an empty one. Nothing of it is seen in traces.
func Exchange(c *wire.Conn, prompt, initial string, next func(response []byte) (challenge []byte, done bool, err error)) error {
	var response []byte
	var err error
	if initial != "" {
		response, err = decodeBase64(initial)
	}
	for err == nil {
		challenge, done, xerr := next(response)
		if xerr != nil || done {
			return xerr
		}
		response, err = ask(c, prompt, challenge)
	}
	return err
}

func ask(c *wire.Conn, prompt string, challenge []byte) ([]byte, error) {
	if err := c.WriteSecret(prompt+base64.StdEncoding.EncodeToString(challenge), prompt+"***"); err != nil {
		return nil, err
	}
	if err := c.Flush(); err != nil {
		return nil, err
	}
	line, err := c.ReadLine()
	if err != nil {
		return nil, err
	}
	if line == "*" {
		c.Trace(false, line)
		return nil, ErrCancelled
	}
	c.Trace(false, "***")
	return decodeBase64(line)
}

func decodeBase64(s string) ([]byte, error) {
	if s == "=" {
		return []byte{}, nil
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil, ErrBase64
	}
	return b, nil
}

// Pause makes a client wait; a shutdown meanwhile ends the session.
func Pause(ctx context.Context, wait time.Duration) error {
	if wait <= 0 || sleep(ctx, wait) {
		return nil
	}
	return &ClosingError{ErrShutdown}
}
