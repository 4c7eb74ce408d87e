package main

import (
	"net/netip"
	"path/filepath"
	"testing"

	"mailx/pkg/delivery"
	"mailx/pkg/mail"
)

// allUsers says that everybody lives here.
type allUsers struct{}

func (allUsers) Exists(string) (bool, error) { return true, nil }

// Mail for an address of this host is for this host (RFC 5321 §4.1.3); that for the one after it is for another.
func TestAddressLiteralsOfThisHost(t *testing.T) {
	r := &delivery.Router{Root: filepath.Join(t.TempDir(), "mail"), Users: allUsers{}, Addresses: interfaceAddresses}
	own := interfaceAddresses()
	if len(own) == 0 {
		t.Fatal("this host has no address")
	}
	literal := func(ip netip.Addr) string {
		if ip.Is6() {
			return "[ipv6:" + ip.WithZone("").String() + "]"
		}
		return "[" + ip.String() + "]"
	}
	for _, ip := range own {
		d, err := r.Route(mail.Address{Local: "bob", Domain: literal(ip)})
		if err != nil || len(d.Targets) != 1 || d.Targets[0].Kind != delivery.Mailbox {
			t.Errorf("%v: %+v, %v", ip, d, err)
		}
	}
	if other := "[192.0.2.77]"; r.IsLocal(other) {
		t.Errorf("%s is local", other)
	}
}
