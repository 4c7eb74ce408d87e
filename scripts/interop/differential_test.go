//go:build interop

package interop

import (
	"bufio"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// dialogue is a list of things to say to a server, from testdata/differential. In the file, "== name" begins one. Each
// line below is a command; one that begins with ">" has no reply, and one in quotes (of Go) is sent as it is, without CRLF
// behind it.
type dialogue struct {
	name  string
	steps []step
}

type step struct {
	text  string // as it stands in the file
	send  string
	quiet bool
}

func dialogues(t *testing.T, path string) []dialogue {
	t.Helper()
	var all []dialogue
	for line := range strings.Lines(read(t, path)) {
		line = strings.TrimSuffix(line, "\n")
		if name, ok := strings.CutPrefix(line, "== "); ok {
			all = append(all, dialogue{name: name})
			continue
		}
		if line == "" || line[0] == '#' || len(all) == 0 {
			continue
		}
		d := &all[len(all)-1]
		d.steps = append(d.steps, parseStep(t, line))
	}
	return all
}

func parseStep(t *testing.T, line string) step {
	t.Helper()
	s := step{text: line}
	line, s.quiet = strings.CutPrefix(line, ">")
	s.send = line + "\r\n"
	if strings.HasPrefix(line, `"`) {
		text, err := strconv.Unquote(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		s.send = text
	}
	return s
}

// replyReader reads the reply to a command and gives what of it is compared.
type replyReader func(r *bufio.Reader, sent string) (string, error)

// gone is the reply of a server that has hung up.
const gone = "gone"

// play gives the replies of a server: first its greeting, then one for each step that is not quiet.
func (d dialogue) play(t *testing.T, addr string, read replyReader) []string {
	t.Helper()
	conn := dialClear(t, addr)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	r := bufio.NewReader(conn)
	replies := []string{d.next(t, conn, r, read, "")}
	for _, s := range d.steps {
		_, err := io.WriteString(conn, s.send)
		switch {
		case s.quiet:
		case err != nil:
			replies = append(replies, gone)
		default:
			replies = append(replies, d.next(t, conn, r, read, s.send))
		}
	}
	return replies
}

func (d dialogue) next(t *testing.T, conn net.Conn, r *bufio.Reader, read replyReader, sent string) string {
	t.Helper()
	reply, err := read(r, sent)
	if e, ok := err.(net.Error); ok && e.Timeout() {
		t.Errorf("%s: %s does not answer %q", d.name, conn.RemoteAddr(), sent)
		return "silent"
	}
	if err != nil {
		return gone
	}
	return reply
}

// allowed is a difference with a reason. In the file it is a line of five columns with " | " between them: the dialogue,
// the command, our reply, theirs, and the reason.
type allowed struct {
	line string
	used bool
}

func allowList(t *testing.T, path string) map[string]*allowed {
	t.Helper()
	all := make(map[string]*allowed)
	for line := range strings.Lines(read(t, path)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		columns := strings.Split(line, " | ")
		if len(columns) != 5 || strings.TrimSpace(columns[4]) == "" {
			t.Fatalf("%s: want five columns: %q", path, line)
		}
		for i := range columns {
			columns[i] = strings.TrimSpace(columns[i])
		}
		key := strings.Join(columns[:4], " | ")
		if all[key] != nil {
			t.Fatalf("%s: twice: %s", path, line)
		}
		all[key] = &allowed{line: line}
	}
	return all
}

// compare plays all dialogues of a protocol to both servers. A reply that differs needs a line in the allow-list, and a
// line there needs a difference.
func compare(t *testing.T, proto, ours, theirs string, read replyReader) {
	t.Helper()
	base := filepath.Join("testdata", "differential", proto)
	list := allowList(t, base+".allow")
	for _, d := range dialogues(t, base+".txt") {
		t.Run(d.name, func(t *testing.T) {
			got, want := d.play(t, ours, read), d.play(t, theirs, read)
			said := []string{"greeting"}
			for _, s := range d.steps {
				if !s.quiet {
					said = append(said, s.text)
				}
			}
			for i := range said {
				if got[i] == want[i] {
					continue
				}
				key := strings.Join([]string{d.name, said[i], got[i], want[i]}, " | ")
				if a := list[key]; a != nil {
					a.used = true
					continue
				}
				t.Errorf("%s", key)
			}
		})
	}
	for _, a := range list {
		if !a.used {
			t.Errorf("no such difference any more: %s", a.line)
		}
	}
}

var smtpReply = regexp.MustCompile(`^(\d{3})([ -])(?:(\d)\.\d{1,3}\.\d{1,3} )?`)

// readSMTP gives the code, and the class of the enhanced code if there is one: "550 5".
func readSMTP(r *bufio.Reader, _ string) (string, error) {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", err
		}
		m := smtpReply.FindStringSubmatch(line)
		switch {
		case m == nil:
			return "not a reply: " + strconv.Quote(line), nil
		case m[2] == " ":
			return strings.TrimSuffix(m[1]+" "+m[3], " "), nil
		}
	}
}

// TestDifferentialSMTP holds serve-smtp beside Postfix's smtpd.
func TestDifferentialSMTP(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "MAILX_SMTP_MAX_SIZE=10000", "MAILX_SMTP_MAX_PER_ADDRESS=1000")
	w.mustMailx(secret+"\n", "user", "add", "carl")
	box := nobodysDir(t)
	for _, name := range []string{"server.pem", "server.key"} {
		writeFile(t, box, name, read(t, filepath.Join(w.home, name)))
	}
	p := startPostfix(t, []string{
		"smtpd_tls_security_level = may",
		"smtpd_tls_cert_file = " + box + "/server.pem",
		"smtpd_tls_key_file = " + box + "/server.key",
		"virtual_mailbox_domains = " + domain,
		"virtual_mailbox_base = $dir/box",
		"virtual_mailbox_maps = inline:{ bob@example.org=bob/ carl@example.org=carl/ postmaster@example.org=bob/ }",
		"virtual_alias_maps =",
		"recipient_delimiter = +",
		"virtual_uid_maps = static:65534",
		"virtual_gid_maps = static:65534",
		"mynetworks =",
		"smtpd_relay_restrictions = reject_unauth_destination",
		"smtpd_helo_required = yes",
		"message_size_limit = 10000",
		"virtual_mailbox_limit = 100000",
		"smtpd_error_sleep_time = 0",
		"myhostname = " + host,
	}, nil)
	compare(t, "smtp", w.serve("serve-smtp"), p.addr, readSMTP)
}

// readPOP3 gives the indicator, and the response code if there is one. Numbers and sizes are compared too, and the texts of
// messages, by their octets and a sum; of CAPA and UIDL nothing but that they are there.
func readPOP3(r *bufio.Reader, sent string) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	reply := pop3Reply.FindString(line)
	verb, args, _ := strings.Cut(strings.ToUpper(strings.TrimSpace(sent)), " ")
	if reply == "+OK" && (verb == "STAT" || verb == "LIST" && args != "") {
		return strings.TrimRight(line, "\r\n"), nil
	}
	long := verb == "CAPA" || verb == "RETR" || verb == "TOP" || (verb == "LIST" || verb == "UIDL") && args == ""
	if reply != "+OK" || !long {
		return reply, nil
	}
	text, err := readBlock(r)
	switch {
	case err != nil:
		return "", err
	case verb == "LIST":
		return reply + " " + strings.Join(strings.Split(strings.TrimSuffix(text, "\r\n"), "\r\n"), ", "), nil
	case verb == "RETR", verb == "TOP":
		return fmt.Sprintf("+OK %d octets %08x", len(text), crc32.ChecksumIEEE([]byte(text))), nil
	}
	return reply, nil
}

// readBlock gives what stands before the final dot, unstuffed.
func readBlock(r *bufio.Reader) (string, error) {
	var text strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil || line == ".\r\n" {
			return text.String(), err
		}
		text.WriteString(strings.TrimPrefix(line, "."))
	}
}

var pop3Reply = regexp.MustCompile(`^(\+OK|-ERR|\+)( \[[A-Z/-]+\])?`)

// readIMAP gives the result of a tagged reply, and the response code if there is one; or a "+".
func readIMAP(r *bufio.Reader, sent string) (string, error) {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", err
		}
		if m := imapReply.FindStringSubmatch(line); m != nil && (m[1] != "*" || sent == "" || m[2] == "BAD") {
			return strings.TrimSpace(m[2] + " " + m[3]), nil
		}
		if strings.HasPrefix(line, "+") {
			return "+", nil
		}
	}
}

var imapReply = regexp.MustCompile(`^(\w+|\*) (OK|NO|BAD|PREAUTH)(?: \[(ALREADYEXISTS|NONEXISTENT|TRYCREATE|AUTHENTICATIONFAILED|PRIVACYREQUIRED|CANNOT|READ-ONLY|READ-WRITE|BADCHARSET)[^\]]*\])?`)

// TestDifferentialPOP3 holds serve-pop3 beside Dovecot, with the same mail.
func TestDifferentialPOP3(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := startDovecot(t, w, "pop3")
	fillBoth(t, w, d)
	compare(t, "pop3", w.serve("serve-pop3"), d.addr, readPOP3)
}

// TestDifferentialIMAP holds serve-imap beside Dovecot, with the same mail.
func TestDifferentialIMAP(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := startDovecot(t, w, "imap")
	fillBoth(t, w, d)
	compare(t, "imap", w.serve("serve-imap"), d.addr, readIMAP)
}

// fillBoth puts the same five messages into both mailboxes. Their last lines have an end: where one has none, Dovecot's POP3 lists two
// octets less than it sends.
func fillBoth(t *testing.T, w *world, d *dovecot) {
	t.Helper()
	texts := mapped(mail(5), func(text string) string { return text + "\n" })
	d.put(t, texts)
	for i, text := range texts {
		name := fmt.Sprintf("17000%05d.M1P1.test", i)
		if err := os.WriteFile(filepath.Join(w.mailbox(user), "new", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
