package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"mailx/pkg/mail"
)

// fakeServer answers on a loopback UDP socket from a table "name/TYPE" -> answer; the resolver dials only it.
func fakeServer(t *testing.T, answers map[string]answer) Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if reply, err := respond(buf[:n], answers); err == nil {
				conn.WriteTo(reply, from)
			}
		}
	}()
	var d net.Dialer
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return d.DialContext(ctx, "udp", conn.LocalAddr().String())
	}
	return system{&net.Resolver{PreferGo: true, Dial: dial}}
}

type answer struct {
	rcode   dnsmessage.RCode
	records []dnsmessage.ResourceBody
}

func respond(query []byte, answers map[string]answer) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil {
		return nil, err
	}
	q := m.Questions[0]
	a, ok := answers[q.Name.String()+"/"+strings.TrimPrefix(q.Type.String(), "Type")]
	if !ok {
		a.rcode = dnsmessage.RCodeNameError
	}
	m.Response, m.RecursionAvailable, m.RCode, m.Additionals = true, true, a.rcode, nil
	owner := q.Name
	for _, body := range a.records {
		h := dnsmessage.ResourceHeader{Name: owner, Class: dnsmessage.ClassINET, TTL: 60}
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: body})
		if c, ok := body.(*dnsmessage.CNAMEResource); ok {
			owner = c.CNAME
		}
	}
	return m.Pack()
}

func mxRecord(pref uint16, host string) dnsmessage.ResourceBody {
	return &dnsmessage.MXResource{Pref: pref, MX: dnsmessage.MustNewName(host)}
}

func TestSystem(t *testing.T) {
	name := dnsmessage.MustNewName
	a := []dnsmessage.ResourceBody{&dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}}}
	aaaa := []dnsmessage.ResourceBody{&dnsmessage.AAAAResource{AAAA: [16]byte{0x20, 1, 0xd, 0xb8, 15: 1}}}
	fail := answer{rcode: dnsmessage.RCodeServerFailure}
	r := fakeServer(t, map[string]answer{
		"two.example./MX":      {records: []dnsmessage.ResourceBody{mxRecord(20, "both.example."), mxRecord(10, "four.example.")}},
		"null.example./MX":     {records: []dnsmessage.ResourceBody{mxRecord(0, ".")}},
		"nodata.example./MX":   {}, // A and AAAA: empty too
		"nodata.example./A":    {},
		"nodata.example./AAAA": {},
		"alias.example./MX": {records: []dnsmessage.ResourceBody{
			&dnsmessage.CNAMEResource{CNAME: name("two.example.")}, mxRecord(10, "four.example.")}},
		"bad.example./MX":      fail,
		"refused.example./MX":  {rcode: dnsmessage.RCodeRefused},
		"odd.example./MX":      {records: []dnsmessage.ResourceBody{mxRecord(5, "b\\ad.example."), mxRecord(10, "four.example.")}},
		"allodd.example./MX":   {records: []dnsmessage.ResourceBody{mxRecord(5, "b\\ad.example.")}},
		"four.example./A":      {records: a},
		"four.example./AAAA":   {},
		"both.example./A":      {records: a},
		"both.example./AAAA":   {records: aaaa},
		"six.example./AAAA":    {records: aaaa},
		"six.example./A":       fail, // one family is enough
		"five.example./A":      {records: a},
		"five.example./AAAA":   fail,
		"afails.example./A":    fail, // nobody knows
		"afails.example./AAAA": {},
		"6fails.example./A":    {},
		"6fails.example./AAAA": fail,
	})
	for _, tt := range []struct{ domain, want, status string }{
		{"two.example", "10 four.example! [192.0.2.1], 20 both.example []", ""},
		{"alias.example", "10 four.example! [192.0.2.1]", ""},
		{"odd.example", "10 four.example! [192.0.2.1]", ""},
		{"both.example", "0 both.example! [2001:db8::1 192.0.2.1]", ""},
		{"six.example", "0 six.example! [2001:db8::1]", ""},
		{"five.example", "0 five.example! [192.0.2.1]", ""},
		{"null.example", "", "5.1.10"},
		{"gone.example", "", "5.1.2"},
		{"nodata.example", "", "5.1.2"}, // net can't tell it from the above
		{"bad.example", "", "4.4.3"},
		{"refused.example", "", "4.4.3"},
		{"allodd.example", "", "4.4.3"},
		{"afails.example", "", "4.4.3"},
		{"6fails.example", "", "4.4.3"},
	} {
		hosts, err := Hosts(t.Context(), r, tt.domain, nil)
		var words []string
		for _, h := range hosts {
			words = append(words, fmt.Sprintf("%s %v", routes([]Host{h}), h.Addrs))
		}
		status := ""
		if err != nil {
			status = mail.StatusOf(err).String()
		}
		if got := strings.Join(words, ", "); got != tt.want || status != tt.status {
			t.Errorf("Hosts(%q)\n got %s %q\nwant %s %q (%v)", tt.domain, status, got, tt.status, tt.want, err)
		}
	}
}

// A resolver gives the strings of a text as one, and says what is certain.
func TestSystemTXT(t *testing.T) {
	r := fakeServer(t, map[string]answer{
		"_mta-sts.a.example./TXT": {records: []dnsmessage.ResourceBody{&dnsmessage.TXTResource{TXT: []string{"v=STSv1; ", "id=1"}}}},
		"_mta-sts.b.example./TXT": {},
		"_mta-sts.c.example./TXT": {rcode: dnsmessage.RCodeServerFailure},
	}).(Texter)
	if texts, err := r.LookupTXT(t.Context(), "_mta-sts.a.example"); err != nil || len(texts) != 1 || texts[0] != "v=STSv1; id=1" {
		t.Errorf("got %q, %v", texts, err)
	}
	for name, isCertain := range map[string]bool{"_mta-sts.b.example": true, "_mta-sts.d.example": true, "_mta-sts.c.example": false} {
		if texts, err := r.LookupTXT(t.Context(), name); err == nil || isAbsent(err) != isCertain {
			t.Errorf("%s: %q, %v", name, texts, err)
		}
	}
}

// A host without a name server at all is trouble of ours.
func TestSystemUnreachable(t *testing.T) {
	dial := func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no network") }
	r := system{&net.Resolver{PreferGo: true, Dial: dial}}
	_, err := Hosts(t.Context(), r, "example.org", nil)
	if got := mail.StatusOf(err).String(); got != "4.4.3" {
		t.Errorf("got %s, want 4.4.3 (%v)", got, err)
	}
}

// Every host has "localhost" in its hosts file.
func TestSystemReadsHostsFile(t *testing.T) {
	addrs, err := System().LookupHost(t.Context(), "localhost")
	if err != nil || len(addrs) == 0 || !addrs[len(addrs)-1].IsLoopback() {
		t.Errorf("localhost: %v, %v", addrs, err)
	}
}
