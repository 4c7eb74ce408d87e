package delivery

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"mailx/pkg/mail"
)

func TestMasquerade(t *testing.T) {
	m := &Masquerade{As: address(t, "me@provider.example")}
	m.Has = func(a mail.Address) bool { return a == m.As || a.Local == "me+list" }
	body := strings.Repeat("a line of the body\n", 5000)
	for _, tt := range []struct{ sender, from, wantSender, wantHead string }{
		{"root@web1.example", "root@web1.example", "me@provider.example", "From: me@provider.example\nReply-To: root@web1.example\n\n"},
		{"me@provider.example", "me@provider.example", "me@provider.example", "From: me@provider.example\n\n"},
		{"me+list@provider.example", "me@provider.example", "me+list@provider.example", "From: me@provider.example\n\n"},
		{"", "MAILER-DAEMON@web1.example", "", "From: me@provider.example\nReply-To: MAILER-DAEMON@web1.example\n\n"},
	} {
		env := &mail.Envelope{}
		if tt.sender != "" {
			env.Sender = address(t, tt.sender)
		}
		in := "From: " + tt.from + "\n\n" + body
		msg, size, err := m.apply(env, strings.NewReader(in), int64(len(in)))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(iotest.HalfReader(io.NewSectionReader(msg, 0, size)))
		if err != nil || string(got) != tt.wantHead+body || env.Sender.String() != tt.wantSender {
			t.Errorf("%s, %s: sender %s, %d octets, header %.80q, %v", tt.sender, tt.from, env.Sender, len(got), got, err)
		}
		for _, off := range []int64{0, 1, int64(len(tt.wantHead)) - 1, int64(len(tt.wantHead)), size - 1} {
			p := make([]byte, 1)
			if _, err := msg.ReadAt(p, off); err != nil && err != io.EOF || p[0] != (tt.wantHead + body)[off] {
				t.Errorf("at %d: got %q, %v", off, p, err)
			}
		}
	}
}
