package session

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mailx/pkg/mailtest"
)

// binaryHeader is a header of version 2.
func binaryHeader(command, family byte, body string) string {
	head := append([]byte(proxySignature), command, family, 0, 0)
	binary.BigEndian.PutUint16(head[14:], uint16(len(body)))
	return string(head) + body
}

const (
	ends4    = "\xc0\x00\x02\x07\xc6\x33\x64\x01\x9c\x40\x00\x19" // 192.0.2.7:40000 to 198.51.100.1:25
	ends6    = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x9c\x40\x00\x19"
	longest4 = "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"
	longest6 = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"
	unknown  = "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535"
)

var proxyHeaders = []struct {
	name, in string
	source   string // "" for none
}{
	{"TCP4", "PROXY TCP4 192.0.2.7 198.51.100.1 40000 25\r\n", "192.0.2.7:40000"},
	{"TCP6", "PROXY TCP6 2001:db8::7 2001:db8::1 40000 25\r\n", "[2001:db8::7]:40000"},
	{"longest TCP4", longest4, "255.255.255.255:65535"},
	{"longest TCP6", longest6, "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
	{"UNKNOWN", "PROXY UNKNOWN\r\n", ""},
	{"UNKNOWN with anything", unknown + strings.Repeat("x", maxProxyText-2-len(unknown)) + "\r\n", ""},
	{"v2 TCP4", binaryHeader(0x21, 0x11, ends4), "192.0.2.7:40000"},
	{"v2 TCP6", binaryHeader(0x21, 0x21, ends6), "[2001:db8::7]:40000"},
	{"v2 with TLVs", binaryHeader(0x21, 0x11, ends4+"\x04\x00\x03abc"), "192.0.2.7:40000"},
	{"v2 unspecified", binaryHeader(0x21, 0x00, ""), ""},
	{"v2 unix", binaryHeader(0x21, 0x31, strings.Repeat("\x00", 216)), ""},
	{"v2 LOCAL", binaryHeader(0x20, 0x00, ""), ""},
	{"v2 LOCAL with addresses", binaryHeader(0x20, 0x11, ends4), ""},
	{"v2 longest", binaryHeader(0x21, 0x11, ends4+strings.Repeat("\x04", maxProxyBinary-16-len(ends4))), "192.0.2.7:40000"},
}

var badProxyHeaders = []struct{ name, in string }{
	{"a command", "EHLO x.example\r\n"},
	{"half a word", "PROXX"},
	{"lower case", "proxy TCP4 192.0.2.7 198.51.100.1 40000 25\r\n"},
	{"no family", "PROXY \r\n"},
	{"no addresses", "PROXY TCP4\r\n"},
	{"UDP4", "PROXY UDP4 192.0.2.7 198.51.100.1 40000 25\r\n"},
	{"two blanks", "PROXY TCP4  192.0.2.7 198.51.100.1 40000 25\r\n"},
	{"more", "PROXY TCP4 192.0.2.7 198.51.100.1 40000 25 1\r\n"},
	{"bare LF", "PROXY TCP4 192.0.2.7 198.51.100.1 40000 25\n"},
	{"LF alone", "PROXY \n"},
	{"IPv6 in TCP4", "PROXY TCP4 2001:db8::7 198.51.100.1 40000 25\r\n"},
	{"IPv4 in TCP6", "PROXY TCP6 192.0.2.7 2001:db8::1 40000 25\r\n"},
	{"zone", "PROXY TCP6 fe80::1%eth0 2001:db8::1 40000 25\r\n"},
	{"leading zero of an address", "PROXY TCP4 192.0.2.07 198.51.100.1 40000 25\r\n"},
	{"leading zero of a port", "PROXY TCP4 192.0.2.7 198.51.100.1 040000 25\r\n"},
	{"port too large", "PROXY TCP4 192.0.2.7 198.51.100.1 65536 25\r\n"},
	{"negative port", "PROXY TCP4 192.0.2.7 198.51.100.1 -1 25\r\n"},
	{"one octet too long", unknown + strings.Repeat("x", maxProxyText-1-len(unknown)) + "\r\n"},
	{"v1 in the version of v2", binaryHeader(0x11, 0x11, ends4)},
	{"v2 unknown command", binaryHeader(0x22, 0x11, ends4)},
	{"v2 UDP", binaryHeader(0x21, 0x12, ends4)},
	{"v2 family that is none", binaryHeader(0x21, 0x41, ends4)},
	{"v2 TCP4 one octet short", binaryHeader(0x21, 0x11, ends4[1:])},
	{"v2 TCP6 one octet short", binaryHeader(0x21, 0x21, ends6[1:])},
	{"v2 unix one octet short", binaryHeader(0x21, 0x31, strings.Repeat("\x00", 215))},
	{"v2 one octet too long", binaryHeader(0x21, 0x11, ends4+strings.Repeat("\x04", maxProxyBinary-15-len(ends4)))},
}

func TestParseProxy(t *testing.T) {
	for _, c := range proxyHeaders {
		for i := range len(c.in) {
			if h, n, err := ParseProxy([]byte(c.in[:i])); err != errProxyShort {
				t.Errorf("%s: %d octets of %q give %v, %d, %v", c.name, i, c.in, h, n, err)
			}
		}
		for _, more := range []string{"", "EHLO x\r\n"} {
			h, n, err := ParseProxy([]byte(c.in + more))
			source := ""
			if h.Source.IsValid() {
				source = h.Source.String()
			}
			if source != c.source || n != len(c.in) || err != nil {
				t.Errorf("%s: %q gives %q, %d, %v; want %q, %d", c.name, c.in+more, source, n, err, c.source, len(c.in))
			}
		}
	}
	for _, c := range badProxyHeaders {
		if h, n, err := ParseProxy([]byte(c.in)); err != errProxyHeader {
			t.Errorf("%s: %q gives %v, %d, %v", c.name, c.in, h, n, err)
		}
	}
}

func FuzzParseProxy(f *testing.F) {
	for _, c := range proxyHeaders {
		f.Add([]byte(c.in))
	}
	for _, c := range badProxyHeaders {
		f.Add([]byte(c.in))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := ParseProxy(b)
		switch {
		case err != nil && (n != 0 && err != errProxyShort || h != ProxyHeader{}):
			t.Fatalf("%q: %v, %d beside %v", b, h, n, err)
		case err == errProxyShort && len(b) >= maxProxyBinary:
			t.Fatalf("%q: %d octets are not enough", b, len(b))
		case err != nil:
			return
		case n < 8 || n > len(b) || n > maxProxyBinary || h.Source.IsValid() != h.Destination.IsValid():
			t.Fatalf("%q: %v, %d", b, h, n)
		}
		if h2, n2, err := ParseProxy(b[:n]); h2 != h || n2 != n || err != nil {
			t.Fatalf("%q: alone %v, %d, %v; with more %v, %d", b[:n], h2, n2, err, h, n)
		}
		if _, _, err := ParseProxy(b[:n-1]); err != errProxyShort {
			t.Fatalf("%q: one octet less gives %v", b[:n-1], err)
		}
	})
}

// from is a connection that says where it comes from.
type from struct {
	net.Conn
	addr string
}

func (f from) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(f.addr)) }

func TestUnproxied(t *testing.T) {
	for _, c := range []struct{ name, proxy, in, want string }{
		{"TCP4", "10.0.0.1:1", "PROXY TCP4 192.0.2.7 198.51.100.1 40000 25\r\n", "192.0.2.7:40000"},
		{"mapped", "10.0.0.1:1", "PROXY TCP6 ::ffff:192.0.2.7 ::1 40000 25\r\n", "192.0.2.7:40000"},
		{"UNKNOWN", "10.0.0.1:1", "PROXY UNKNOWN\r\n", "10.0.0.1:1"},
		{"LOCAL", "10.0.0.1:1", binaryHeader(0x20, 0x11, ends4), "10.0.0.1:1"},
		{"behind a proxy on this host", "127.0.0.1:1", "PROXY TCP4 192.0.2.7 127.0.0.1 40000 25\r\n", "192.0.2.7:40000"},
		{"this host's loopback", "127.0.0.1:1", "PROXY TCP4 127.0.0.1 127.0.0.1 40000 25\r\n", "127.0.0.1:40000"},
		{"another host's loopback", "10.0.0.1:1", "PROXY TCP4 127.0.0.1 10.0.0.1 40000 25\r\n", "10.0.0.1:1"},
		{"another host's loopback, mapped", "10.0.0.1:1", "PROXY TCP6 ::ffff:127.0.0.1 ::1 40000 25\r\n", "10.0.0.1:1"},
	} {
		for _, size := range []int{1, 1 << 20} {
			synctest.Test(t, func(t *testing.T) {
				client, server := net.Pipe()
				go func() {
					in := c.in + "EHLO x\r\n"
					for piece := 0; in != ""; in = in[piece:] {
						piece = min(size, len(in))
						if _, err := io.WriteString(client, in[:piece]); err != nil {
							return
						}
					}
					client.Close()
				}()
				nc, err := Unproxied(from{server, c.proxy})
				if err != nil {
					t.Fatalf("%s: %v", c.name, err)
				}
				rest, rerr := io.ReadAll(nc)
				if got := nc.RemoteAddr().String(); got != c.want || string(rest) != "EHLO x\r\n" || rerr != nil {
					t.Errorf("%s: from %s, then %q, %v; want %s", c.name, got, rest, rerr, c.want)
				}
			})
		}
	}
}

// A header that is late, cut or wrong ends the connection, also when octets drip.
func TestUnproxiedRefuses(t *testing.T) {
	for _, c := range []struct {
		name, in string
		every    time.Duration
		after    time.Duration
	}{
		{"silence", "", 0, proxyTime},
		{"dripping", strings.Repeat(longest6, 1), time.Second, proxyTime},
		{"no header", "EHLO x\r\n", 0, 0},
		{"TLS at once", "\x16\x03\x01\x02\x00", 0, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			client, server := net.Pipe()
			done := make(chan bool)
			go func() {
				defer close(done)
				for i := range len(c.in) {
					if _, err := client.Write([]byte{c.in[i]}); err != nil {
						return
					}
					time.Sleep(c.every)
				}
			}()
			start := time.Now()
			nc, err := Unproxied(from{server, "10.0.0.1:1"})
			if after := time.Since(start); err == nil || after != c.after {
				t.Errorf("%s: %v, %v after %v; want %v", c.name, nc, err, after, c.after)
			}
			server.Close()
			<-done
		})
	}
	client, server := net.Pipe()
	client.Close()
	if _, err := Unproxied(from{server, "10.0.0.1:1"}); !errors.Is(err, io.EOF) {
		t.Errorf("nothing at all: %v", err)
	}
}

// The limit of an address is that of the client behind the proxy, and the proxy itself has none.
func TestProxiedConnectionsAreCountedByClient(t *testing.T) {
	mailtest.CheckLeaks(t)
	log := &record{}
	addr := startToy(t, &Server{MaxPerAddress: 2, Log: log.logger(), Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Refuse: func(nc net.Conn) { io.WriteString(nc, "full\r\n") }})
	dial := mailtest.DialTCP(addr)
	as := func(ip string) net.Conn {
		nc := dial(t)
		io.WriteString(nc, "PROXY TCP4 "+ip+" 127.0.0.1 1 2\r\n")
		return nc
	}
	for _, ip := range []string{"192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.3"} {
		if got := readUntil(t, as(ip), "hello"); got != "hello\r\n" {
			t.Errorf("%s: %q", ip, got)
		}
	}
	for range 3 {
		if got := readUntil(t, as("192.0.2.1"), "\x00"); got != "full\r\n" {
			t.Errorf("third connection: %q", got)
		}
	}
	if got := log.lines(); len(got) != 1 || !strings.Contains(got[0], "peer=192.0.2.1") || !strings.Contains(got[0], "too many connections from this address") {
		t.Errorf("log %q", got)
	}
	nc := dial(t)
	io.WriteString(nc, "BARE\r\n")
	if got := readUntil(t, nc, "\x00"); got != "" {
		t.Errorf("without a header: %q", got)
	}
}

// Who is no proxy can't pretend to be somebody else.
func TestHeaderOfAnybodyElseIsNoHeader(t *testing.T) {
	for name, header := range map[string]string{"v1": "PROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\n", "v2": binaryHeader(0x21, 0x11, ends4)} {
		addr := startToy(t, &Server{Proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
		nc := mailtest.DialTCP(addr)(t)
		io.WriteString(nc, header+"\r\nQUIT\r\n")
		if got := readUntil(t, nc, "\x00"); !strings.Contains(got, "no 5.5.") || !strings.Contains(got, "yes QUIT") {
			t.Errorf("%s: %q", name, got)
		}
	}
}
