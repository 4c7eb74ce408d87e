package auth

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-sasl"

	"mailx/pkg/mail"
)

const saslUsers = "user:{PLAIN}pencil\nann:{PLAIN}a,=\u00e4 \n"

// say runs a server on responses, "-" for none, and prints its challenges; "done" at a good end.
func say(s Server, responses ...string) (transcript, status string) {
	for _, r := range responses {
		response := []byte(r)
		if r == "-" {
			response = nil
		}
		challenge, done, err := s.Next(response)
		if err != nil {
			return transcript, statusOf(err)
		}
		if done {
			return transcript + "done", ""
		}
		transcript += string(challenge) + "|"
	}
	return transcript, ""
}

func TestServerDialogs(t *testing.T) {
	_, users := newMem(t, saslUsers)
	long := strings.Repeat("x", maxResponse+1)
	for _, tt := range []struct {
		mech         string
		responses    []string
		want, status string
		user         string
	}{
		{"PLAIN", []string{"\x00user\x00pencil"}, "done", "", "user"},
		{"plain", []string{"-", "\x00USER\x00pencil"}, "|done", "", "user"},
		{"PLAIN", []string{"user\x00user\x00pencil"}, "done", "", "user"},
		{"PLAIN", []string{"ann\x00user\x00pencil"}, "", "5.7.8", ""},
		{"PLAIN", []string{"\x00user\x00Pencil"}, "", "5.7.8", ""},
		{"PLAIN", []string{"\x00nobody\x00pencil"}, "", "5.7.8", ""},
		{"PLAIN", []string{"\x00\x00pencil"}, "", "5.5.2", ""},
		{"PLAIN", []string{"user\x00pencil"}, "", "5.5.2", ""},
		{"PLAIN", []string{"\x00user\x00pen\x00cil"}, "", "5.5.2", ""},
		{"PLAIN", []string{""}, "", "5.5.2", ""},
		{"PLAIN", []string{long}, "", "5.5.6", ""},
		{"LOGIN", []string{"-", "user", "pencil"}, "Username:|Password:|done", "", "user"},
		{"LOGIN", []string{"user", "pencil"}, "Password:|done", "", "user"},
		{"LOGIN", []string{"-", "user\x00", "pencil\x00"}, "Username:|Password:|done", "", "user"},
		{"LOGIN", []string{"-", "user", "Pencil"}, "Username:|Password:|", "5.7.8", ""},
		{"LOGIN", []string{"-", "", ""}, "Username:|Password:|", "5.7.8", ""},
		{"LOGIN", []string{"-", long}, "Username:|", "5.5.6", ""},
		{"SCRAM-SHA-256", []string{""}, "", "5.5.2", ""},
		{"SCRAM-SHA-256", []string{"-", ""}, "|", "5.5.2", ""},
		{"SCRAM-SHA-256", []string{"p=tls-unique,,n=user,r=abc"}, "", "5.5.2", ""},
		{"SCRAM-SHA-256", []string{"n,a=ann,n=user,r=abc"}, "", "5.5.2", ""},
		{"SCRAM-SHA-256", []string{"n,,m=ext,n=user,r=abc"}, "", "5.5.2", ""},
		{"SCRAM-SHA-256", []string{"n,,n=user"}, "", "5.5.2", ""},
		{"SCRAM-SHA-256", []string{"n,,n=user,r="}, "", "5.5.2", ""},
		{"SCRAM-SHA-256", []string{"n,,n=,r=abc"}, "", "5.5.2", ""},
		{"SCRAM-SHA-256", []string{"n,,n=us=er,r=abc"}, "", "5.5.2", ""},
		{"SCRAM-SHA-256", []string{"n,,n=user,r=a\nb"}, "", "5.5.2", ""},
		{"SCRAM-SHA-256", []string{"n,,n=user,r=" + strings.Repeat("x", 1025)}, "", "5.5.2", ""},
	} {
		s, err := NewServer(t.Context(), tt.mech, Channel{Secure: true}, users)
		if err != nil {
			t.Fatal(err)
		}
		got, status := say(s, tt.responses...)
		if got != tt.want || status != tt.status || s.User().Name != tt.user {
			t.Errorf("%s %.60q: got %q %s user %q, want %q %s user %q",
				tt.mech, tt.responses, got, status, s.User().Name, tt.want, tt.status, tt.user)
		}
		if status != "" || strings.HasSuffix(got, "done") {
			if _, done, err := s.Next([]byte("\x00user\x00pencil")); err == nil || !done {
				t.Errorf("%s %.60q: goes on after its end", tt.mech, tt.responses)
			}
		}
	}
}

func TestNewServerOffers(t *testing.T) {
	_, users := newMem(t, saslUsers)
	for _, secure := range []bool{true, false} {
		for _, mech := range []string{MechPlain, MechLogin, MechScramSHA256, MechCramMD5, MechOAuthBearer, "", "plain", "X"} {
			_, err := NewServer(t.Context(), mech, Channel{Secure: secure}, users)
			want := ""
			if !slices.Contains(Mechanisms(Channel{Secure: secure}, users), strings.ToUpper(mech)) {
				want = "5.5.4"
			}
			if got := statusOf(err); got != want {
				t.Errorf("NewServer(%q, secure %v): got %q, want %q", mech, secure, got, want)
			}
		}
	}
	if got := fmt.Sprint(Mechanisms(Channel{}, users)); got != "[SCRAM-SHA-256]" {
		t.Errorf("offered in clear: %s", got)
	}
}

func TestClaimed(t *testing.T) {
	_, users := newMem(t, saslUsers)
	for mech, responses := range map[string][]string{
		MechPlain: {"\x00Joe\x00x"}, MechLogin: {"-", "Joe", "x"}, MechScramSHA256: {"n,,n=Joe,r=abc", "c=biws,r=x,p=x"},
	} {
		s, _ := NewServer(t.Context(), mech, Channel{Secure: true}, users)
		if _, status := say(s, responses...); status == "" || s.Claimed() != "Joe" || s.User().Name != "" {
			t.Errorf("%s: status %q, claimed %q, user %q", mech, status, s.Claimed(), s.User().Name)
		}
	}
}

// RFC 7677 §3.
const (
	rfcClientFirst = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
	rfcServerFirst = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
	rfcBinding     = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
	rfcClientFinal = rfcBinding + ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
	rfcServerFinal = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
)

func rfcServer(t *testing.T) *exchange {
	t.Helper()
	salt, _ := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	_, users := newMem(t, "user:{PLAIN}pencil:scram="+deriveScram("pencil", salt, 4096).Encode()+"\n")
	x := &exchange{ctx: t.Context(), verifier: users}
	x.step = (&scramServer{exchange: x, fixedNonce: "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"}).first
	return x
}

func TestScramServerVector(t *testing.T) {
	for _, tt := range []struct {
		responses    []string
		want, status string
	}{
		{[]string{rfcClientFirst, rfcClientFinal, ""}, rfcServerFirst + "|" + rfcServerFinal + "|done", ""},
		{[]string{"-", rfcClientFirst, rfcClientFinal, ""}, "|" + rfcServerFirst + "|" + rfcServerFinal + "|done", ""},
		{[]string{rfcClientFirst, rfcClientFinal, "x"}, rfcServerFirst + "|" + rfcServerFinal + "|", "5.5.2"},
		{[]string{rfcClientFirst, strings.Replace(rfcClientFinal, "p=d", "p=e", 1)}, rfcServerFirst + "|", "5.7.8"},
		{[]string{rfcClientFirst, strings.Replace(rfcClientFinal, "biws", "eSws", 1)}, rfcServerFirst + "|", "5.5.2"},
		{[]string{rfcClientFirst, strings.Replace(rfcClientFinal, "k0,", "k1,", 1)}, rfcServerFirst + "|", "5.5.2"},
		{[]string{rfcClientFirst, strings.Replace(rfcClientFinal, "k0,", "k0x,", 1)}, rfcServerFirst + "|", "5.5.2"},
		{[]string{rfcClientFirst, strings.Replace(rfcClientFinal, "k0,", "k0,x=y,", 1)}, rfcServerFirst + "|", "5.7.8"},
		{[]string{rfcClientFirst, rfcBinding + ",p=AAAA"}, rfcServerFirst + "|", "5.5.2"},
		{[]string{rfcClientFirst, rfcBinding + ",p="}, rfcServerFirst + "|", "5.5.2"},
		{[]string{rfcClientFirst, rfcBinding}, rfcServerFirst + "|", "5.5.2"},
		{[]string{rfcClientFirst, ""}, rfcServerFirst + "|", "5.5.2"},
	} {
		s := rfcServer(t)
		got, status := say(s, tt.responses...)
		if got != tt.want || status != tt.status || (s.User().Name == "user") != strings.HasSuffix(got, "done") {
			t.Errorf("%q\n got %s %q user %q\nwant %s %q", tt.responses, status, got, s.User().Name, tt.status, tt.want)
		}
	}
}

// Until the last response there is no user, though the proof was right.
func TestScramUserOnlyAtEnd(t *testing.T) {
	s := rfcServer(t)
	if _, status := say(s, rfcClientFirst, rfcClientFinal); status != "" || s.User().Name != "" {
		t.Errorf("status %q, user %q", status, s.User().Name)
	}
}

// A name that is unknown looks like one that is known: the same salt each time, another one for each name.
func TestScramUnknownUser(t *testing.T) {
	_, users := newMem(t, "user:{PLAIN}pencil:scram="+deriveScram("pencil", []byte("saltsalt"), 4096).Encode()+"\nhashed:"+
		vectors()[0].text+"\n")
	first := func(name string) string {
		s, _ := NewServer(t.Context(), MechScramSHA256, Channel{}, users)
		got, _ := say(s, "n,,n="+name+",r=abc")
		_, rest, _ := strings.Cut(got, ",")
		if _, status := say(s, "c=biws,r="+strings.TrimPrefix(strings.Split(got, ",")[0], "r=")+",p="+
			base64.StdEncoding.EncodeToString(make([]byte, 32))); status != "5.7.8" {
			t.Errorf("%s: ends with %s", name, status)
		}
		return rest
	}
	for _, name := range []string{"nobody", "hashed", "a/b"} {
		if a, b := first(name), first(name); a != b {
			t.Errorf("%s: %q, then %q", name, a, b)
		}
	}
	if first("nobody") == first("somebody") {
		t.Error("two names share a salt")
	}
}

func TestScramClientVector(t *testing.T) {
	c := &scramClient{name: "user", password: "pencil", nonce: "rOprNGfwEbeRWgbNEkqO"}
	mech, ir, err := c.Start()
	if mech != MechScramSHA256 || string(ir) != rfcClientFirst || err != nil {
		t.Errorf("Start = %s %q %v", mech, ir, err)
	}
	got, err := c.Next([]byte(rfcServerFirst))
	if string(got) != rfcClientFinal || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err = c.Next([]byte(rfcServerFinal)); got == nil || len(got) != 0 || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err = c.Next(nil); !errors.Is(err, errScramServer) {
		t.Errorf("after the end: %v", err)
	}
}

func TestScramClientRefuses(t *testing.T) {
	change := func(old, new string) string { return strings.Replace(rfcServerFirst, old, new, 1) }
	for _, tt := range []struct {
		first, final string
		want         error
	}{
		{rfcServerFirst, strings.Replace(rfcServerFinal, "v=6", "v=7", 1), errScramProof},
		{rfcServerFirst, "e=other-error", errScramProof},
		{rfcServerFirst, "", errScramProof},
		{rfcServerFirst, "v=", errScramProof},
		{change("r=rO", "r=xO"), "", errScramNonce},
		{change("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", ""), "", errScramNonce},
		{change("i=4096", "i=4095"), "", errScramRounds},
		{change("i=4096", "i=2000001"), "", errScramRounds},
		{change("i=4096", "i=-1"), "", errScramRounds},
		{change("i=4096", "i=x"), "", errScramRounds},
		{change("s=W22ZaJ0SNY7soEsUEjb6gQ==", "s="), "", errScramServer},
		{change("s=W", "s=!"), "", errScramServer},
		{"m=ext," + rfcServerFirst, "", errScramServer},
		{"", "", errScramServer},
		{strings.Repeat(",", maxResponse+1), "", errScramServer},
	} {
		c := &scramClient{name: "user", password: "pencil", nonce: "rOprNGfwEbeRWgbNEkqO"}
		c.Start()
		_, err := c.Next([]byte(tt.first))
		if err == nil {
			_, err = c.Next([]byte(tt.final))
		}
		if !errors.Is(err, tt.want) {
			t.Errorf("%.80q, %q: got %v, want %v", tt.first, tt.final, err, tt.want)
		}
	}
}

// Both sides of mailx understand each other.
func TestClientAndServer(t *testing.T) {
	_, users := newMem(t, saslUsers+"w,=x:{PLAIN}pencil\n")
	for _, mech := range []string{MechPlain, MechLogin, MechScramSHA256} {
		for _, cred := range []Credentials{
			{User: "user", Password: "pencil"}, {User: "Ann", Password: "a,=a\u0308 "}, {User: "w,=x", Password: "pencil"},
		} {
			c, err := NewClient(cred, Choice{Offered: []string{mech}, Secure: true})
			if err != nil {
				t.Fatal(err)
			}
			s, _ := NewServer(t.Context(), mech, Channel{Secure: true}, users)
			if err := converse(c, s); err != nil || s.User().Name != strings.ToLower(cred.User) {
				t.Errorf("%s %s: %v, user %q", mech, cred.User, err, s.User().Name)
			}
		}
	}
}

func converse(c sasl.Client, s sasl.Server) error {
	_, response, err := c.Start()
	for range 10 {
		if err != nil {
			return err
		}
		challenge, done, err2 := s.Next(response)
		if done || err2 != nil {
			return err2
		}
		if response, err = c.Next(challenge); response == nil {
			response = []byte{}
		}
	}
	return errors.New("no end")
}

func TestNewClientChoice(t *testing.T) {
	password, token := Credentials{User: "u", Password: "p"}, Credentials{User: "u", Token: "t"}
	all := "X-NEW LOGIN PLAIN CRAM-MD5 xoauth2 OAUTHBEARER scram-sha-256"
	for _, tt := range []struct {
		cred    Credentials
		offered string
		secure  bool
		only    string
		want    string
	}{
		{password, all, true, "", MechScramSHA256},
		{password, all, false, "", MechScramSHA256},
		{password, "LOGIN PLAIN CRAM-MD5", true, "", MechPlain},
		{password, "LOGIN CRAM-MD5", true, "", MechLogin},
		{password, "CRAM-MD5", true, "", MechCramMD5},
		{password, "LOGIN PLAIN CRAM-MD5", false, "", MechCramMD5},
		{password, "login plain", false, "", ""},
		{password, "XOAUTH2 OAUTHBEARER", true, "", ""},
		{password, "", true, "", ""},
		{password, all, true, "login", MechLogin},
		{password, all, false, "login", ""},
		{password, "PLAIN", true, "LOGIN", ""},
		{token, all, true, "", MechOAuthBearer},
		{token, "XOAUTH2 PLAIN", true, "", MechXOAuth2},
		{token, all, false, "", ""},
		{token, "PLAIN", true, "", ""},
		{Credentials{User: "u"}, all, true, "", ""},
		{Credentials{Password: "p"}, all, true, "", ""},
		{Credentials{User: "u\r\nRSET", Password: "p"}, all, true, "", ""},
		{Credentials{User: "u", Password: "p\x00q"}, all, true, "", ""},
		{Credentials{User: "u", Token: "t\x01q"}, all, true, "", ""},
	} {
		c, err := NewClient(tt.cred, Choice{Offered: strings.Fields(tt.offered), Secure: tt.secure, Only: tt.only})
		got := ""
		if err == nil {
			got, _, _ = c.Start()
		} else if !mail.StatusOf(err).IsTemporary() {
			t.Errorf("%+v: %v is not temporary", tt, err)
		}
		if got != tt.want {
			t.Errorf("%+v: got %q (%v)", tt, got, err)
		}
	}
}

func TestSimpleClients(t *testing.T) {
	cred := Credentials{User: "tim", Password: "tanstaaftanstaaf"}
	bearer := Credentials{User: "a,b=c@x.org", Token: "tok", Host: "mx.x.org", Port: 587}
	for _, tt := range []struct {
		cred       Credentials
		mech       string
		challenges []string
		want       []string // initial response, "-" for none, then the responses; "!" for an error
	}{
		{cred, MechCramMD5, []string{"<1896.697170952@postoffice.reston.mci.net>", "again"}, // RFC 2195 §2
			[]string{"-", "tim b913a602c7eda7a495b4e6e7334d3890", "!"}},
		{cred, MechCramMD5, []string{""}, []string{"-", "!"}},
		{cred, MechLogin, []string{"User Name\x00", "odd", "more"}, []string{"-", "tim", "tanstaaftanstaaf", "!"}},
		{bearer, MechXOAuth2, []string{"{}", "{}"}, []string{"user=a,b=c@x.org\x01auth=Bearer tok\x01\x01", "", "!"}},
		{bearer, MechOAuthBearer, []string{"{}", "{}"},
			[]string{"n,a=a=2Cb=3Dc@x.org,\x01host=mx.x.org\x01port=587\x01auth=Bearer tok\x01\x01", "\x01", "!"}},
		{Credentials{Token: "tok"}, MechOAuthBearer, nil, []string{"n,,\x01auth=Bearer tok\x01\x01"}},
		{cred, MechPlain, nil, []string{"\x00tim\x00tanstaaftanstaaf"}},
	} {
		c := tt.cred.client(tt.mech)
		_, ir, _ := c.Start()
		got := []string{string(ir)}
		if ir == nil {
			got[0] = "-"
		}
		for _, challenge := range tt.challenges {
			r, err := c.Next([]byte(challenge))
			if err != nil {
				r = []byte("!")
			}
			got = append(got, string(r))
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.mech, got, tt.want)
		}
	}
}

func FuzzServer(f *testing.F) {
	f.Add(uint8(0), []byte(rfcClientFirst), []byte(rfcClientFinal))
	f.Add(uint8(1), []byte("\x00user\x00x"), []byte(""))
	f.Add(uint8(2), []byte("user"), []byte("x"))
	_, users := newMem(f, "user:{PLAIN}"+strings.Repeat("long secret ", 20)+"\n")
	f.Fuzz(func(t *testing.T, which uint8, one, two []byte) {
		mechs := Mechanisms(Channel{Secure: true}, users)
		s, err := NewServer(t.Context(), mechs[int(which)%len(mechs)], Channel{Secure: true}, users)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range [][]byte{one, two, {}} {
			_, done, err := s.Next(r)
			if (done && err == nil) || s.User().Name != "" {
				t.Fatalf("%q %q logs in as %q", one, two, s.User().Name)
			}
			if err != nil && !mail.StatusOf(err).IsPermanent() {
				t.Fatalf("%q %q: %v", one, two, err)
			}
			if done {
				return
			}
		}
	})
}

func FuzzScramClient(f *testing.F) {
	f.Add([]byte(rfcServerFirst), []byte(rfcServerFinal))
	f.Fuzz(func(t *testing.T, first, final []byte) {
		if bytes.Contains(first, []byte("i=")) && !bytes.Contains(first, []byte("i=4096")) {
			return // only slow
		}
		c := &scramClient{name: "user", password: "another", nonce: "rOprNGfwEbeRWgbNEkqO"}
		c.Start()
		if _, err := c.Next(first); err != nil {
			return
		}
		if _, err := c.Next(final); err == nil {
			t.Fatalf("believes %q %q", first, final)
		}
	})
}
