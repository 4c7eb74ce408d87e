package message

import (
	"fmt"
	"strings"
	"testing"

	"mailx/pkg/mail"
)

func TestParseMailboxes(t *testing.T) {
	for in, want := range map[string]string{
		"a@x":                                 "|a@x",
		"Jörg <j@X.Example>":                  "Jörg|j@x.example",
		`a@x, "Doe, J" <j@x>, group: a, b;`:   "|a@x Doe, J|j@x |a |b",
		"undisclosed-recipients:;":            "",
		"undisclosed-recipients:":             "",
		"":                                    "",
		" , ,a@x,, ":                          "|a@x",
		"root":                                "|root",
		"a@x; b@y":                            "|a@x |b@y",
		"j@x (Jörg (the one))":                "Jörg (the one)|j@x",
		"J. R. Doe <j@x>":                     "J. R. Doe|j@x",
		`"J \"R\" Doe" <"a b"@x>`:             `J "R" Doe|"a b"@x`,
		"<@relay.example,@two.example:j@x>":   "|j@x",
		"=?utf-8?q?J=C3=B6rg?= <j@x>":         "Jörg|j@x",
		"=?iso-8859-1?Q?J=F6rg?= Doe <j@x>":   "Jörg Doe|j@x",
		"j @ x . example":                     "|j@x.example",
		"j@[IPv6:2001:db8::1], k@[192.0.2.1]": "|j@[ipv6:2001:db8::1] |k@[192.0.2.1]",
		"<>":                                  "!Bad local part",
		"a@x b@y":                             "!",
		"a@":                                  `!Domain of the address is empty or too long: "a@"`,
		"J <j@x":                              `!Missing > after the address: "<j@x"`,
		`"J <j@x>`:                            `!Quoted name does not end: "\"J <j@x>"`,
		"J <j@x> y":                           `!Text after the address: "y"`,
		"a@x\r\nBcc: b@x":                     "!Control character",
		"a@x, J (":                            "!Comment does not end",
		"a: b: c@x;":                          "!",
	} {
		list, err := ParseMailboxes(in)
		var got []string
		for _, m := range list {
			got = append(got, m.Name+"|"+m.Address.String())
		}
		g := strings.Join(got, " ")
		if err != nil {
			g = "!" + mail.TextOf(err)
		}
		bad := strings.HasPrefix(want, "!")
		if g != want && !(bad && strings.HasPrefix(g, want)) {
			t.Errorf("%q: got %q, want %q", in, g, want)
		}
		if err != nil && mail.StatusOf(err).String() != "5.1.3" {
			t.Errorf("%q: got %v, want 5.1.3", in, err)
		}
	}
	if _, err := ParseMailbox("a@x, b@x"); err == nil {
		t.Error("ParseMailbox takes two")
	}
}

func FuzzParseMailboxes(f *testing.F) {
	for _, s := range []string{`a@x, "Doe, J" <j@x>, group: a, b;`, "ü <ü@ü.x>, j@ü.x, j@ü_.x", "j@x (c)", "<@a:b@c>", "a@[::1]", "=?utf-8?b?YQ==?= <a>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list, err := ParseMailboxes(s)
		if err != nil || len(list) == 0 {
			return
		}
		field, err := appendField(nil, "To", mailboxTokens(list))
		if err != nil {
			return
		}
		h, body := readHeader(t, strings.NewReader(string(field)))
		again, err := ParseMailboxes(h.Get("To"))
		if body != "" || err != nil || len(again) != len(list) {
			t.Fatalf("%q: printed %q, read %v, %v", s, field, again, err)
		}
		for i := range list {
			if want, _ := list[i].Address.ToASCII(); again[i].Address != want || squeeze(again[i].Name) != squeeze(list[i].Name) {
				t.Fatalf("%q: printed %q, got %+v, want %+v", s, field, again[i], list[i])
			}
		}
	})
}

func squeeze(s string) string { return fmt.Sprint(strings.Fields(s)) }
