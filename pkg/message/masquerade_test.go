package message

import (
	"bufio"
	"strings"
	"testing"
	"testing/iotest"

	"mailx/pkg/mail"
)

func TestMasquerade(t *testing.T) {
	me := mail.Address{Local: "me", Domain: "provider.example"}
	has := func(a mail.Address) bool { return a == me }
	for _, tt := range []struct{ in, want string }{
		{"From: root (Cron Daemon)\nTo: root\nSubject: x\n\nbody\n",
			"From: Cron Daemon <me@provider.example>\nTo: root\nSubject: x\n\nbody\n"},
		{"Subject: x\nfrom: =?utf-8?q?J=C3=B6rg?=\n <j@x.example>\nSender: s@x.example\nX-Odd:   kept\n\n\nbody",
			"From: =?utf-8?q?J=C3=B6rg?= <me@provider.example>\nReply-To: =?utf-8?q?J=C3=B6rg?= <j@x.example>\nSubject: x\nX-Odd:   kept\n\n\nbody"},
		{"From: a@x.example, Me <me@provider.example>\nSender: a@x.example\n\nbody", ""},
		{"From: a@x.example, b@x.example\nReply-To: list@x.example\n\nbody",
			"From: me@provider.example\nReply-To: list@x.example\n\nbody"},
		{"Subject: none\n\nbody", "From: me@provider.example\nSubject: none\n\nbody"},
		{"Do you like ketchup?\n", "From: me@provider.example\n\nDo you like ketchup?\n"},
		{"From: \x80<\n\nbody", "From: me@provider.example\n\nbody"},
		{"From: a@x.example\nno field\n", "From: me@provider.example\nReply-To: a@x.example\n\nno field\n"},
		{"", "From: me@provider.example\n\n"},
	} {
		head, body, err := Masquerade(iotest.OneByteReader(strings.NewReader(tt.in)), me, has)
		got := string(head)
		if head != nil {
			got += tt.in[body:]
		}
		if err != nil || got != tt.want {
			t.Errorf("%q:\n got %q, %v\nwant %q", tt.in, got, err, tt.want)
		}
	}
}

// FuzzMasquerade: afterwards the author is the one that was wanted, the body is the same, and doing it again changes nothing.
func FuzzMasquerade(f *testing.F) {
	f.Add("From: a@x (b)\nSender: x\nReply-To: y\n\nbody")
	f.Add("From: a@x.example, \"b\" <c@d>,\n f\nFrom: second\n\nbody")
	f.Add("no header")
	me := mail.Address{Local: "me", Domain: "provider.example"}
	has := func(a mail.Address) bool { return a == me }
	f.Fuzz(func(t *testing.T, in string) {
		head, body, err := Masquerade(strings.NewReader(in), me, has)
		if err != nil || head == nil {
			return
		}
		out := string(head) + in[body:]
		h, err := ReadHeader(bufio.NewReader(strings.NewReader(out)), Limits{})
		if err != nil {
			t.Fatalf("%q: %v", in, err)
		}
		list, err := ParseMailboxes(h.Get("From"))
		if err != nil || len(list) != 1 || list[0].Address != me || h.Count("From") != 1 || h.Has("Sender") {
			t.Errorf("%q: From is %q, %v", in, h.Get("From"), err)
		}
		if again, at, err := Masquerade(strings.NewReader(out), me, has); again != nil || err != nil || out[at:] != in[body:] {
			t.Errorf("%q: again %q, %v; body %q, was %q", in, again, err, out[at:], in[body:])
		}
	})
}
