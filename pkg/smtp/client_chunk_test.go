package smtp

import (
	"context"
	"net"
	"strings"
	"testing"

	"mailx/pkg/mailtest"
)

// FuzzSendChunk: what goes out with BDAT comes in as what goes out with DATA, and the session stays in step, also when
// everybody is refused.
func FuzzSendChunk(f *testing.F) {
	f.Add("hi\n")
	f.Add(".\n..\n\n.end")
	f.Add("MAIL FROM:<evil@x.example>\nRCPT TO:<a@y.example>\nDATA\n")
	f.Add("BDAT 3 LAST\nx")
	store := &shelf{}
	srv := &Server{Hostname: "mx.example", Backend: store, MaxMessages: 1 << 30, Mistakes: 1 << 30}
	l := mailtest.Listen(f)
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go srv.ServeConn(f.Context(), nc)
		}
	}()
	connect := func(t testing.TB, chunk bool) *Client {
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		opt := testOptions()
		opt.Chunk = chunk
		c, err := NewClient(context.Background(), nc, opt)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	clients := map[bool]*Client{false: connect(f, false), true: connect(f, true)}
	f.Cleanup(func() { clients[false].Close(); clients[true].Close() })
	f.Fuzz(func(t *testing.T, in string) {
		text := "Subject: x\n\n" + strings.ReplaceAll(in, "\r", "")
		var got, said [2]string
		for chunk, c := range clients {
			i := 0
			if chunk {
				i = 1
			}
			refused := statuses(sendText(t, c, envelope(t, "me@x.example", "nobody@y.example"), text))
			said[i] = refused + " " + statuses(sendText(t, c, envelope(t, "me@x.example", "a@y.example"), text))
			if _, got[i], _ = strings.Cut(store.text.String(), "\nSubject: x\n"); !strings.HasSuffix(said[i], " 2.0.0") {
				got[i] = "" // how much of a message was there when it was refused is nobody's business
			}
			if !c.Usable() {
				clients[chunk] = connect(t, chunk)
			}
		}
		if got[0] != got[1] || said[0] != said[1] {
			t.Errorf("%q\nDATA: %s %q\nBDAT: %s %q", text, said[0], got[0], said[1], got[1])
		}
	})
}
