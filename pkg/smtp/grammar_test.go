package smtp

import (
	"strings"
	"testing"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/wire"
)

// What MAIL may say, and how we say it ourselves; "" where it is refused.
func TestMailParams(t *testing.T) {
	year := time.Date(2026, 12, 31, 23, 59, 59, 0, time.UTC)
	for _, c := range []struct {
		in   string
		want MailArgs
		out  string
	}{
		{"BODY=binarymime", MailArgs{Body: mail.BodyBinaryMIME}, "BODY=BINARYMIME"},
		{"ret=full envid=a+2bb+20c", MailArgs{Ret: mail.RetFull, EnvID: "a+b c"}, "RET=FULL ENVID=a+2Bb+20c"},
		{"ENVID=" + strings.Repeat("x", maxEnvID), MailArgs{EnvID: strings.Repeat("x", 100)}, "ENVID=" + strings.Repeat("x", 100)},
		{"ENVID=" + strings.Repeat("x", maxEnvID+1), MailArgs{}, ""},
		{"ENVID=a+00", MailArgs{}, ""},
		{"ENVID=\xc3\xa4", MailArgs{}, ""},
		{"requiretls", MailArgs{RequireTLS: true}, "REQUIRETLS"},
		{"REQUIRETLS=", MailArgs{}, ""},
		{"HOLDFOR=060", MailArgs{HoldFor: 60}, "HOLDFOR=60"},
		{"HOLDFOR=999999999", MailArgs{HoldFor: 999999999}, "HOLDFOR=999999999"},
		{"HOLDFOR=+60", MailArgs{}, ""},
		{"HOLDUNTIL=2026-12-31T23:59:59Z", MailArgs{HoldUntil: year}, "HOLDUNTIL=2026-12-31T23:59:59Z"},
		{"HOLDUNTIL=2027-01-01t00:59:59.25+01:00", MailArgs{HoldUntil: year.Add(time.Second / 4)}, "HOLDUNTIL=2026-12-31T23:59:59.25Z"},
		{"HOLDUNTIL=9999-12-31T23:59:59-00:01", MailArgs{}, ""},
		{"HOLDUNTIL=1969-12-31T23:59:59Z", MailArgs{}, ""},
		{"HOLDUNTIL=2026-12-31", MailArgs{}, ""},
		{"HOLDFOR=60 HOLDUNTIL=2026-12-31T23:59:59Z", MailArgs{}, ""},
		{"by=120;r", MailArgs{By: By{Seconds: 120, Mode: 'R'}}, "BY=120;R"},
		{"BY=+120;RT", MailArgs{By: By{Seconds: 120, Mode: 'R', Trace: true}}, "BY=120;RT"},
		{"BY=-0000001;N", MailArgs{By: By{Seconds: -1, Mode: 'N'}}, "BY=-1;N"},
		{"BY=0;NT", MailArgs{By: By{Mode: 'N', Trace: true}}, "BY=0;NT"},
		{"BY=0;R", MailArgs{}, ""},
		{"BY=1;T", MailArgs{}, ""},
		{"BY=1;RR", MailArgs{}, ""},
		{"BY=-+1;N", MailArgs{}, ""},
		{"BY=-;N", MailArgs{}, ""},
		{"SIZE=1 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a AUTH=<> REQUIRETLS HOLDFOR=1 BY=1;N", MailArgs{Size: 1, Body: mail.Body8BitMIME,
			UTF8: true, Ret: mail.RetHeaders, EnvID: "a", Auth: "<>", RequireTLS: true, HoldFor: 1, By: By{Seconds: 1, Mode: 'N'}},
			"SIZE=1 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a AUTH=<> REQUIRETLS HOLDFOR=1 BY=1;N"},
	} {
		got, err := ParseMail(wire.NewArgs(nil, "FROM:<> "+c.in))
		if c.out == "" {
			if err == nil {
				t.Errorf("%.90s: got %+v, want an error", c.in, got)
			}
			continue
		}
		if err != nil || *got != c.want || got.String() != "FROM:<> "+c.out {
			t.Errorf("%.90s:\ngot  %+v %v\nwant %+v", c.in, got, err, c.want)
		}
		if again, err := ParseMail(wire.NewArgs(nil, got.String())); err != nil || *again != *got {
			t.Errorf("%.90s: printed as %s, read as %+v %v", c.in, got, again, err)
		}
	}
}

// ORCPT is decoded when it is read; "" where it is refused.
func TestOrig(t *testing.T) {
	for in, want := range map[string][2]string{
		"rfc822;bob@x.example":                        {"rfc822;bob@x.example", "rfc822;bob@x.example"},
		"RFC822;a+2Bb+3dc+20d@x.example":              {"rfc822;a+b=c d@x.example", "rfc822;a+2Bb+3Dc+20d@x.example"},
		"x-other.1_2;any;thing":                       {"x-other.1_2;any;thing", "x-other.1_2;any;thing"},
		`utf-8;j\x{F6}rg@x.example`:                   {"utf-8;jörg@x.example", `utf-8;j\x{F6}rg@x.example`},
		`UTF-8;jörg\x{2B}\x{5C}\x{3D}\x{20}\x{1f600}`: {`utf-8;jörg+\= 😀`, `utf-8;j\x{F6}rg\x{2B}\x{5C}\x{3D}\x{20}\x{1F600}`},
		"rfc822;" + strings.Repeat("x", 493):          {"rfc822;" + strings.Repeat("x", 493), "rfc822;" + strings.Repeat("x", 493)},
		"rfc822;" + strings.Repeat("x", 494):          {},
		"rfc822":                                      {},
		";x":                                          {},
		"rfc822;":                                     {},
		"rfc 822;x":                                   {},
		"rfc822;a+0Ab":                                {},
		"rfc822;a+7F":                                 {},
		"rfc822;a+C3+A4":                              {},
		"rfc822;\xc3\xa4":                             {},
		"rfc822;a+2":                                  {},
		"utf-8;\xff":                                  {},
		"utf-8;a+2Bb":                                 {},
		`utf-8;\x{0A}`:                                {},
		`utf-8;\x{85}`:                                {},
		`utf-8;\x{D800}`:                              {},
		`utf-8;\x{110000}`:                            {},
		`utf-8;\x{0000041}`:                           {},
		`utf-8;\x{4}`:                                 {},
		`utf-8;\x{41`:                                 {},
		`utf-8;\x41}`:                                 {},
		`utf-8;\`:                                     {},
	} {
		got, ok := parseOrig(in)
		if !ok {
			got = ""
		}
		if got != want[0] || ok && formatOrig(got) != want[1] {
			t.Errorf("%.60q: got %q printed %q, want %q", in, got, formatOrig(got), want)
		}
		if ok && sendableOrig(got) != got {
			t.Errorf("%.60q: we would not send it", in)
		}
	}
}

// Orig texts that other rooms may hand to us, and that no server would take.
func TestOrigThatIsNotSent(t *testing.T) {
	for _, s := range []string{"", "x", ";", "rfc822;", "rfc822;a\nb", "rfc822;jörg", "rfc822;" + strings.Repeat("=", 165), "utf-8;" + strings.Repeat("ö", 90)} {
		if got := sendableOrig(s); got != "" {
			t.Errorf("%.60q is sent as %q", s, formatOrig(got))
		}
	}
	if got := formatRcpt(mail.Recipient{Address: mail.Address{Local: "a"}, Orig: "utf-8;ö b", Notify: mail.NotifyDelay}); got != `TO:<a> NOTIFY=DELAY ORCPT=utf-8;\x{F6}\x{20}b` {
		t.Errorf("got %s", got)
	}
}
