package delivery

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"mailx/pkg/dns"
	"mailx/pkg/mail"
	"mailx/pkg/mailtest"
	"mailx/pkg/mtasts"
	"mailx/pkg/smtp"
	"mailx/pkg/vfs"
)

// withPolicy has two.example have a policy, which was fetched a moment ago.
func withPolicy(t *testing.T, r *Relay, mode mtasts.Mode, host string) {
	t.Helper()
	zone, err := dns.ParseZone(strings.NewReader(testZone + "_mta-sts.two.example. TXT \"v=STSv1; id=1;\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	policy := &mtasts.Policy{Mode: mode, Hosts: []string{host}, MaxAge: time.Hour}
	kept := fmt.Sprintf("fetched: %s\nid: 1\n\n%s", time.Now().UTC().Format(time.RFC3339), policy)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "two.example"), []byte(kept), 0o600); err != nil {
		t.Fatal(err)
	}
	r.Resolver, r.Policies = zone, &mtasts.Keeper{FS: vfs.OS(), Dir: dir, Resolver: zone}
}

// RFC 8461 §4 and §5, RFC 8689 §5.
func TestRelayMTASTS(t *testing.T) {
	ca := mailtest.NewCA(t)
	serve := func(names ...string) *host {
		return startHost(t, func(_ *host, s *gosmtp.Server) {
			if names != nil {
				s.TLSConfig = ca.ServerConfig(names...)
			}
		})
	}
	good, other, clear := serve("mx2.example"), serve("other.example"), serve()
	set := func(policy smtp.TLSPolicy, own bool) func(*Relay, *mail.Envelope) {
		return func(r *Relay, _ *mail.Envelope) {
			r.Via = func(string) Route { return Route{TLS: policy, OwnTLS: own} }
		}
	}
	requireTLS := func(_ *Relay, env *mail.Envelope) { env.RequireTLS = true }
	for _, c := range []struct {
		name   string
		h      *host
		mode   mtasts.Mode
		mx     string
		change func(*Relay, *mail.Envelope)
		want   string
		dials  int32
	}{
		{"its host", good, mtasts.Enforce, "mx2.example", nil, "2.0.0", 1},
		{"one of its hosts", good, mtasts.Enforce, "*.example", nil, "2.0.0", 1},
		{"no host of its", good, mtasts.Enforce, "mx1.example", nil, "4.7.5", 0},
		{"a certificate for another name", other, mtasts.Enforce, "mx2.example", nil, "4.7.5", 1},
		{"no TLS", clear, mtasts.Enforce, "mx2.example", nil, "4.7.4", 1},
		{"no TLS, testing", clear, mtasts.Testing, "mx1.example", nil, "2.0.0", 1},
		{"no TLS, ours is none", clear, mtasts.Enforce, "mx2.example", set(smtp.TLSNone, false), "2.0.0", 1},
		{"no TLS, the route's own", clear, mtasts.Enforce, "mx2.example", set(smtp.TLSOpportunistic, true), "2.0.0", 1},
		{"REQUIRETLS, no host of its", good, mtasts.Testing, "mx1.example", requireTLS, "4.7.5", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := testRelay(t, map[string]string{"127.0.0.12:25": c.h.addr})
			r.TLSConfig = ca.ClientConfig("")
			withPolicy(t, r.Relay, c.mode, c.mx)
			env := envelope(t, "", "a@two.example")
			if c.change != nil {
				c.change(r.Relay, env)
			}
			if got := deliver(t, r, env); got != c.want || r.dialed.Load() != c.dials {
				t.Errorf("got %s after %d connections, want %s after %d", got, r.dialed.Load(), c.want, c.dials)
			}
		})
	}
}

// Who asks for delivery before TLS gets it, for his message alone (RFC 8689 §5).
func TestTLSRequiredNo(t *testing.T) {
	h := startHost(t, nil)
	r := testRelay(t, map[string]string{"127.0.0.12:25": h.addr})
	r.DeadFor = -1
	withPolicy(t, r.Relay, mtasts.Enforce, "mx2.example")
	w := &waiting{t: t}
	for _, field := range []string{"TLS-Required: No\n", "", "tls-required:  NO\n", "TLS-Required: yes\n"} {
		d := w.add("me@x.example", fmt.Sprintf("%d@two.example", len(w.left)))
		d.Msg, d.Size = strings.NewReader(field+text), int64(len(field+text))
	}
	if got := w.carry(laneTransport(r.Relay, nil)); got != "0 2.0.0, 1 4.7.4, 2 2.0.0, 3 4.7.4" {
		t.Errorf("got %s", got)
	}
	lax := "TLS-Required: no\n" + text
	r.Deliver(t.Context(), envelope(t, "", "a@two.example"), strings.NewReader(lax), int64(len(lax)))
	if got := deliver(t, r, envelope(t, "", "b@two.example")); got != "4.7.4" {
		t.Errorf("the next message: got %s", got)
	}
	if got := len(h.got()); got != 3 {
		t.Errorf("%d messages came, want 3", got)
	}
}
