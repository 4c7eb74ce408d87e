//go:build interop

package interop

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// unfitMessages have what SMTP has no room for, as scripts make it: the whole message is theirs, and goes in by -t.
func unfitMessages() []string {
	long, data := strings.Repeat("Grüße ", 400), base64.StdEncoding.EncodeToString([]byte(everyOctet()+everyOctet()+everyOctet()+everyOctet()))
	var everybody []string
	for i := range 60 {
		everybody = append(everybody, fmt.Sprintf(`"Last, First %d" <u%d@many.example>`, i, i))
	}
	head := "MIME-Version: 1.0\nContent-Type: "
	return []string{
		"\n" + long + "\n.\n..\nFrom x\n",
		"\nlog: a\x00b\n" + strings.Repeat("0123456789", 5000),
		head + "text/html; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n<p>" + long + "</p>",
		head + "application/pdf; name=a.pdf\nContent-Transfer-Encoding: base64\n\n" + data + "\n",
		head + "text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n" + strings.Repeat("Gr=C3=BC=C3=9Fe ", 300) + "=\nend\n",
		head + "multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain; charset=utf-8\n\n" + long + "\n--b\nContent-Type: application/x-bin; name=x\n" +
			"Content-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=x\n\n" + data + "\n--b\nContent-Type: message/rfc822\n\nSubject: in\n\n" + long + "\n--b--\n",
		"Cc: " + strings.Join(everybody, ",") + "\n\nshort\n",
	}
}

// TestUnfitReadBack: what goes out has no line of more than 998 octets and no NUL, and Python reads it as it reads what was handed in.
func TestUnfitReadBack(t *testing.T) {
	w, before := newWorld(t), t.TempDir()
	messages := unfitMessages()
	for i, m := range messages {
		messages[i] = fmt.Sprintf("Subject: unfit %d\nFrom: Ann <a@x.example>\nTo: Bob <b@y.example>\n%s", i, m)
		writeFile(t, before, strconv.Itoa(i), messages[i])
	}
	want := readByPython(t, before)
	for _, s := range []*sink{startSink(t), startSink(t, "-8")} {
		for _, m := range messages {
			args := []string{w.bin, "send", "-t", "--now", "--server", "smtp://" + s.addr}
			job{args: args, stdin: m, env: w.environ(), dir: w.home}.run(t).must(t, 0)
		}
		after := t.TempDir()
		for i, d := range s.taken(t) {
			writeFile(t, after, strconv.Itoa(i), d.text)
			for line := range strings.Lines(d.text) {
				if len(line) > 999 || strings.Contains(line, "\x00") {
					t.Errorf("sent: %d octets, %.200q", len(line)-1, line)
				}
			}
		}
		got := readByPython(t, after)
		if len(got) != len(want) {
			t.Fatalf("%d messages arrived, want %d", len(got), len(want))
		}
		for _, m := range want {
			i := slices.IndexFunc(got, func(r readBack) bool { return r.Subject == m.Subject })
			if i < 0 || !sameContent(got[i], m) {
				t.Errorf("%s: got\n%+.3000v\nwant\n%+.3000v", m.Subject, got[max(i, 0)], m)
			}
		}
	}
}

// sameContent compares what is decoded, but for messages inside, whose encoding may be another one.
func sameContent(a, b readBack) bool {
	return a.From == b.From && a.To == b.To && slices.EqualFunc(a.Parts, b.Parts, func(p, q leafPart) bool {
		isSame := bytes.Equal(bytes.TrimSpace(localForm(p.Content)), bytes.TrimSpace(localForm(q.Content)))
		return p.Type == q.Type && p.Name == q.Name && (isSame || p.Type == "message/rfc822")
	})
}
