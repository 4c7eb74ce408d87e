package hook

import (
	"cmp"
	"crypto/tls"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"mailx/pkg/mail"
	"mailx/pkg/smtp"
)

// maxVariable is the longest value of a variable, in octets. Linux refuses to start a command with one of 128 KiB, its name
// included.
const maxVariable = 120 << 10

// Facts are what a command is told of mail.
type Facts struct {
	Peer  *smtp.Peer     // nil: there is none
	Env   *mail.Envelope // nil: there is none yet. Its recipients are those of the message
	Rcpt  string         // the recipient that is asked about
	Names []string       // recipients that are users and not addresses; used if Env has none
	Size  int64          // octets of the message
}

// environ is the environment of a command. All variables are there, empty where nothing is known, but for MAILX_RECIPIENTS, which
// is left out when there are too many; MAILX_RECIPIENTS_COUNT tells then. What a peer has said is on one line, without
// control characters.
func (f Facts) environ(e Event, hostname string) []string {
	env := inherited()
	set := func(name, value string) { env = append(env, name+"="+oneLine(value)) }
	peer, message := f.Peer, f.Env
	if peer == nil {
		peer = &smtp.Peer{}
	}
	if message == nil {
		message = &mail.Envelope{}
	}
	set("MAILX_EVENT", string(e))
	set("MAILX_HOSTNAME", hostname)
	set("MAILX_CLIENT_ADDR", addrOf(peer))
	set("TCPREMOTEIP", addrOf(peer)) // as tcpserver's children know it
	set("MAILX_CLIENT_HELO", peer.Helo)
	set("MAILX_CLIENT_TLS", describeTLS(peer.TLS))
	set("MAILX_USER", peer.User)
	set("MAILX_ID", message.ID)
	set("MAILX_SENDER", message.Sender.String())
	set("MAILX_RECIPIENT", f.Rcpt)
	set("MAILX_SIZE", strconv.FormatInt(f.Size, 10))
	rcpts := f.recipients()
	set("MAILX_RECIPIENTS_COUNT", strconv.Itoa(len(rcpts)))
	if list := strings.Join(rcpts, "\n"); len(list) <= maxVariable {
		env = append(env, "MAILX_RECIPIENTS="+list)
	}
	return env
}

func (f Facts) recipients() []string {
	var list []string
	if f.Env != nil {
		for _, r := range f.Env.Rcpts {
			list = append(list, oneLine(r.String()))
		}
	}
	if list == nil {
		for _, name := range f.Names {
			list = append(list, oneLine(name))
		}
	}
	return list
}

// inherited is what a command gets of our own environment.
func inherited() []string {
	env := []string{"PATH=" + cmp.Or(os.Getenv("PATH"), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")}
	for _, name := range []string{"LANG", "TZ"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// oneLine replaces what would break a line, a terminal or a C string.
func oneLine(s string) string {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "?")
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return '?'
		}
		return r
	}, s)
}

func addrOf(p *smtp.Peer) string {
	if p.Addr == (netip.Addr{}) {
		return ""
	}
	return p.Addr.Unmap().WithZone("").String()
}

func describeTLS(t *tls.ConnectionState) string {
	if t == nil {
		return ""
	}
	return tls.VersionName(t.Version) + " " + tls.CipherSuiteName(t.CipherSuite)
}
