//go:build interop

package interop

import (
	"errors"
	"net"
	"strings"
	"testing"

	gosmtp "github.com/emersion/go-smtp"
)

// TestGoSMTPUTF8 has addresses that are not ASCII on both sides.
func TestGoSMTPUTF8(t *testing.T) {
	t.Parallel()
	w, starttls, _ := newSubmission(t)
	c, err := dialGoSMTP(t, handed{addr: starttls, caFile: w.caFile})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Auth(loginOf("PLAIN", secret)); err != nil {
		t.Fatal(err)
	}
	if err := c.Mail("żółw@example.net", &gosmtp.MailOptions{UTF8: true, Body: gosmtp.Body8BitMIME}); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{rcpt, "größe@example.com"} {
		if err := c.Rcpt(to, nil); err != nil {
			t.Fatal(err)
		}
	}
	text := header + "Grüße\n"
	if err := goSMTPData(c, text); err != nil {
		t.Fatal(err)
	}
	s := checkStored(t, takeOne(t, w.mailbox(user)), "żółw@example.net", text)
	if !strings.Contains(s.received, " with UTF8SMTPSA ") {
		t.Errorf("got %s", s.received)
	}
	checkEnvelopes(t, w, "żółw@example.net", []string{"größe@example.com"}, text)
}

// TestGoSMTPDSN asks for what a notice is to have, if the server offers to know about it (RFC 3461).
func TestGoSMTPDSN(t *testing.T) {
	t.Parallel()
	w, starttls, _ := newSubmission(t)
	c, err := dialGoSMTP(t, handed{addr: starttls, caFile: w.caFile})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if ok, _ := c.Extension("DSN"); !ok {
		t.Skip("DSN is not offered")
	}
	if err := c.Auth(loginOf("PLAIN", secret)); err != nil {
		t.Fatal(err)
	}
	if err := c.Mail(sender, &gosmtp.MailOptions{Return: gosmtp.DSNReturnHeaders, EnvelopeID: "QQ+314159"}); err != nil {
		t.Fatal(err)
	}
	if err := c.Rcpt(away, &gosmtp.RcptOptions{Notify: []gosmtp.DSNNotify{gosmtp.DSNNotifyFailure, gosmtp.DSNNotifyDelayed},
		OriginalRecipientType: gosmtp.DSNAddressTypeRFC822, OriginalRecipient: "old+name@example.com"}); err != nil {
		t.Fatal(err)
	}
	text := letters()[0].text
	if err := goSMTPData(c, text); err != nil {
		t.Fatal(err)
	}
	checkEnvelopes(t, w, sender, []string{away}, text)
}

// TestGoSMTPLMTP wants a verdict for each recipient, and an error for the one that does not exist.
func TestGoSMTPLMTP(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mustMailx(secret+"\n", "user", "add", "carl")
	path := w.serveLMTP()
	for _, l := range letters() {
		t.Run(l.name, func(t *testing.T) {
			conn, err := net.Dial("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			c := gosmtp.NewClientLMTP(conn)
			defer c.Close()
			took, err := goLMTP(c, l.text)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{user, "carl"} {
				if took[name+"@"+domain] == nil {
					t.Errorf("no reply for %s: %v", name, took)
				}
				checkStored(t, takeOne(t, w.mailbox(name)), sender, l.text)
			}
		})
	}
}

// goLMTP gives the replies that came for the recipients after the data.
func goLMTP(c *gosmtp.Client, text string) (map[string]*gosmtp.DataResponse, error) {
	if err := c.Hello("client.example.net"); err != nil {
		return nil, err
	}
	if err := c.Mail(sender, &gosmtp.MailOptions{Body: gosmtp.Body8BitMIME}); err != nil {
		return nil, err
	}
	var refusal *gosmtp.SMTPError
	if err := c.Rcpt("nobody@"+domain, nil); !errors.As(err, &refusal) || refusal.Code != 550 ||
		refusal.EnhancedCode != (gosmtp.EnhancedCode{5, 1, 1}) {
		return nil, errors.Join(err, errors.New("want 550 5.1.1"))
	}
	for _, to := range []string{rcpt, "carl@" + domain} {
		if err := c.Rcpt(to, nil); err != nil {
			return nil, err
		}
	}
	data, err := c.Data()
	if err != nil {
		return nil, err
	}
	if _, err := data.Write([]byte(crlf(text))); err != nil {
		return nil, err
	}
	took, err := data.CloseWithLMTPResponse()
	return took, errors.Join(err, c.Quit())
}

// sendLMTP hands over one message for recipients who all exist.
func sendLMTP(conn net.Conn, text string, to ...string) error {
	c := gosmtp.NewClientLMTP(conn)
	return errors.Join(c.Hello("client.example.net"), c.SendMail(sender, to, strings.NewReader(crlf(text))), c.Quit())
}
