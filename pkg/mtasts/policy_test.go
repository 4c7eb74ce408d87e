package mtasts

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestParsePolicy(t *testing.T) {
	many := strings.Repeat("mx: a.example\n", maxHosts)
	for text, want := range map[string]string{
		"version: STSv1\nmode: enforce\nmx: mx.example\nmax_age: 60\n":                             "enforce [mx.example] 1m0s",
		"version: STSv1\r\nmode: testing\r\nmx: *.MX.example.\r\nmx: b.example\r\nmax_age: 86400":  "testing [*.mx.example b.example] 24h0m0s",
		"mode:none\nmax_age:0\nversion:STSv1":                                                      "none [] 0s",
		"version: STSv1\nmode: enforce\nmode: none\nmx: a.example\nmax_age: 1\nmax_age: x\nnew: 1": "enforce [a.example] 1s",
		"version: STSv1\nmode: enforce\nmx: a.example\nmax_age: 9999999999":                        "enforce [a.example] 8766h0m0s",
		"version: STSv1\nmode: enforce\nmx: a.example\nmax_age: 10000000000":                       "bad max_age",
		"version: STSv1\nmode: enforce\nmx: a.example\nmax_age: -1":                                "bad max_age",
		"version: STSv2\nmode: enforce\nmx: a.example\nmax_age: 1":                                 "unknown version",
		"mode: enforce\nmx: a.example\nmax_age: 1":                                                 "without version",
		"version: STSv1\nmode: enforce\nmx: a.example\n":                                           "without version or max_age",
		"version: STSv1\nmode: enforce\nmax_age: 1":                                                "without mx",
		"version: STSv1\nmode: report\nmx: a.example\nmax_age: 1":                                  "bad mode",
		"version: STSv1\nmode: enforce\nmx: *\nmax_age: 1":                                         "bad mx",
		"version: STSv1\nmode: enforce\nmx: a.*.example\nmax_age: 1":                               "bad mx",
		"version: STSv1\nmode: enforce\nmx: a b\nmax_age: 1":                                       "bad mx",
		"version: STSv1\nmode: enforce\nmx: .example\nmax_age: 1":                                  "bad mx",
		"<html>no policy</html>":                                                                   "no field",
		"":                                                                                         "without version",
		"version: STSv1\nmode: none\nmax_age: 1\n" + many[:len(many)-14]:                           fmt.Sprintf("none %v 1s", strings.Fields(strings.Repeat("a.example ", maxHosts-1))),
		"version: STSv1\nmode: none\nmax_age: 1\n" + many:                                          fmt.Sprintf("none %v 1s", strings.Fields(strings.Repeat("a.example ", maxHosts))),
		"version: STSv1\nmode: none\nmax_age: 1\n" + many + "mx: b.example":                        "bad mx",
		"version: STSv1\nmode: none\nmax_age: 1\n" + strings.Repeat("x:\n", maxPolicy/3):           "more than",
	} {
		got := ""
		if p, err := ParsePolicy(text); err != nil {
			got = err.Error()
		} else {
			got = fmt.Sprintf("%s %v %v", p.Mode, p.Hosts, p.MaxAge)
		}
		if got != want && !strings.Contains(got, want) {
			t.Errorf("%.80q\n got %.200q\nwant %.200q", text, got, want)
		}
	}
}

func TestMatches(t *testing.T) {
	p := &Policy{Hosts: []string{"mx.example.org", "*.mail.example"}}
	for host, want := range map[string]bool{
		"mx.example.org": true, "MX.Example.ORG.": true, "a.mail.example": true,
		"mail.example": false, "a.b.mail.example": false, "x.mx.example.org": false, "example.org": false, "": false,
		"amail.example": false, "example": false,
	} {
		if got := p.Matches(host); got != want {
			t.Errorf("%q: got %v, want %v", host, got, want)
		}
	}
}

func TestParseRecord(t *testing.T) {
	for text, want := range map[string]string{
		"v=STSv1; id=20260101T000000Z;":          "20260101T000000Z",
		"v=STSv1;id=1":                           "1",
		"v=STSv1 ; x=y ; id=a2":                  "a2",
		"spf|v=STSv1; id=1;|other":               "1",
		"v=STSv1; id=1;|v=STSv1; id=1;":          "",
		"v=STSv1; id=;":                          "",
		"v=STSv1; id=a-b;":                       "",
		"v=STSv1;":                               "",
		"v=STSv1":                                "",
		"v=STSv10; id=1;":                        "",
		" v=STSv1; id=1;":                        "",
		"":                                       "",
		"v=STSv1; id=" + strings.Repeat("x", 32): strings.Repeat("x", 32),
		"v=STSv1; id=" + strings.Repeat("x", 33): "",
	} {
		got, err := ParseRecord(strings.Split(text, "|"))
		if got != want || (err == nil) != (want != "") || err != nil && !errors.Is(err, ErrNoRecord) {
			t.Errorf("%q: got %q, %v, want %q", text, got, err, want)
		}
	}
}

// FuzzParsePolicy: what is read is read again as it is printed.
func FuzzParsePolicy(f *testing.F) {
	f.Add("version: STSv1\nmode: enforce\nmx: mx.example\nmx: *.b.example\nmax_age: 604800\n")
	f.Add("mode:none\r\nmax_age:0\r\nversion:STSv1")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePolicy(text)
		if err != nil {
			return
		}
		again, err := ParsePolicy(p.String())
		if err != nil || again.String() != p.String() || len(p.Hosts) > maxHosts || p.MaxAge > maxMaxAge*time.Second {
			t.Errorf("%q: %q, then %v, %v", text, p, again, err)
		}
		for _, host := range p.Hosts {
			if !p.Matches(strings.Replace(host, "*", "x", 1)) {
				t.Errorf("%q does not match itself", host)
			}
		}
	})
}

// FuzzParseRecord: an id is one.
func FuzzParseRecord(f *testing.F) {
	f.Add("v=STSv1; id=20260101T000000Z;", "v=spf1 -all")
	f.Fuzz(func(t *testing.T, a, b string) {
		id, err := ParseRecord([]string{a, b})
		if (err == nil) != (id != "") || len(id) > 32 || !isAlphanumeric(id) {
			t.Errorf("%q, %q: %q, %v", a, b, id, err)
		}
	})
}

// FuzzParseKept: whatever the file has, what is known of it is known of it again.
func FuzzParseKept(f *testing.F) {
	k := kept{id: "1", fetched: time.Unix(1e9, 0), tried: time.Unix(1e9, 0), policy: &Policy{Mode: Enforce, Hosts: []string{"a.example"}, MaxAge: time.Hour}}
	f.Add(k.String())
	f.Add("tried: 2026-01-01T00:00:00Z\n")
	f.Fuzz(func(t *testing.T, text string) {
		k := parseKept(text)
		if again := parseKept(k.String()); k.policy != nil && again.String() != k.String() {
			t.Errorf("%q: %q, then %q", text, k.String(), again.String())
		}
	})
}
