package message

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"testing"

	"mailx/pkg/mail"
)

func headerOf(t testing.TB, text string) *Header {
	t.Helper()
	h, err := ReadHeader(bufio.NewReader(strings.NewReader(text)), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// me owns two addresses.
func me(a mail.Address) bool {
	return a.Domain == "me.example" && strings.EqualFold(a.Local, "me") || a.Domain == "other.example" && a.Local == "me"
}

func listOf(list []Mailbox) string {
	var names []string
	for _, m := range list {
		names = append(names, m.String())
	}
	return strings.Join(names, ", ")
}

func TestAnswerAudience(t *testing.T) {
	const two = "From: Ann <ann@a.example>\nTo: me@me.example, Bob <bob@b.example>\nCc: carl@c.example, ME@me.example, Ann <ANN@a.example>\n"
	for _, c := range []struct {
		name, header string
		audience     Audience
		want         string // To | Cc | entries that can't be read
	}{
		{"author", two, ToAuthor, "Ann <ann@a.example>||"},
		{"all", two, ToAll, "Ann <ann@a.example>|Bob <bob@b.example>, carl@c.example|"},
		{"Reply-To", two + "Reply-To: x@x.example, y@y.example\n", ToAuthor, "x@x.example, y@y.example||"},
		{"all, Reply-To", two + "Reply-To: bob@b.example\n", ToAll, "bob@b.example|carl@c.example, Ann <ANN@a.example>|"},
		{"Mail-Reply-To", two + "Reply-To: x@x.example\nMail-Reply-To: z@z.example\n", ToAuthor, "z@z.example||"},
		{"empty Reply-To", two + "Reply-To: \n", ToAuthor, "Ann <ann@a.example>||"},
		{"Mail-Followup-To", two + "Mail-Followup-To: list@l.example, me@me.example\n", ToAll, "list@l.example||"},
		{"Mail-Followup-To is not for one", two + "Mail-Followup-To: list@l.example\n", ToAuthor, "Ann <ann@a.example>||"},
		{"own Mail-Followup-To", two + "Mail-Followup-To: me@me.example\n", ToAll, "Ann <ann@a.example>|Bob <bob@b.example>, carl@c.example|"},
		{"List-Post", two + "List-Post: <https://l.example/post>, <MAILTO:my%2Blist@l.example?subject=x> (all)\n", ToList, "my+list@l.example||"},
		{"List-Post and Mail-Followup-To", two + "List-Post: <mailto:l@l.example>\nMail-Followup-To: f@l.example\n", ToList, "f@l.example||"},
		{"no posting", two + "List-Post: NO (announcements)\n", ToList, "||"},
		{"no list", two, ToList, "||"},
		{"bad List-Post", two + "List-Post: <mailto:%zz>, <mailto:>, <mailto:nobody>, <mailto:a%0Ab@l.example>\n", ToList, "||"},
		{"own message", "From: me@me.example\nTo: ann@a.example, me@other.example\nCc: bob@b.example\n", ToAuthor, "ann@a.example||"},
		{"own message, all", "From: me@me.example\nTo: ann@a.example\nCc: bob@b.example, me@me.example\n", ToAll, "ann@a.example|bob@b.example|"},
		{"to oneself", "From: me@me.example\nTo: me@me.example\n", ToAuthor, "me@me.example||"},
		{"to oneself, all", "From: me@me.example\nTo: me@me.example\n", ToAll, "me@me.example||"},
		{"own Reply-To, all", "From: ann@a.example\nReply-To: me@me.example\nTo: bob@b.example\n", ToAll, "bob@b.example||"},
		{"Sender", "Sender: s@s.example\nFrom: <>\n", ToAuthor, "s@s.example||From"},
		{"nobody", "Subject: x\n", ToAll, "||"},
		{"group", "From: a@a.example\nTo: undisclosed-recipients:;\n", ToAll, "a@a.example||"},
		{"bad entries", "From: a@a.example\nTo: bob@b.example, \"x, y\" <bad, carl@c.example, d@d..example, E <e@e.example>\n", ToAll,
			"a@a.example|bob@b.example|To"},
		{"one bad entry", "From: a@a.example\nTo: \"B, B\" <bob@b.example>, d@d..example (x, y), E <e@e.example>\n", ToAll,
			"a@a.example|B, B <bob@b.example>, E <e@e.example>|To"},
		{"control characters", "From: \"a\x1b[31m\" <a@a.example>\n", ToAuthor, "a\ufffd[31m <a@a.example>||"},
		{"encoded name", "From: =?utf-8?q?J=C3=B6rg?= <j@a.example>\n", ToAuthor, "J\u00f6rg <j@a.example>||"},
		{"several fields", "From: a@a.example\nTo: b@b.example\nTo: c@c.example\n", ToAll, "a@a.example|b@b.example, c@c.example|"},
	} {
		a := NewAnswer(headerOf(t, c.header), c.audience, me)
		unread := ""
		if len(a.Unread) > 0 {
			unread = "To"
			if strings.Contains(c.header, "From: <>") {
				unread = "From"
			}
		}
		if got := listOf(a.To) + "|" + listOf(a.Cc) + "|" + unread; got != c.want {
			t.Errorf("%s: got %q %q, want %q", c.name, got, a.Unread, c.want)
		}
	}
}

func TestAnswerThread(t *testing.T) {
	many := "<first@x>"
	for i := range 300 {
		many += fmt.Sprintf("\n <%d@x>", i)
	}
	for _, c := range []struct{ name, header, inReplyTo, references string }{
		{"first answer", "Message-ID: <1@x>\n", "<1@x>", "<1@x>"},
		{"second answer", "Message-ID: <2@x>\nIn-Reply-To: <1@x>\nReferences: <0@x>\n <1@x>\n", "<2@x>", "<0@x> <1@x> <2@x>"},
		{"without References", "Message-ID: <2@x>\nIn-Reply-To: <1@x>\n", "<2@x>", "<1@x> <2@x>"},
		{"In-Reply-To of several", "Message-ID: <2@x>\nIn-Reply-To: <1@x> <0@x>\n", "<2@x>", "<2@x>"},
		{"old In-Reply-To", "Message-ID: <2@x>\nIn-Reply-To: Your message of \"Mon\" <1@x>\n", "<2@x>", "<1@x> <2@x>"},
		{"no id", "References: <0@x> <1@x>\n", "", "<0@x> <1@x>"},
		{"id without @", "Message-ID: <abc>\n", "<abc>", "<abc>"},
		{"no id at all", "Message-ID: abc\nReferences: x <a b> <> <\x80>\n", "", ""},
		{"itself", "Message-ID: <1@x>\nReferences: <1@x> <0@x>\n", "<1@x>", "<0@x> <1@x>"},
	} {
		a := NewAnswer(headerOf(t, c.header), ToAuthor, nil)
		if a.InReplyTo != c.inReplyTo || a.References != c.references {
			t.Errorf("%s: got %q and %q, want %q and %q", c.name, a.InReplyTo, a.References, c.inReplyTo, c.references)
		}
		if f := NewForward(headerOf(t, c.header)); f.InReplyTo != "" || f.References != c.references || len(f.To) > 0 {
			t.Errorf("%s: sent on: got %+v", c.name, f)
		}
	}
	ids := strings.Fields(NewAnswer(headerOf(t, "References: "+many+"\nMessage-ID: <last@x>\n"), ToAuthor, nil).References)
	if len(ids) != maxReferences || ids[0] != "<first@x>" || ids[1] != "<202@x>" || ids[len(ids)-1] != "<last@x>" {
		t.Errorf("long thread: got %d ids, %q", len(ids), ids)
	}
}

func TestSubjects(t *testing.T) {
	for _, c := range [][3]string{
		{"x", "Re: x", "Fwd: x"},
		{"Re: x", "Re: x", "Fwd: Re: x"},
		{"RE:x", "Re: x", "Fwd: RE:x"},
		{"Re[2]: AW: sv : re: x", "Re: x", "Fwd: Re[2]: AW: sv : re: x"},
		{"Fwd: x", "Re: Fwd: x", "Fwd: x"},
		{"FW: x", "Re: FW: x", "FW: x"},
		{"Ready: x", "Re: Ready: x", "Fwd: Ready: x"},
		{"", "Re:", "Fwd:"},
		{" =?utf-8?q?AW=3A_Gr=C3=BC=C3=9Fe?= ", "Re: Gr\u00fc\u00dfe", "Fwd: AW: Gr\u00fc\u00dfe"},
		{"a\x1bb", "Re: a\ufffdb", "Fwd: a\ufffdb"},
	} {
		if got := ReplySubject(c[0]); got != c[1] {
			t.Errorf("answer to %q: got %q, want %q", c[0], got, c[1])
		}
		if got := ForwardSubject(c[0]); got != c[2] {
			t.Errorf("%q sent on: got %q, want %q", c[0], got, c[2])
		}
	}
}

// FuzzAnswer: an answer to any message can be written, and an answer to the answer too.
func FuzzAnswer(f *testing.F) {
	f.Add("From: Ann <ann@a.example>\nTo: \"B, B\" <b@b.example>, d@d..example (x\nCc: x@y\nReply-To: =?utf-8?q?=0A?= <x@y>\n" +
		"Message-ID: <a\x80@b>\nReferences: <a@b> <c\nSubject: Re: AW: =?utf-8?b?w7w=?=\nList-Post: <mailto:a%40b@c>\n\ntext > \n-- \nsig\n")
	f.Add("Mail-Followup-To: \xff <root>, \"\\\"\" <\"a b\"@[127.0.0.1]>\nFrom: a@b (c)\n\n")
	f.Fuzz(func(t *testing.T, msg string) {
		root, err := Parse(strings.NewReader(msg))
		if err != nil {
			t.Fatal(err)
		}
		for _, audience := range []Audience{ToAuthor, ToAll, ToList} {
			a := NewAnswer(root.Header, audience, me)
			d := Draft{From: []Mailbox{box("", "me", "me.example")}, To: a.To, Cc: a.Cc, Subject: a.Subject, InReplyTo: a.InReplyTo,
				References: a.References, Date: day, Text: strings.NewReader(QuoteText(msg, true, false)), Encoding: "8bit"}
			var b strings.Builder
			if err := d.Write(&b); err != nil {
				t.Fatalf("%+v: %v", a, err)
			}
			back, err := Parse(strings.NewReader(b.String()))
			if err != nil {
				t.Fatal(err)
			}
			to, unread := ParseMailboxesLoosely(back.Header.Get("To"))
			if audience == ToAuthor && (len(to) != len(a.To) || len(unread) > 0) {
				t.Fatalf("To of %+v: got %+v, not read %q", a, to, unread)
			}
			if again := NewAnswer(back.Header, ToAll, nil); DecodeText(back.Header.Get("Subject")) != a.Subject || again.Subject != a.Subject {
				t.Fatalf("subject: got %q and %q, want %q", DecodeText(back.Header.Get("Subject")), again.Subject, a.Subject)
			}
			if got := strings.Join(messageIDs(back.Header.Get("References")), " "); got != a.References {
				t.Fatalf("references: got %q, want %q", got, a.References)
			}
			if text := readTextOf(t, back, b.String()); !strings.HasPrefix(text, ">") && text != "" && text != "\n" {
				t.Fatalf("quoted: %q", text)
			}
		}
	})
}

func readTextOf(t testing.TB, p *Part, msg string) string {
	t.Helper()
	b, err := io.ReadAll(p.Open(strings.NewReader(msg)))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
