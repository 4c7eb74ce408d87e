package pop3

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"mailx/pkg/auth"
	"mailx/pkg/mailtest"
	"mailx/pkg/vfs"
)

// benchServer is a server on the real file system whose user bench has n messages of so many octets.
func benchServer(b *testing.B, n, octets int) mailtest.Dialer {
	b.Helper()
	root := b.TempDir()
	fsys := vfs.OS()
	writeFile(b, fsys, root+"/users", "bench:{PLAIN}x\n")
	fill(b, fsys, root+"/mail", nil)
	line := strings.Repeat("x", 75) + "\n"
	text := ("Subject: x\n\n" + strings.Repeat(line, octets/len(line)+1))[:octets-1] + "\n"
	wire := len(text) + strings.Count(text, "\n")
	for i := range n {
		writeFile(b, fsys, fmt.Sprintf("%s/mail/cur/%010d.M1P1.host,S=%d,W=%d:2,S", root, i, len(text), wire), text)
	}
	srv := &Server{
		Hostname: "pop.example", Auth: auth.NewUsers(fsys, root+"/users"), FS: fsys,
		Mailbox: func(context.Context, auth.User) (string, error) { return root + "/mail", nil },
	}
	return serve(b, one(srv))
}

// popReader reads answers as a fast client does.
type popReader struct {
	t testing.TB
	c net.Conn
	*bufio.Reader
}

func benchLogin(b *testing.B, dial mailtest.Dialer) *popReader {
	b.Helper()
	c := dial(b)
	b.Cleanup(func() { c.Close() })
	r := &popReader{b, c, bufio.NewReaderSize(c, 256<<10)}
	io.WriteString(c, "USER bench\r\nPASS x\r\nSTAT\r\n")
	for range 4 {
		r.ok()
	}
	return r
}

func (r *popReader) ok() {
	line, err := r.ReadSlice('\n')
	if err != nil || line[0] != '+' {
		r.t.Fatalf("%q, %v", line, err)
	}
}

func (r *popReader) text() (octets int64) {
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			r.t.Fatal(err)
		}
		octets += int64(len(line))
		if len(line) == 3 && line[0] == '.' {
			return octets
		}
	}
}

// BenchmarkRetr reports messages a second.
func BenchmarkRetr(b *testing.B) {
	for _, bench := range []struct {
		name              string
		n, octets, window int
	}{{"1KiB/lockstep", 1000, 1 << 10, 1}, {"1KiB/pipelined", 1000, 1 << 10, 50}, {"1MiB/lockstep", 20, 1 << 20, 1}, {"1MiB/pipelined", 20, 1 << 20, 8}} {
		b.Run(bench.name, func(b *testing.B) {
			r := benchLogin(b, benchServer(b, bench.n, bench.octets))
			b.SetBytes(int64(bench.octets))
			b.ResetTimer()
			for sent, got := 0, 0; got < b.N; got++ {
				if sent-got <= bench.window/2 {
					var commands strings.Builder
					for ; sent < b.N && sent-got < bench.window; sent++ {
						fmt.Fprintf(&commands, "RETR %d\r\n", 1+sent%bench.n)
					}
					io.WriteString(r.c, commands.String())
				}
				r.ok()
				r.text()
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
		})
	}
}

// BenchmarkLogin is connect, USER, PASS and STAT of a maildrop with 100,000 messages.
func BenchmarkLogin(b *testing.B) {
	dial := benchServer(b, 100_000, 64)
	for b.Loop() {
		r := benchLogin(b, dial)
		io.WriteString(r.c, "QUIT\r\n")
		r.ok()
		r.c.Close()
	}
}

// BenchmarkClientRetrieve is our own client with our own server.
func BenchmarkClientRetrieve(b *testing.B) {
	for name, octets := range map[string]int{"1KiB": 1 << 10, "1MiB": 1 << 20} {
		b.Run(name, func(b *testing.B) {
			dial := benchServer(b, 20, octets)
			c, err := NewClient(dial(b), ClientOptions{})
			if err == nil {
				_, err = c.Capa()
			}
			if err == nil {
				err = c.Login("bench", "x")
			}
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			numbers := make([]int, b.N)
			for i := range numbers {
				numbers[i] = 1 + i%20
			}
			b.SetBytes(int64(octets))
			b.ResetTimer()
			err = c.Retrieve(numbers, func(_ int, r io.Reader, err error) error {
				if err == nil {
					_, err = io.Copy(io.Discard, r)
				}
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
		})
	}
}
