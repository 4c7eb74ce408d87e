package pop3

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestSlowReaders: RETR to a client that reads slowly goes on as long as there is progress, and ends when there is none.
func TestSlowReaders(t *testing.T) {
	const size = 1 << 20
	for _, c := range []struct {
		name  string
		every time.Duration // for 64 KiB; 0: nothing is read
		isCut bool
	}{
		{"nobody reads", 0, true}, {"slowly", 4 * time.Minute, false}, {"too slowly", 6 * time.Minute, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			fsys := testSpool(t)
			writeFile(t, fsys, "/mail/bob/new/1700000009.Z.host", "Subject: x\n\n"+strings.Repeat(strings.Repeat("x", 63)+"\n", size/64))
			ours, theirs := net.Pipe()
			got, done := 0, make(chan bool)
			go func() {
				defer close(done)
				go io.WriteString(ours, "USER bob\r\nPASS hungry\r\nRETR 3\r\nQUIT\r\n")
				for buf := make([]byte, 64<<10); c.every > 0; time.Sleep(c.every) {
					n, err := io.ReadFull(ours, buf)
					if got += n; err != nil {
						return
					}
				}
			}()
			start := time.Now()
			err := testServer(fsys).ServeConn(context.Background(), theirs)
			after := time.Since(start)
			<-done
			if isCut := errors.Is(err, os.ErrDeadlineExceeded); isCut != c.isCut || !isCut && got < size || c.every == 0 && after > 10*time.Minute {
				t.Errorf("%s: %v after %v and %d octets", c.name, err, after, got)
			}
			ours.Close()
		})
	}
}
