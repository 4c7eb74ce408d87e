package smtp

import (
	"math"
	"strconv"
	"time"

	"mailx/pkg/mail"
)

// What the sender of a message asks of every host on its way.

// maxBySeconds is what the nine digits of BY can say (RFC 2852 §4).
const maxBySeconds = 999_999_999

// requests gives what MAIL says for them, each with a blank in front, or why the message must not go to this server.
func (t *transaction) requests() (string, error) {
	s := ""
	if t.env.RequireTLS && !t.c.isFinal() {
		if !t.c.IsVerified() || !t.c.ext.Has("REQUIRETLS") {
			return "", RequireTLSFailure(t.c.opt.Server, nil)
		}
		s += " REQUIRETLS"
	}
	by, err := t.by(time.Now())
	return s + by, err
}

// RequireTLSFailure says that a server does not give what REQUIRETLS asks for (RFC 8689 §4.2.1), and to the log why; cause may be nil.
func RequireTLSFailure(server string, cause error) error {
	return mail.Permanentf(7, 30, "REQUIRETLS support required, but %s does not offer it in a verified session: %w",
		printable(server), cause)
}

// IsVerified reports TLS with a certificate that is valid for the server's name, or that somebody has named.
func (c *Client) IsVerified() bool { return c.wc.TLS() != nil && c.opt.TLS >= TLSVerified }

// isFinal reports a server that is a part of this host: to hand it a message is no hop.
func (c *Client) isFinal() bool { return c.opt.LMTP && c.nc.RemoteAddr().Network() == "unix" }

// by is " BY=120;R" with the time that is left, which may be less than none in mode N (RFC 2852 §4.1.4). What a server
// without DELIVERBY does with its time nobody knows: in mode R it does not get the message, in mode N the sender hears
// that it went there. LMTP is delivery, not relay.
func (t *transaction) by(now time.Time) (string, error) {
	by, least := t.env.By, int64(0)
	if !by.IsSet() {
		return "", nil
	}
	param, offered := t.c.ext["DELIVERBY"]
	if offered {
		least, _ = strconv.ParseInt(param, 10, 64)
	}
	seconds := int64(math.Floor(by.At.Sub(now).Seconds()))
	switch {
	case !by.Notify && seconds <= 0:
		return "", mail.Permanentf(4, 7, "Delivery time expired")
	case !offered && t.c.opt.LMTP:
		return "", nil
	case !offered && !by.Notify:
		return "", mail.Permanentf(4, 7, "%s does not promise to deliver in time", printable(t.c.opt.Server))
	case !by.Notify && seconds < least:
		return "", mail.Permanentf(4, 7, "%s needs %d seconds, and %d are left", printable(t.c.opt.Server), least, seconds)
	}
	t.tellsRelay = !t.c.opt.LMTP && (by.Trace || !offered)
	if !offered {
		return "", nil
	}
	s := " BY=" + strconv.FormatInt(min(max(seconds, -maxBySeconds), maxBySeconds), 10) + ";R"
	if by.Notify {
		s = s[:len(s)-1] + "N"
	}
	if by.Trace {
		s += "T"
	}
	return s, nil
}
