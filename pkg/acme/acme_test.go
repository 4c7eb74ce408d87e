package acme

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailx/pkg/mailtest"
	"mailx/pkg/vfs"
)

// keeper keeps mx.example in a new directory, with challenges answered on loopback.
func keeper(t *testing.T, a *mailtest.Authority) *Keeper {
	k := &Keeper{FS: vfs.OS(), Dir: filepath.Join(t.TempDir(), "state/acme"), Domains: []string{"mx.example"}, Email: "root@mx.example",
		Directory: a.Directory, HTTP: a.Kind == "http-01", TLSALPN: a.Kind == "tls-alpn-01"}
	l := mailtest.Listen(t)
	serve := k.ServeHTTP
	if k.TLSALPN {
		serve = k.ServeTLS
	}
	go func() {
		for nc, err := l.Accept(); err == nil; nc, err = l.Accept() {
			go serve(t.Context(), nc)
		}
	}()
	a.AskAt(l.Addr().String())
	return k
}

func (k *Keeper) pair(t *testing.T) tls.Certificate {
	t.Helper()
	file := filepath.Join(k.Dir, "mx.example")
	pair, err := tls.LoadX509KeyPair(file, file)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func TestKeeperGetsCertificates(t *testing.T) {
	for _, kind := range []string{"http-01", "tls-alpn-01"} {
		t.Run(kind, func(t *testing.T) {
			a := mailtest.NewAuthority(t)
			a.Kind, a.BadNonces, a.Chunked = kind, 2, true
			k := keeper(t, a)
			if err := k.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			pair := k.pair(t)
			if err := pair.Leaf.VerifyHostname("mx.example"); err != nil || len(pair.Certificate) != 2 {
				t.Errorf("%v, a chain of %d", err, len(pair.Certificate))
			}
			for _, name := range []string{"mx.example", accountFile} {
				if fi, err := os.Stat(filepath.Join(k.Dir, name)); err != nil || fi.Mode().Perm() != 0o600 {
					t.Errorf("%s: %v, %v", name, fi.Mode(), err)
				}
			}
			if fi, err := os.Stat(k.Dir); err != nil || fi.Mode().Perm() != 0o700 {
				t.Errorf("directory: %v, %v", fi.Mode(), err)
			}
			if len(k.answers.http)+len(k.answers.certs) != 0 {
				t.Error("answers are left")
			}
			if err := k.Refresh(t.Context()); err != nil || a.Orders() != 1 {
				t.Errorf("a fresh certificate: %v, %d orders", err, a.Orders())
			}
		})
	}
}

// A certificate is renewed in the last third of its time, with the same account.
func TestKeeperRenews(t *testing.T) {
	a := mailtest.NewAuthority(t)
	k := keeper(t, a)
	if err := k.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	account, err := os.ReadFile(filepath.Join(k.Dir, accountFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		age    time.Duration
		orders int
	}{{59 * 24 * time.Hour, 1}, {61 * 24 * time.Hour, 2}} {
		k.Now = func() time.Time { return time.Now().Add(c.age) }
		if err := k.Refresh(t.Context()); err != nil || a.Orders() != c.orders {
			t.Errorf("after %v: %v, %d orders, want %d", c.age, err, a.Orders(), c.orders)
		}
	}
	if again, err := os.ReadFile(filepath.Join(k.Dir, accountFile)); err != nil || string(again) != string(account) {
		t.Errorf("the account's key has changed, %v", err)
	}
}

func TestKeeperErrors(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(a *mailtest.Authority, k *Keeper)
		want    string
	}{
		{"refused", func(a *mailtest.Authority, k *Keeper) { a.Refuse = true }, "no certificate for mx.example: unauthorized: that is not the answer"},
		{"no challenge", func(a *mailtest.Authority, k *Keeper) { k.HTTP = false }, "acme.listen"},
		{"stale for ever", func(a *mailtest.Authority, k *Keeper) { a.BadNonces = 1000 }, "badNonce"},
		{"no directory", func(a *mailtest.Authority, k *Keeper) { k.Directory += "/x" }, "malformed"},
		{"in clear", func(a *mailtest.Authority, k *Keeper) { k.Directory = "http://acme.example/" }, "not an https URL"},
		{"nobody there", func(a *mailtest.Authority, k *Keeper) { k.Directory = "http://127.0.0.1:1/" }, "refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := mailtest.NewAuthority(t)
			k := keeper(t, a)
			c.prepare(a, k)
			err := k.Refresh(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if _, err := os.Stat(filepath.Join(k.Dir, "mx.example")); err == nil {
				t.Error("there is a certificate")
			}
		})
	}
}

// A damaged file is replaced.
func TestKeeperReplacesDamagedFiles(t *testing.T) {
	a := mailtest.NewAuthority(t)
	k := keeper(t, a)
	if err := os.MkdirAll(k.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(k.Dir, "mx.example"), []byte("-----BEGIN"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := k.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	k.pair(t)
}

func TestServeHTTPRefusesTheRest(t *testing.T) {
	k := &Keeper{}
	k.answers.add("tok", "tok.proof")
	for request, want := range map[string]string{
		"GET /.well-known/acme-challenge/tok HTTP/1.1\r\nHost: x\r\n\r\n": "200",
		"GET /.well-known/acme-challenge/tok HTTP/1.0\r\n\r\n":            "200",
		"GET /.well-known/acme-challenge/ HTTP/1.1\r\n\r\n":               "404",
		"GET /.well-known/acme-challenge/nope HTTP/1.1\r\n\r\n":           "404",
		"POST /.well-known/acme-challenge/tok HTTP/1.1\r\n\r\n":           "404",
		"GET / HTTP/1.1\r\n\r\n":                                          "404",
		"GET /.well-known/acme-challenge/tok\r\n\r\n":                     "404",
		"nonsense\r\n\r\n": "404",
		"GET / HTTP/1.1\r\n" + strings.Repeat("X: y\r\n", maxAsking) + "\r\n": "",
	} {
		client, server := net.Pipe()
		go k.ServeHTTP(t.Context(), server)
		client.SetDeadline(time.Now().Add(10 * time.Second))
		go client.Write([]byte(request))
		line, _ := bufio.NewReader(client).ReadString('\n')
		client.Close()
		if _, got, _ := strings.Cut(strings.TrimSpace(line), " "); !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("%.60q: got %q, want %q", request, line, want)
		}
	}
}

// Run stops when it is told to, in the middle of an order too.
func TestRunStops(t *testing.T) {
	a := mailtest.NewAuthority(t)
	k := keeper(t, a)
	a.AskAt("") // the order stays pending
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { k.Run(ctx); close(done) }()
	for deadline := time.Now().Add(10 * time.Second); a.Orders() == 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	cancel()
	<-done
}
