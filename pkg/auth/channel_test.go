package auth

import (
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"

	"mailx/pkg/mailtest"
)

// tlsPair gives the two ends of a TLS connection of a version.
func tlsPair(t *testing.T, ca *mailtest.CA, version uint16) (client, server *tls.ConnectionState) {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	serverConfig, clientConfig := ca.ServerConfig("h.example"), ca.ClientConfig("h.example")
	serverConfig.MaxVersion, serverConfig.SessionTicketsDisabled = version, true
	s, c := tls.Server(far, serverConfig), tls.Client(near, clientConfig)
	failed := make(chan error, 1)
	go func() { failed <- s.Handshake() }()
	if err := errors.Join(c.Handshake(), <-failed); err != nil {
		t.Fatal(err)
	}
	cs, ss := c.ConnectionState(), s.ConnectionState()
	return &cs, &ss
}

func TestExported(t *testing.T) {
	ca := mailtest.NewCA(t)
	c13, s13 := tlsPair(t, ca, tls.VersionTLS13)
	other, _ := tlsPair(t, ca, tls.VersionTLS13)
	c12, s12 := tlsPair(t, ca, tls.VersionTLS12)
	if a, b := exported(c13), exported(s13); len(a) != 32 || string(a) != string(b) {
		t.Errorf("the ends differ: %x, %x", a, b)
	}
	if string(exported(other)) == string(exported(c13)) {
		t.Error("two connections have the same data")
	}
	for name, state := range map[string]*tls.ConnectionState{"1.2 client": c12, "1.2 server": s12, "none": nil,
		"before the handshake": {Version: tls.VersionTLS13}} {
		if got := exported(state); got != nil {
			t.Errorf("%s: %x", name, got)
		}
	}
}

// What a client that can bind chooses and says, and what our server makes of it, with a list that somebody may have
// changed on the way.
func TestChannelBinding(t *testing.T) {
	_, users := newMem(t, saslUsers)
	ca := mailtest.NewCA(t)
	client13, server13 := tlsPair(t, ca, tls.VersionTLS13)
	client12, server12 := tlsPair(t, ca, tls.VersionTLS12)
	elsewhere, _ := tlsPair(t, ca, tls.VersionTLS13)
	for _, tt := range []struct {
		name           string
		client, server *tls.ConnectionState
		hidden         string // from the list
		mech, gs2      string
		status         string
	}{
		{"bound", client13, server13, "", MechScramSHA256Plus, "p=tls-exporter,,", ""},
		{"somebody in between", elsewhere, server13, "", MechScramSHA256Plus, "p=tls-exporter,,", "5.7.8"},
		{"somebody hides the offer", client13, server13, MechScramSHA256Plus, MechScramSHA256, "y,,", "5.7.8"},
		{"TLS 1.2", client12, server12, "", MechScramSHA256, "n,,", ""},
		{"client without binding", nil, server13, "", MechScramSHA256, "n,,", ""},
		{"server without binding", client13, nil, "", MechScramSHA256, "y,,", ""},
	} {
		ch := Channel{Secure: true, TLS: tt.server}
		offered := slices.DeleteFunc(Mechanisms(ch, users), func(m string) bool { return m == tt.hidden })
		c, err := NewClient(Credentials{User: "user", Password: "pencil"}, Choice{Offered: offered, Secure: true, TLS: tt.client})
		if err != nil {
			t.Fatal(err)
		}
		mech, first, _ := c.Start()
		if mech != tt.mech || !strings.HasPrefix(string(first), tt.gs2) {
			t.Errorf("%s: client says %s %q, want %s %q", tt.name, mech, first, tt.mech, tt.gs2)
		}
		s, err := NewServer(t.Context(), mech, ch, users)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if err := converse(c, s); statusOf(err) != tt.status || (s.User().Name == "user") != (tt.status == "") {
			t.Errorf("%s: got %v, user %q; want %q", tt.name, err, s.User().Name, tt.status)
		}
	}
}

// What only a wrong client says.
func TestBindingOutOfForm(t *testing.T) {
	_, users := newMem(t, saslUsers)
	_, state := tlsPair(t, mailtest.NewCA(t), tls.VersionTLS13)
	for _, tt := range []struct {
		mech, first, status string
		state               *tls.ConnectionState
	}{
		{MechScramSHA256Plus, "n,,n=user,r=abc", "5.5.2", state},
		{MechScramSHA256Plus, "y,,n=user,r=abc", "5.5.2", state},
		{MechScramSHA256Plus, "p,,n=user,r=abc", "5.5.2", state},
		{MechScramSHA256Plus, "p=,,n=user,r=abc", "5.5.2", state},
		{MechScramSHA256Plus, "p=tls_exporter,,n=user,r=abc", "5.5.2", state},
		{MechScramSHA256Plus, "p=tls-unique,,n=user,r=abc", "5.7.8", state},
		{MechScramSHA256Plus, "p=tls-server-end-point,,n=user,r=abc", "5.7.8", state},
		{MechScramSHA256, "p=tls-exporter,,n=user,r=abc", "5.5.2", state},
		{MechScramSHA256, "y,,n=user,r=abc", "5.7.8", state},
		{MechScramSHA256, "n=x,,n=user,r=abc", "5.5.2", state},
	} {
		s, err := NewServer(t.Context(), tt.mech, Channel{Secure: true, TLS: tt.state}, users)
		if err != nil {
			t.Fatal(err)
		}
		if _, status := say(s, tt.first); status != tt.status {
			t.Errorf("%s %q: got %q, want %q", tt.mech, tt.first, status, tt.status)
		}
	}
	if _, err := NewServer(t.Context(), MechScramSHA256Plus, Channel{Secure: true}, users); statusOf(err) != "5.5.4" {
		t.Errorf("-PLUS without TLS: %v", err)
	}
	// The right header without the data of the binding, and with others.
	for _, binding := range []string{"cD10bHMtZXhwb3J0ZXIsLA==", "biws", "cD10bHMtZXhwb3J0ZXIsLHh4"} {
		s, _ := NewServer(t.Context(), MechScramSHA256Plus, Channel{Secure: true, TLS: state}, users)
		challenge, _, _ := s.Next([]byte("p=tls-exporter,,n=user,r=abc"))
		nonce, _, _ := strings.Cut(string(challenge), ",")
		if _, _, err := s.Next([]byte("c=" + binding + "," + nonce + ",p=AAAA")); statusOf(err) != "5.7.8" {
			t.Errorf("c=%s: %v", binding, err)
		}
	}
}

func FuzzClientFirst(f *testing.F) {
	for _, seed := range []string{rfcClientFirst, "y,a=us=2Cer,n=us=2Cer,r=x,ext=1", "p=tls-exporter,,n=a,r=b", "p=,,n=a,r=b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		msg, ok := parseClientFirst(text)
		if !ok {
			return
		}
		header := msg.flag
		if msg.flag == "p" {
			header += "=" + msg.binding
		}
		if msg.gs2+msg.bare != text || !strings.HasPrefix(msg.gs2, header+",") || !isNonce(msg.nonce) ||
			!strings.HasPrefix(msg.bare, "n=") || msg.name == "" || strings.ContainsAny(msg.name, "\x00") {
			t.Fatalf("%q: %+v", text, msg)
		}
		again, ok := parseClientFirst(header + ",,n=" + escapeName(msg.name) + ",r=" + msg.nonce)
		if !ok || again.name != msg.name || again.nonce != msg.nonce {
			t.Fatalf("%q: printed and read again: %+v", text, again)
		}
	})
}
