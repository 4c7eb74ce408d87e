package mtasts

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mailx/pkg/dns"
	"mailx/pkg/mailtest"
	"mailx/pkg/vfs"
)

// webServer answers each request with the same octets, over TLS for mta-sts.a.example, and counts them.
type webServer struct {
	port  string
	mu    sync.Mutex
	reply string
	seen  []string // request lines
}

func newWebServer(t *testing.T, cfg *tls.Config) *webServer {
	l, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	s := &webServer{port: port}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { s.answer(nc) })
		}
	})
	t.Cleanup(func() { l.Close(); all.Wait() })
	return s
}

func (s *webServer) answer(nc net.Conn) {
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	line, err := bufio.NewReader(nc).ReadString('\n')
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, strings.TrimSpace(line))
	nc.Write([]byte(s.reply))
}

// says sets the reply, and counts from now on.
func (s *webServer) says(reply string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reply, s.seen = reply, nil
}

func (s *webServer) asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.seen)
}

func policyReply(text string) string {
	return "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + text
}

const enforced = "version: STSv1\nmode: enforce\nmx: mx.a.example\nmax_age: 604800\n"

// texts is a Resolver whose one record can be changed.
type texts struct {
	dns.Resolver
	record string
	err    error
}

func (r *texts) LookupTXT(context.Context, string) ([]string, error) {
	return []string{r.record}, r.err
}

// rehearsal is a keeper of a.example with a clock.
type rehearsal struct {
	*Keeper
	web *webServer
	dns *texts
	now time.Time
}

func newRehearsal(t *testing.T) *rehearsal {
	ca := mailtest.NewCA(t)
	zone, err := dns.ParseZone(strings.NewReader("mta-sts.a.example. A 127.0.0.1\n"))
	if err != nil {
		t.Fatal(err)
	}
	r := &rehearsal{web: newWebServer(t, ca.ServerConfig("mta-sts.a.example")), dns: &texts{zone, "v=STSv1; id=1;", nil},
		now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	r.Keeper = &Keeper{FS: vfs.OS(), Dir: filepath.Join(t.TempDir(), "mta-sts"), Resolver: r.dns, TLS: &tls.Config{RootCAs: ca.Pool()},
		Port: r.web.port, Now: func() time.Time { return r.now }}
	return r
}

// again is another process with the same files.
func (r *rehearsal) again() {
	r.Keeper = &Keeper{FS: r.FS, Dir: r.Dir, Resolver: r.Resolver, TLS: r.TLS, Port: r.Port, Now: r.Now}
}

func (r *rehearsal) want(t *testing.T, what string, mode Mode, asked int) {
	t.Helper()
	got := None
	if p := r.Policy(t.Context(), "A.example"); p != nil {
		got = p.Mode
	}
	if got != mode || r.web.asked() != asked {
		t.Errorf("%s: got %s after %d requests, want %s after %d", what, got, r.web.asked(), mode, asked)
	}
}

func TestKeeper(t *testing.T) {
	r := newRehearsal(t)
	r.web.says(policyReply(enforced))
	r.want(t, "first", Enforce, 1)
	if want := "GET /.well-known/mta-sts.txt HTTP/1.1"; r.web.seen[0] != want {
		t.Errorf("got %q, want %q", r.web.seen[0], want)
	}
	r.want(t, "a moment later", Enforce, 1)
	r.again()
	r.want(t, "another process", Enforce, 1)
	r.now = r.now.Add(time.Hour)
	r.dns.record = "v=STSv1; id=2;"
	r.web.says("HTTP/1.1 404 no\r\n\r\n")
	r.want(t, "a new policy that can't be fetched", Enforce, 1)
	r.again()
	r.want(t, "another process right after that", Enforce, 1)
	r.now = r.now.Add(askEvery)
	r.web.says(policyReply(strings.Replace(enforced, "enforce", "testing", 1)))
	r.want(t, "a new policy", Testing, 1)
	r.now = r.now.Add(refreshEvery)
	r.web.says(policyReply(enforced))
	r.want(t, "the next day", Enforce, 1)
	r.dns.err = dns.ErrNotFound
	r.now = r.now.Add(7 * 24 * time.Hour)
	r.want(t, "the record is gone, the policy is not over", Enforce, 1)
	r.now = r.now.Add(time.Second)
	r.want(t, "it is over", None, 1)
	r.dns.err = nil
	r.now = r.now.Add(askEvery)
	r.web.says(policyReply("version: STSv1\nmode: none\nmax_age: 86400\n"))
	r.want(t, "none", None, 1)
	r.now = r.now.Add(askEvery)
	r.want(t, "none, later", None, 1)
}

// What is no policy is none.
func TestKeeperWithoutPolicy(t *testing.T) {
	for name, c := range map[string]struct {
		reply string
		asked int
		spoil func(*rehearsal)
	}{
		"no record":         {policyReply(enforced), 0, func(r *rehearsal) { r.dns.err = dns.ErrNoData }},
		"another record":    {policyReply(enforced), 0, func(r *rehearsal) { r.dns.record = "v=spf1 -all" }},
		"a failing server":  {policyReply(enforced), 0, func(r *rehearsal) { r.dns.err = fmt.Errorf("SERVFAIL") }},
		"another name":      {policyReply(enforced), 0, func(r *rehearsal) { r.TLS = mailtest.NewCA(t).ClientConfig("") }},
		"nobody there":      {policyReply(enforced), 0, func(r *rehearsal) { r.Port = "1" }},
		"a web page":        {"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + enforced, 1, nil},
		"a redirect":        {"HTTP/1.1 301 Moved\r\nLocation: https://mta-sts.a.example/x\r\nContent-Type: text/plain\r\n\r\n" + enforced, 1, nil},
		"a bad policy":      {policyReply("version: STSv1\n"), 1, nil},
		"an endless policy": {policyReply(enforced + strings.Repeat("x: y\n", maxPolicy)), 1, nil},
		"no HTTP":           {"220 mx ESMTP\r\n", 1, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRehearsal(t)
			r.web.says(c.reply)
			if c.spoil != nil {
				c.spoil(r)
			}
			r.want(t, "first", None, c.asked)
			r.want(t, "second", None, c.asked)
			r.again()
			r.want(t, "another process", None, c.asked)
		})
	}
}

// A clock that was set back or a damaged file changes little.
func TestKeeperOddities(t *testing.T) {
	r := newRehearsal(t)
	r.web.says(policyReply(enforced))
	r.want(t, "first", Enforce, 1)
	r.now = r.now.Add(-100 * 24 * time.Hour)
	r.again()
	r.web.says("")
	r.want(t, "before that", Enforce, 1)
	if err := os.WriteFile(filepath.Join(r.Dir, "a.example"), []byte("fetched: yesterday\n\nversion: STSv1"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.again()
	r.web.says(policyReply(enforced))
	r.want(t, "damaged", Enforce, 1)
	if err := os.RemoveAll(r.Dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.Dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.again()
	r.web.says(policyReply(enforced))
	r.want(t, "no directory", Enforce, 1)
	if p := r.Policy(t.Context(), "[192.0.2.1]"); p != nil {
		t.Errorf("an address has the policy %v", p)
	}
}

// Who asks at once asks once.
func TestKeeperTogether(t *testing.T) {
	r := newRehearsal(t)
	r.web.says(policyReply(enforced))
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { r.want(t, "together", Enforce, 1) })
	}
	all.Wait()
}
