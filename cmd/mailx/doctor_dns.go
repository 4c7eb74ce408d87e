package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"mailx/pkg/dns"
)

// doctorTime bounds all questions to the DNS.
const doctorTime = 30 * time.Second

// names asks the DNS what others find when they look for this host.
func (d *doctor) names(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, doctorTime)
	defer cancel()
	r, err := resolver()
	if err != nil {
		d.add(finding{severity: severityError, check: "dns", text: err.Error(), code: exitCode(err)})
		return
	}
	host := d.cfg.Hostname
	own := d.hostAddresses(ctx, r, host)
	for _, domain := range slices.Concat(d.cfg.Domains, d.cfg.VirtualDomains) {
		if domain != host && strings.Contains(domain, ".") {
			d.mx(ctx, r, domain, own)
		}
	}
	if reverser, ok := r.(dns.Reverser); ok && d.listensInPublic() {
		for _, addr := range own {
			d.pointer(ctx, reverser, addr)
		}
	}
}

// hostAddresses are those that others find for this host.
func (d *doctor) hostAddresses(ctx context.Context, r dns.Resolver, host string) []netip.Addr {
	f := finding{severity: severityError, check: "dns", code: exNoHost, fix: "in the zone: " + host + ". A " + addressHere()}
	if host == "localhost" || strings.HasSuffix(host, ".localdomain") {
		f.severity, f.text = severityWarning, host+" is a name by which nobody can find this host"
		f.fix = "hostnamectl set-hostname mail.example.org  # or hostname in the configuration"
		d.add(f)
		return nil
	}
	found, err := dns.Host{Name: host}.Resolve(ctx, r)
	if err != nil {
		f.text = host + ": " + reasonOf(err)
		f.code = exitCode(err)
		d.add(f)
	}
	return found
}

// addressHere is one that this host could be found at.
func addressHere() string {
	for _, a := range interfaceAddresses() {
		if a.Is4() && a.IsGlobalUnicast() {
			return a.String()
		}
	}
	return "192.0.2.1"
}

// mx wants one of the hosts for a domain to be this one: by its name, by an address of this host, or by one of those that its
// name has.
func (d *doctor) mx(ctx context.Context, r dns.Resolver, domain string, own []netip.Addr) {
	f := finding{severity: severityError, check: "dns", code: exNoHost, fix: fmt.Sprintf("in the zone: %s. MX 10 %s.", domain, d.cfg.Hostname)}
	hosts, err := dns.Hosts(ctx, r, domain, nil)
	if err != nil {
		f.text, f.code = domain+": "+reasonOf(err), exitCode(err)
		d.add(f)
		return
	}
	own = append(slices.Clone(own), interfaceAddresses()...)
	var others []string
	for _, h := range hosts {
		if h.Name == d.cfg.Hostname {
			return
		}
		addrs, _ := h.Resolve(ctx, r)
		if slices.ContainsFunc(addrs, func(a netip.Addr) bool { return slices.Contains(own, a.Unmap()) }) {
			return
		}
		others = append(others, h.Name)
	}
	f.text = fmt.Sprintf("mail for %s goes to %s, not to this host", domain, strings.Join(others, ", "))
	d.add(f)
}

// listensInPublic reports a server that others can reach.
func (d *doctor) listensInPublic() bool {
	s := &d.cfg.Serve
	return slices.ContainsFunc(slices.Concat(s.MX, s.Submission, s.Submissions, s.SMTP, s.POP3, s.POP3S, s.IMAP, s.IMAPS, d.cfg.SMTP.Listen,
		d.cfg.POP3.Listen, d.cfg.IMAP.Listen), isPublic)
}

// isPublic reports an address to listen on that is neither a socket in the file system nor for this host or its network alone.
func isPublic(listen string) bool {
	if strings.Contains(listen, "/") {
		return false
	}
	i := strings.LastIndexByte(listen, ':')
	host := strings.Trim(listen[:max(i, 0)], "[]")
	if host == "" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && !addr.IsLoopback() && !addr.IsPrivate() && !addr.IsLinkLocalUnicast()
}

// pointer wants the name of an address of this host to be that of this host: many servers take no mail from others.
func (d *doctor) pointer(ctx context.Context, r dns.Reverser, addr netip.Addr) {
	f := finding{severity: severityWarning, check: "dns", code: exNoHost,
		fix: fmt.Sprintf("have the owner of the network set it: %s PTR %s.", addr, d.cfg.Hostname)}
	names, err := r.LookupAddr(ctx, addr)
	switch {
	case err != nil:
		f.text = fmt.Sprintf("%s has no name (PTR): %s", addr, reasonOf(err))
	case !slices.Contains(names, d.cfg.Hostname):
		f.text = fmt.Sprintf("%s is called %s (PTR), not %s", addr, strings.Join(names, ", "), d.cfg.Hostname)
	default:
		return
	}
	d.add(f)
}
