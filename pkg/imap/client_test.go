package imap

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-sasl"

	"mailx/pkg/mailbox"
)

// An independent client, in the things that clients do.
func TestGoIMAPClient(t *testing.T) {
	fsys := testSpool(t)
	dial := serve(t, func() *Server { return testServer(fsys) })
	exists := make(chan uint32, 10)
	c := imapclient.New(dial(t), &imapclient.Options{UnilateralDataHandler: &imapclient.UnilateralDataHandler{
		Mailbox: func(data *imapclient.UnilateralDataMailbox) {
			if data.NumMessages != nil {
				exists <- *data.NumMessages
			}
		},
	}})
	defer c.Close()
	must(t, c.Authenticate(sasl.NewPlainClient("", "alice", "open sesame")))
	must(t, c.Create("Übung/x", nil).Wait())
	boxes, err := c.List("", "*", nil).Collect()
	must(t, err)
	var names []string
	for _, b := range boxes {
		names = append(names, b.Mailbox)
	}
	if got := strings.Join(names, " "); got != "INBOX Übung Übung/x" {
		t.Errorf("folders %q", got)
	}
	sel, err := c.Select("INBOX", nil).Wait()
	must(t, err)
	if sel.NumMessages != 3 || sel.UIDNext != 4 {
		t.Errorf("selected %+v", sel)
	}

	text := "Subject: from the client\r\n\r\n" + strings.Repeat("a line\r\n", 500)
	app := c.Append("INBOX", int64(len(text)), &goimap.AppendOptions{Flags: []goimap.Flag{goimap.FlagSeen, "$k"}})
	_, err = io.WriteString(app, text)
	must(t, err)
	must(t, app.Close())
	data, err := app.Wait()
	must(t, err)
	if data.UID != 4 || data.UIDValidity != sel.UIDValidity {
		t.Errorf("appended %+v", data)
	}
	whole := &goimap.FetchItemBodySection{Peek: true}
	part := &goimap.FetchItemBodySection{Specifier: goimap.PartSpecifierText, Partial: &goimap.SectionPartial{Offset: 4, Size: 4}}
	msgs, err := c.Fetch(goimap.UIDSetNum(4, 2), &goimap.FetchOptions{UID: true, Flags: true, Envelope: true, RFC822Size: true,
		InternalDate: true, BodyStructure: &goimap.FetchItemBodyStructure{Extended: true},
		BodySection: []*goimap.FetchItemBodySection{whole, part}}).Collect()
	must(t, err)
	if len(msgs) != 2 {
		t.Fatalf("fetched %d messages", len(msgs))
	}
	if got := string(msgs[1].FindBodySection(whole)); got != text || msgs[1].RFC822Size != int64(len(text)) {
		t.Errorf("the message came back with %d octets, size %d, of %d", len(got), msgs[1].RFC822Size, len(text))
	}
	if got := string(msgs[1].FindBodySection(part)); got != text[32:36] {
		t.Errorf("part %q, want %q", got, text[32:36])
	}
	if msgs[0].Envelope.Subject != "Grüße" || msgs[0].BodyStructure.MediaType() != "multipart/mixed" {
		t.Errorf("envelope %+v", msgs[0].Envelope)
	}
	found, err := c.UIDSearch(&goimap.SearchCriteria{Body: []string{"INNER"}, NotFlag: []goimap.Flag{goimap.FlagDeleted}}, nil).Wait()
	must(t, err)
	if got := fmt.Sprint(found.AllUIDs()); got != "[2]" {
		t.Errorf("found %s", got)
	}
	must(t, c.Store(goimap.UIDSetNum(1), &goimap.StoreFlags{Op: goimap.StoreFlagsAdd, Silent: true, Flags: []goimap.Flag{goimap.FlagFlagged}}, nil).Close())
	copied, err := c.Copy(goimap.UIDSetNum(1, 4), "Übung/x").Wait()
	must(t, err)
	if copied.SourceUIDs.String() != "1,4" || copied.DestUIDs.String() != "1:2" {
		t.Errorf("copied %+v", copied)
	}
	_, err = c.Move(goimap.UIDSetNum(3), "Übung/x").Wait()
	must(t, err)
	status, err := c.Status("Übung/x", &goimap.StatusOptions{NumMessages: true, NumUnseen: true}).Wait()
	must(t, err)
	if *status.NumMessages != 3 || *status.NumUnseen != 2 {
		t.Errorf("status %d, %d", *status.NumMessages, *status.NumUnseen)
	}

	for len(exists) > 0 {
		<-exists
	}
	idle, err := c.Idle()
	must(t, err)
	store, err := mailbox.OpenStore(fsys, "/mail/alice")
	must(t, err)
	box, err := store.Open(context.Background(), "INBOX")
	must(t, err)
	in, err := box.Receive(mailbox.Attributes{})
	must(t, err)
	_, err = box.Adopt(context.Background(), in)
	must(t, err)
	box.Close()
	select {
	case n := <-exists:
		if n != 4 {
			t.Errorf("EXISTS %d, want 4", n)
		}
	case <-time.After(5 * time.Second):
		t.Error("IDLE tells nothing")
	}
	must(t, idle.Close())
	must(t, idle.Wait())
	must(t, c.Logout().Wait())
}

const pythonScript = `
import imaplib, sys
m = imaplib.IMAP4('127.0.0.1', int(sys.argv[1]))
m.login('alice', 'open sesame')
print(m.select('INBOX'))
print(m.append('INBOX', '(\\Seen)', None, b'Subject: py\r\n\r\nbody\r\n'))
print(m.search(None, 'SUBJECT', 'py'))
print(m.fetch('4', '(FLAGS RFC822.SIZE BODY.PEEK[TEXT])')[1][0])
print(m.store('4', '+FLAGS', '\\Deleted')[0], m.expunge())
print(m.list()[0], m.create('Neu')[0], m.uid('COPY', '1', 'Neu')[0], m.status('Neu', '(MESSAGES)'))
print(m.close()[0], m.logout()[0])
`

// The client of the Python standard library.
func TestImaplib(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		fmt.Fprintln(os.Stderr, "SKIPPED: no python3, imaplib was not tried")
		t.Skip("no python3")
	}
	fsys := testSpool(t)
	nc := serve(t, func() *Server { return testServer(fsys) })(t)
	_, port, _ := strings.Cut(nc.RemoteAddr().String(), ":")
	nc.Close()
	out, err := exec.Command(python, "-c", pythonScript, port).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := "('OK', [b'3'])\n('OK', [b'[APPENDUID V 4] APPEND completed'])\n('OK', [b'4'])\n" +
		"(b'4 (FLAGS (\\\\Seen) RFC822.SIZE 21 BODY[TEXT] {6}', b'body\\r\\n')\n" +
		"OK ('OK', [b'3', b'3'])\nOK OK OK ('OK', [b'\"Neu\" (MESSAGES 1)'])\nOK BYE\n"
	got := string(out)
	if i, j := strings.Index(got, "APPENDUID ")+10, strings.Index(got, " 4] APPEND"); i > 10 && j > i {
		got = got[:i] + "V" + got[j:]
	}
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// A message that was cut on disk after its sizes were noted can't bring the dialog out of step.
func TestSizesThatLie(t *testing.T) {
	fsys := testSpool(t)
	dial := serve(t, func() *Server { return testServer(fsys) })
	f, err := fsys.Create("/mail/alice/cur/1700000009.M1P1.host,S=5000,W=5100:2,")
	must(t, err)
	_, err = f.Write([]byte("Subject: short\n\nbody\n"))
	must(t, err)
	must(t, f.Close())
	c := imapclient.New(dial(t), nil)
	defer c.Close()
	must(t, c.Login("alice", "open sesame").Wait())
	_, err = c.Select("INBOX", nil).Wait()
	must(t, err)
	whole := &goimap.FetchItemBodySection{Peek: true}
	msgs, err := c.Fetch(goimap.SeqSetNum(4), &goimap.FetchOptions{BodySection: []*goimap.FetchItemBodySection{whole}}).Collect()
	must(t, err)
	if got := string(msgs[0].FindBodySection(whole)); !strings.HasPrefix(got, "Subject: short\r\n\r\nbody\r\n") {
		t.Errorf("got %q", got)
	}
	must(t, c.Noop().Wait())
}
