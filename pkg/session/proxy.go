package session

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// This file is the PROXY protocol, versions 1 and 2, as HAProxy defines it (proxy-protocol.txt): who the client is, said by
// the proxy in front of the server before anything else. It is believed only from networks that were named.

// Limits of a header in octets.
const (
	maxProxyText   = 107             // §2.1, CRLF included
	maxProxyBinary = 16 + 216 + 2048 // §2.2: head, the longest addresses, and room for TLVs
)

// proxyTime is what a proxy has for its header. §2 asks for no less than 3 s, so that one packet may be lost.
const proxyTime = 5 * time.Second

// proxySignature starts a header of version 2.
const proxySignature = "\r\n\r\n\x00\r\nQUIT\n"

var (
	errProxyShort  = errors.New("PROXY header is not complete")
	errProxyHeader = errors.New("no PROXY header, or a bad one")
)

// ProxyHeader says between whom a connection is. Both are not valid when the proxy speaks for itself (LOCAL) or does not know
// (UNKNOWN, other families than IP): then the connection is what it is.
type ProxyHeader struct {
	Source, Destination netip.AddrPort
}

// ParseProxy reads a header at the start of b and gives how many octets it has. It never looks further than 2280 octets.
// errProxyShort says that b may become a header with more octets; every other error is final.
func ParseProxy(b []byte) (h ProxyHeader, n int, err error) {
	if head := b[:min(len(b), len(proxySignature))]; string(head) == proxySignature[:len(head)] {
		return parseProxyBinary(b)
	}
	return parseProxyText(b)
}

// parseProxyText is "PROXY" SP ("TCP4" / "TCP6") SP source SP destination SP port SP port CRLF, or "PROXY UNKNOWN" and
// anything up to CRLF (§2.1).
func parseProxyText(b []byte) (h ProxyHeader, n int, err error) {
	const start = "PROXY "
	if head := b[:min(len(b), len(start))]; string(head) != start[:len(head)] {
		return h, 0, errProxyHeader
	}
	b = b[:min(len(b), maxProxyText)]
	end := bytes.IndexByte(b, '\n')
	switch {
	case end < 0 && len(b) < maxProxyText:
		return h, 0, errProxyShort
	case end < 1 || b[end-1] != '\r':
		return h, 0, errProxyHeader
	}
	words := strings.Split(string(b[len(start):end-1]), " ")
	if words[0] == "UNKNOWN" {
		return h, end + 1, nil
	}
	if len(words) != 5 || words[0] != "TCP4" && words[0] != "TCP6" {
		return h, 0, errProxyHeader
	}
	isV4 := words[0] == "TCP4"
	source, ok := proxyEnd(words[1], words[3], isV4)
	destination, ok2 := proxyEnd(words[2], words[4], isV4)
	if !ok || !ok2 {
		return h, 0, errProxyHeader
	}
	return ProxyHeader{source, destination}, end + 1, nil
}

// proxyEnd reads an address and a port; neither may have leading zeros.
func proxyEnd(address, port string, isV4 bool) (netip.AddrPort, bool) {
	ip, err := netip.ParseAddr(address)
	n, perr := strconv.ParseUint(port, 10, 16)
	isGood := err == nil && perr == nil && ip.Is4() == isV4 && ip.Zone() == "" && strconv.FormatUint(n, 10) == port
	return netip.AddrPortFrom(ip, uint16(n)), isGood
}

// parseProxyBinary is the signature, version and command, family and transport, a length, and so many octets (§2.2). TLVs
// behind the addresses are passed over.
func parseProxyBinary(b []byte) (h ProxyHeader, n int, err error) {
	const head = len(proxySignature) + 4
	if len(b) < head {
		return h, 0, errProxyShort
	}
	command, family := b[12], b[13]
	n = head + int(binary.BigEndian.Uint16(b[14:]))
	switch {
	case command != 0x20 && command != 0x21, n > maxProxyBinary:
		return h, 0, errProxyHeader
	case len(b) < n:
		return h, 0, errProxyShort
	case command == 0x20: // LOCAL: the proxy asks for itself, whatever else it says
		return h, n, nil
	}
	h, ok := proxyEnds(family, b[head:n])
	if !ok {
		return h, 0, errProxyHeader
	}
	return h, n, nil
}

// proxyEnds reads the addresses of a family. Datagrams are not for us.
func proxyEnds(family byte, b []byte) (h ProxyHeader, ok bool) {
	size := 0
	switch family {
	case 0x00: // unspecified
		return h, true
	case 0x11: // TCP over IPv4
		size = 4
	case 0x21: // TCP over IPv6
		size = 16
	case 0x31: // a unix socket of the proxy's host
		return h, len(b) >= 2*108
	}
	if size == 0 || len(b) < 2*size+4 {
		return h, false
	}
	source, _ := netip.AddrFromSlice(b[:size])
	destination, _ := netip.AddrFromSlice(b[size : 2*size])
	ports := b[2*size:]
	h.Source = netip.AddrPortFrom(source, binary.BigEndian.Uint16(ports))
	h.Destination = netip.AddrPortFrom(destination, binary.BigEndian.Uint16(ports[2:]))
	return h, true
}

// Unproxied reads the PROXY header that has to come first, within seconds, and gives the connection as the client made it.
// What has come behind the header is kept. A loopback address that another host names is that host's own, with no rights on
// this one: then, and when the header names nobody, the address stays the proxy's. After an error the connection is of no use.
func Unproxied(nc net.Conn) (net.Conn, error) {
	nc.SetReadDeadline(time.Now().Add(proxyTime))
	buf := make([]byte, maxProxyBinary)
	for have := 0; ; {
		n, rerr := nc.Read(buf[have:])
		have += n
		h, used, err := ParseProxy(buf[:have])
		switch {
		case err == nil:
			nc.SetReadDeadline(time.Time{})
			return &client{Conn: nc, early: bytes.Clone(buf[used:have]), header: believed(h, nc)}, nil
		case err != errProxyShort:
			return nil, err
		case rerr != nil:
			return nil, fmt.Errorf("PROXY header: %w", rerr)
		}
	}
}

// believed leaves out what a proxy can't know better than we do.
func believed(h ProxyHeader, nc net.Conn) ProxyHeader {
	proxy, _ := AddrOf(nc.RemoteAddr())
	if h.Source.Addr().Unmap().IsLoopback() && !proxy.IsLoopback() {
		return ProxyHeader{}
	}
	return h
}

// client is a connection through a proxy, with the addresses of its real ends.
type client struct {
	net.Conn
	early  []byte // came with the header
	header ProxyHeader
}

func (c *client) Read(p []byte) (int, error) {
	if len(c.early) > 0 {
		n := copy(p, c.early)
		c.early = c.early[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

func (c *client) RemoteAddr() net.Addr {
	if !c.header.Source.IsValid() {
		return c.Conn.RemoteAddr()
	}
	return net.TCPAddrFromAddrPort(c.header.Source)
}

func (c *client) LocalAddr() net.Addr {
	if !c.header.Destination.IsValid() {
		return c.Conn.LocalAddr()
	}
	return net.TCPAddrFromAddrPort(c.header.Destination)
}
