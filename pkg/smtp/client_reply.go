package smtp

import (
	"strconv"
	"strings"

	"mailx/pkg/mail"
	"mailx/pkg/wire"
)

// What a server may send us in one reply: RFC 5321 §4.5.3.1.5 says 512 octets a line, and some say more.
const (
	maxReplyLine  = 2048
	maxReplyLines = 128
)

// protocolError is a reply that is none.
type protocolError string

func (e protocolError) Error() string { return string(e) }

// readReply reads one reply, of one or more lines (RFC 5321 §4.2.1). The lines of a reply must agree on the code:
// programs that looked at the first or at the last only were fooled (CVE-2020-8794).
func readReply(c *wire.Conn) (*Reply, error) {
	r := &Reply{}
	for range maxReplyLines {
		line, err := c.ReadLine()
		if err != nil {
			return nil, err
		}
		c.Trace(false, line)
		code, text, isLast, ok := cutReplyLine(line)
		if !ok {
			return nil, protocolError("malformed reply")
		}
		if r.Code != 0 && r.Code != code {
			return nil, protocolError("reply with two different codes")
		}
		r.Code = code
		r.Lines = append(r.Lines, printable(text))
		if isLast {
			r.takeStatus()
			return r, nil
		}
	}
	return nil, protocolError("reply of too many lines")
}

// cutReplyLine splits Reply-code [ "-" / SP ] textstring. The code alone is a last line too.
func cutReplyLine(line string) (code int, text string, isLast, ok bool) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' || !isDigit(line[1]) || !isDigit(line[2]) {
		return 0, "", false, false
	}
	code, _ = strconv.Atoi(line[:3])
	switch {
	case len(line) == 3:
		return code, "", true, true
	case line[3] == ' ' || line[3] == '-':
		return code, line[4:], line[3] == ' ', true
	}
	return 0, "", false, false
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// takeStatus moves the enhanced status (RFC 2034 §4) out of the text. One that contradicts the code means nothing.
// Lines behind the first may repeat it or not.
func (r *Reply) takeStatus() {
	word, _, _ := strings.Cut(r.Lines[0], " ")
	s, ok := mail.ParseStatus(word)
	if !ok || int(s.Class) != r.Code/100 {
		return
	}
	r.Status = s
	for i, text := range r.Lines {
		if rest, found := strings.CutPrefix(text, word); found && (rest == "" || rest[0] == ' ') {
			r.Lines[i] = strings.TrimPrefix(rest, " ")
		}
	}
}

// Extensions are the EHLO keywords of a server in upper case, with their parameters as they came (RFC 5321 §4.1.1.1).
type Extensions map[string]string

// parseExtensions reads the lines of an EHLO reply behind the first. Malformed ones mean nothing.
func parseExtensions(lines []string) Extensions {
	e := make(Extensions, len(lines))
	for _, line := range lines {
		word, params, _ := strings.Cut(strings.TrimSpace(line), " ")
		word, params = strings.ToUpper(word), strings.TrimSpace(params)
		// QUIRK: "AUTH=PLAIN LOGIN", for clients of the last century; servers send it beside the real one or alone.
		if old, found := strings.CutPrefix(word, "AUTH="); found {
			word, params = "AUTH", strings.TrimSpace(old+" "+params)
		}
		if !isParamName(word) {
			continue
		}
		if before, twice := e[word]; twice && word == "AUTH" {
			params = before + " " + params
		}
		e[word] = params
	}
	return e
}

// Has reports that the keyword was offered.
func (e Extensions) Has(keyword string) bool {
	_, found := e[keyword]
	return found
}

// MaxSize is the limit of a message that SIZE announces, in octets on the wire (RFC 1870 §4); 0 if there is none.
func (e Extensions) MaxSize() int64 {
	n, err := strconv.ParseInt(e["SIZE"], 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// Mechanisms are the SASL mechanisms that AUTH offers, in upper case (RFC 4954 §3).
func (e Extensions) Mechanisms() []string { return strings.Fields(strings.ToUpper(e["AUTH"])) }
