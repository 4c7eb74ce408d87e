package web

import (
	"bufio"
	"strings"
	"testing"
	"testing/iotest"
)

func TestReadReply(t *testing.T) {
	for _, c := range []struct {
		in, method, body string
		code             int
		bad              bool
	}{
		{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef", "GET", "abc", 200, false},
		{"HTTP/1.1 200 OK\r\n\r\nabc", "GET", "abc", 200, false},
		{"HTTP/1.0 404\r\n\r\n", "GET", "", 404, false},
		{"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", "POST", "", 201, false},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n", "GET", "abc0123456789", 200, false},
		{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "HEAD", "", 200, false},
		{"HTTP/1.1 204 No Content\r\nReplay-Nonce: x\r\n\r\n", "GET", "", 204, false},
		{"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc", "GET", "", 0, true},
		{"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nabc", "GET", "", 0, true},
		{"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\nabc", "GET", "", 0, true},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", "GET", "", 0, true},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFF\r\n", "GET", "", 0, true},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab", "GET", "", 0, true},
		{"HTTP/2 200\r\n\r\n", "GET", "", 0, true},
		{"HTTP/1.1 99 x\r\n\r\n", "GET", "", 0, true},
		{"220 mx ESMTP\r\n\r\n", "GET", "", 0, true},
		{"", "GET", "", 0, true},
	} {
		for _, r := range []*bufio.Reader{bufio.NewReader(strings.NewReader(c.in)),
			bufio.NewReader(iotest.OneByteReader(strings.NewReader(c.in)))} {
			got, err := readReply(r, c.method)
			if c.bad {
				if err == nil {
					t.Errorf("%q: no error", c.in)
				}
				continue
			}
			if err != nil || got.Code != c.code || string(got.Body) != c.body {
				t.Errorf("%q: got %+v, %v", c.in, got, err)
			}
		}
	}
}

// FuzzReadReply: whatever a server says, there is an error or a reply that is no longer than that.
func FuzzReadReply(f *testing.F) {
	f.Add("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")
	f.Add("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
	f.Add("HTTP/1.1 103\r\n\r\nHTTP/1.1 404 no\r\n\r\n{}")
	f.Fuzz(func(t *testing.T, in string) {
		r, err := readReply(bufio.NewReader(strings.NewReader(in)), "GET")
		if err == nil && (r.Code < 200 || r.Code > 599 || len(r.Body) > len(in)) {
			t.Errorf("%q: %+v", in, r)
		}
	})
}
