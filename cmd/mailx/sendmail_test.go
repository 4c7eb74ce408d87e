package main

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/queue"
)

func TestUntilDot(t *testing.T) {
	long := strings.Repeat("x", 20) // longer than the buffer, which has 16 octets
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{".", ""},
		{".\n", ""},
		{".\r\n", ""},
		{"a\n.\nb\n", "a\n"},
		{"a\r\n.\r\nb\r\n", "a\r\n"},
		{"a\n.", "a\n"},
		{"a\n..\n.b\n. \n .\n", "a\n..\n.b\n. \n .\n"},
		{"no end", "no end"},
		{long + "\n.\nb\n", long + "\n"},
		{"0123456789abcdef.\nb\n", "0123456789abcdef.\nb\n"},     // the dot begins a buffer and not a line
		{"0123456789abcdef\n.\nb\n", "0123456789abcdef\n"},       // the line break alone fills no buffer
		{long + long + "\n\n.\r\nb\n", long + long + "\n\n"},     //
		{"0123456789abcde\n.\n", "0123456789abcde\n"},            // the line fills the buffer
		{"0123456789abcdef.", "0123456789abcdef."},               // at the end of the input
		{"0123456789abcdef\n\n.x\n", "0123456789abcdef\n\n.x\n"}, //
	} {
		for name, in := range map[string]io.Reader{"whole": strings.NewReader(tt.in), "by octet": iotest.OneByteReader(strings.NewReader(tt.in))} {
			got, err := io.ReadAll(iotest.OneByteReader(&untilDot{br: bufio.NewReaderSize(in, 16)}))
			if string(got) != tt.want || err != nil {
				t.Errorf("%s %q:\n got %q, %v\nwant %q", name, tt.in, got, err, tt.want)
			}
		}
	}
	broken := &untilDot{br: bufio.NewReader(io.MultiReader(strings.NewReader("a\nb"), iotest.ErrReader(io.ErrClosedPipe)))}
	if got, err := io.ReadAll(broken); string(got) != "a\nb" || err != io.ErrClosedPipe {
		t.Errorf("got %q, %v", got, err)
	}
}

func someItems() []queue.Item {
	at := time.Date(2026, 3, 2, 8, 0, 0, 0, time.Local)
	rcpt := func(local, domain string) queue.RcptStatus {
		return queue.RcptStatus{Recipient: mail.Recipient{Address: mail.Address{Local: local, Domain: domain}}, State: queue.RcptPending}
	}
	return []queue.Item{
		{ID: "aa1", State: queue.StateNew, Arrived: at, Size: 100, Sender: mail.Address{Local: "Ann", Domain: "here.example"},
			Rcpts: []queue.RcptStatus{rcpt("bob", "b.example"), rcpt("carol", "c.example")}},
		{ID: "bb2", State: queue.StateHeld, Arrived: at, Size: 2000, Error: "Can't \x1b[2Jconnect", Rcpts: []queue.RcptStatus{rcpt("d", "d.example")}},
	}
}

func TestMailq(t *testing.T) {
	const want = `-Queue ID- --Size-- ----Arrival Time---- -Sender/Recipient-------
aa1  100 Mon Mar  2 08:00:00 Ann@here.example
    bob@b.example
    carol@c.example

bb2! 2000 Mon Mar  2 08:00:00 MAILER-DAEMON
    (Can't \x1b[2Jconnect)
    d@d.example

-- 3 Kbytes in 2 Requests.
`
	var b bytes.Buffer
	l := &mailq{w: bufio.NewWriter(&b)}
	for _, item := range someItems() {
		l.entry(item)
	}
	l.end()
	l.w.Flush()
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestSendmailSelects(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"-bp", "aa1 bb2"},
		{"-bp -qIaa", "aa1"},
		{"-bp -qIaa -qIbb", "aa1 bb2"},
		{"-bp -qIaa -qRd.example", ""},
		{"-bp -qRC.EXAMPLE", "aa1"},
		{"-bp -qSann@", "aa1"},
		{"-bp -qS<>", "bb2"},
		{"-bp -qInone", ""},
	} {
		line, err := parseSendmail(strings.Fields(tt.args))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, item := range someItems() {
			if line.selects(item) {
				got = append(got, item.ID)
			}
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: got %q, want %q", tt.args, got, tt.want)
		}
	}
}
