//go:build interop

package interop

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestPOP3CurlSecure has curl log in with each mechanism that it has, inside TLS from the first octet and after STLS.
func TestPOP3CurlSecure(t *testing.T) {
	t.Parallel()
	curl := peer(t, "curl")
	o := newOffice(t, 3)
	secure := o.serve("serve-pop3", "--tls")
	for name, url := range map[string]string{"TLS": "pop3s://" + secure, "STLS": "pop3://" + o.pop} {
		for _, mech := range []string{"", "AUTH=PLAIN", "AUTH=LOGIN"} {
			t.Run(name+" "+mech, func(t *testing.T) {
				argv := []string{curl, "-sS", "--noproxy", "*", "--ssl-reqd", "--cacert", o.caFile, "--user", user + ":" + secret}
				if mech != "" {
					argv = append(argv, "--login-options", mech)
				}
				for i, want := range o.texts {
					got := job{args: append(argv, url+"/"+strconv.Itoa(i+1)), dir: t.TempDir()}.run(t).must(t, 0)
					diff(t, got, crlf(want))
				}
				bad := append(argv[:len(argv):len(argv)], "--user", user+":wrong", url+"/1")
				if r := (job{args: bad, dir: t.TempDir()}.run(t)); r.code != 67 { // CURLE_LOGIN_DENIED
					t.Errorf("with a wrong password: %v", r)
				}
			})
		}
	}
}

// TestPOP3MpopSecure has mpop collect inside TLS from the first octet, with each mechanism, pipelining and not.
func TestPOP3MpopSecure(t *testing.T) {
	t.Parallel()
	mpop := peer(t, "mpop")
	o := newOffice(t, 20)
	host, port, _ := net.SplitHostPort(o.serve("serve-pop3", "--tls"))
	for i, auth := range []string{"user", "plain", "login", "scram-sha-256"} {
		t.Run(auth, func(t *testing.T) {
			dir := t.TempDir()
			box := makeMaildir(t, filepath.Join(dir, "box"))
			file := writeFile(t, dir, "mpoprc", strings.Join([]string{"account default", "host " + host, "port " + port, "user " + user,
				`password "` + secret + `"`, "delivery maildir " + box, "uidls_file " + filepath.Join(dir, "uidls"), "received_header off",
				"keep on", "tls on", "tls_starttls off", "tls_trust_file " + o.caFile, "auth " + auth,
				"pipelining " + []string{"off", "on"}[i%2]}, "\n")+"\n")
			for range 2 { // the second time there is nothing new
				job{args: []string{mpop, "-C", file, "-q"}, dir: dir}.run(t)
				checkSame(t, messages(t, box), o.texts)
			}
		})
	}
}

// TestPOP3FetchmailSecure is inside TLS from the first octet. First it keeps what it collects, by UIDL.
func TestPOP3FetchmailSecure(t *testing.T) {
	t.Parallel()
	fetchmail := peer(t, "fetchmail")
	o := newOffice(t, 20)
	port := portOf(o.serve("serve-pop3", "--tls"))
	dir := t.TempDir()
	box := filepath.Join(dir, "box")
	mda := fmt.Sprintf("%s deliver --config /dev/null --spool %s --to %s", o.bin, filepath.Join(dir, "spool"), box)
	rc := "set invisible\npoll localhost protocol pop3 port %s timeout 50 uidl\n" +
		"  user \"%s\" password \"%s\" is \"nobody\" here\n  no rewrite no mimedecode %s ssl sslcertck sslcertfile \"%s\" mda \"%s\"\n"
	for _, keep := range []string{"keep", "keep", "no keep fetchall"} {
		if keep != "keep" {
			clear(t, box)
		}
		file := writeFile(t, dir, "fetchmailrc", fmt.Sprintf(rc, port, user, secret, keep, o.caFile, mda))
		r := job{args: []string{fetchmail, "-f", file, "-s", "--nodetach", "--nosyslog", "-i", filepath.Join(dir, "ids")}, dir: dir}.run(t)
		if r.code != 0 && r.code != 1 { // 1: nothing new
			t.Fatal(r)
		}
		checkSame(t, mapped(messages(t, box), fromOn), mapped(o.texts, fromOn))
	}
	checkSame(t, messages(t, o.mailbox(user)), nil)
}

// TestPOP3Mutt opens the mailbox in mutt, which wants a terminal, copies all messages elsewhere, and then deletes them.
func TestPOP3Mutt(t *testing.T) {
	t.Parallel()
	mutt, script := peer(t, "mutt"), peer(t, "script")
	o := newOffice(t, 10)
	secure := o.serve("serve-pop3", "--tls")
	for name, how := range map[string]struct{ url, settings string }{
		"clear":       {"pop://" + o.pop, "set ssl_starttls=no ssl_force_tls=no pop_authenticators=user"},
		"clear SCRAM": {"pop://" + o.pop, "set ssl_starttls=no ssl_force_tls=no pop_authenticators=scram-sha-256"},
		"STLS":        {"pop://" + o.pop, "set ssl_starttls=yes ssl_force_tls=yes pop_authenticators=plain"},
		"TLS":         {"pops://" + secure, "set ssl_force_tls=yes pop_authenticators=user"},
		"TLS SCRAM":   {"pops://" + secure, "set pop_authenticators=scram-sha-256"},
	} {
		t.Run(name, func(t *testing.T) {
			o.fill(t, 10)
			dir := t.TempDir()
			box := makeMaildir(t, filepath.Join(dir, "box"))
			mutt := func(keys string) {
				t.Helper()
				rc := how.settings + "\nset pop_user=" + user + "\nset pop_pass=\"" + secret + "\"\nset ssl_ca_certificates_file=" + o.caFile +
					"\nset mbox_type=Maildir confirmappend=no confirmcreate=no delete=yes quit=yes wait_key=no pop_delete=no pop_reconnect=no" +
					"\nset folder=" + dir + " certificate_file=" + filepath.Join(dir, "known") + "\npush \"" + keys + "<quit>\"\n"
				file := writeFile(t, dir, "muttrc", rc)
				env := append(peerEnv(dir), "TERM=xterm")
				job{args: []string{"sh", "-c", script + " -qec '" + mutt + " -n -F " + file + " -f " + how.url + "' /dev/null </dev/null"}, dir: dir, env: env}.run(t).must(t, 0)
			}
			mutt("<tag-pattern>~A<enter><tag-prefix><copy-message>" + box + "<enter>")
			added := regexp.MustCompile(`(?m)^(Content-Length|Lines): \d+\n`) // by mutt
			checkSame(t, mapped(messages(t, box), func(text string) string { return added.ReplaceAllString(text, "") }), o.texts)
			mutt("<delete-pattern>~A<enter>")
			checkSame(t, messages(t, o.mailbox(user)), nil)
		})
	}
}

// upgrade does the handshake of TLS as a client that trusts our authority.
func (o *office) upgrade(t *testing.T, conn net.Conn) net.Conn {
	t.Helper()
	pem, err := os.ReadFile(o.caFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return tls.Client(conn, &tls.Config{RootCAs: roots, ServerName: "localhost"})
}

// popLines reads replies. Answers are compared by their beginnings.
type popLines struct {
	t *testing.T
	*bufio.Reader
}

func (r popLines) line(want string) string {
	r.t.Helper()
	line, err := r.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, want) || !strings.HasSuffix(line, "\r\n") {
		r.t.Fatalf("got %q, %v, want %q", line, err, want)
	}
	return strings.TrimSuffix(line, "\r\n")
}

// block reads a long reply, with dot-stuffing undone.
func (r popLines) block(want string) (lines []string) {
	r.t.Helper()
	r.line(want)
	for {
		line := r.line("")
		if line == "." {
			return lines
		}
		lines = append(lines, strings.TrimPrefix(line, "."))
	}
}

// TestPOP3Pipelined speaks as Thunderbird and others do to a server that says PIPELINING, and further: all that a client can say
// without an answer is one write, in clear, after STLS, and inside TLS from the first octet.
func TestPOP3Pipelined(t *testing.T) {
	t.Parallel()
	const n = 200
	o := newOffice(t, n)
	secure := o.serve("serve-pop3", "--tls")
	initial := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + secret))
	for _, name := range []string{"clear", "STLS", "TLS"} {
		t.Run(name, func(t *testing.T) {
			o.fill(t, n)
			addr := map[bool]string{true: secure, false: o.pop}[name == "TLS"]
			conn := dialClear(t, addr)
			switch name {
			case "STLS":
				r := popLines{t, bufio.NewReader(conn)}
				r.line("+OK")
				io.WriteString(conn, "CAPA\r\nSTLS\r\n")
				r.block("+OK")
				r.line("+OK Begin TLS")
				conn = o.upgrade(t, conn)
			case "TLS":
				conn = o.upgrade(t, conn)
			}
			var said strings.Builder
			said.WriteString("CAPA\r\nAUTH PLAIN " + initial + "\r\nCAPA\r\nSTAT\r\nLIST\r\nUIDL\r\n")
			for i := range n {
				fmt.Fprintf(&said, "RETR %d\r\n", i+1)
			}
			for i := range n {
				fmt.Fprintf(&said, "TOP %d 0\r\nDELE %d\r\n", i+1, i+1)
			}
			said.WriteString("QUIT\r\n")
			go io.WriteString(conn, said.String())
			checkPipelined(t, o, popLines{t, bufio.NewReader(conn)}, name != "STLS")
			checkSame(t, messages(t, o.mailbox(user)), nil)
		})
	}
}

func checkPipelined(t *testing.T, o *office, r popLines, isGreeted bool) {
	t.Helper()
	if isGreeted {
		r.line("+OK")
	}
	r.block("+OK")
	r.line("+OK Logged in")
	r.block("+OK")
	total := 0
	for _, text := range o.texts {
		total += len(crlf(text))
	}
	r.line(fmt.Sprintf("+OK %d %d", len(o.texts), total))
	list, uidl := r.block("+OK"), r.block("+OK")
	for i, want := range o.texts {
		diff(t, strings.Join(append(r.block("+OK"), ""), "\n"), want)
		if size := fmt.Sprintf("%d %d", i+1, len(crlf(want))); list[i] != size || !strings.HasPrefix(uidl[i], fmt.Sprintf("%d ", i+1)) {
			t.Errorf("LIST says %q, UIDL %q; want %q", list[i], uidl[i], size)
		}
	}
	for _, want := range o.texts {
		head, _, _ := strings.Cut(want, "\n\n")
		diff(t, strings.Join(r.block("+OK"), "\n"), head+"\n")
		r.line("+OK")
	}
	r.line("+OK")
	if rest, err := r.ReadString('\n'); err == nil {
		t.Errorf("after QUIT the server said %q", rest)
	}
}

// TestPOP3ManySessions: of many sessions on one mailbox one is let in, the others hear [IN-USE], and none is harmed.
func TestPOP3ManySessions(t *testing.T) {
	t.Parallel()
	o := newOffice(t, 5)
	in, out := 0, 0
	var holder net.Conn
	for range 40 {
		conn := dialClear(t, o.pop)
		io.WriteString(conn, "USER "+user+"\r\nPASS "+secret+"\r\n")
		r := popLines{t, bufio.NewReader(conn)}
		r.line("+OK")
		r.line("+OK")
		if answer := r.line(""); strings.HasPrefix(answer, "+OK") {
			in++
			holder = conn
		} else if strings.HasPrefix(answer, "-ERR [IN-USE]") {
			out++
		}
	}
	if in != 1 || out != 39 {
		t.Errorf("%d sessions were let in, %d were told [IN-USE]", in, out)
	}
	io.WriteString(holder, "QUIT\r\n")
	readAll(t, holder)
	conn := dialClear(t, o.pop)
	io.WriteString(conn, "USER "+user+"\r\nPASS "+secret+"\r\nSTAT\r\nQUIT\r\n")
	if got := readAll(t, conn); !strings.Contains(got, "\r\n+OK 5 ") {
		t.Errorf("after the first had gone: %q", got)
	}
}
