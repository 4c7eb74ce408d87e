package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"mailx/pkg/smtp"
)

// probedCertificate is what a server has shown.
type probedCertificate struct {
	subject, issuer string
	names           []string
	from, to        time.Time
	pin, keyPin     smtp.Pin
	problems        []string // why nobody should trust it; none: valid for the name
}

// secured tells of TLS and the certificate, and judges that: by fingerprints where some are given, else by who signed it, its
// names and its dates.
func (p *probe) secured(state tls.ConnectionState) error {
	p.found.tls, p.found.cipher = tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite)
	p.out.step(p, "%s, %s", p.found.tls, p.found.cipher)
	p.step = stepCertificate
	if len(state.PeerCertificates) == 0 {
		return errors.New("the server shows none")
	}
	c := describeCertificate(state.PeerCertificates[0])
	p.found.cert = c
	c.problems = certificateProblems(state.PeerCertificates, p.certName(), p.roots, p.e.now())
	p.tellCertificate(c)
	pins := append(slices.Clone(p.opt.pins), p.pins...)
	switch {
	case slices.Contains(pins, c.pin) || slices.Contains(pins, c.keyPin):
		p.out.step(p, "has one of the fingerprints")
	case len(pins) > 0:
		return errors.New("it has none of the fingerprints that are wanted")
	case len(c.problems) == 0:
		p.out.step(p, "valid for %s", p.certName())
	case p.opt.any:
		p.out.detail(p, "ignored", "%s", strings.Join(c.problems, "; "))
	default:
		return errors.New(strings.Join(c.problems, "; "))
	}
	return nil
}

func (p *probe) tellCertificate(c *probedCertificate) {
	p.out.detail(p, "names", "%s", strings.Join(c.names, " "))
	p.out.detail(p, "subject", "%s", c.subject)
	issuer := c.issuer
	if issuer == c.subject {
		issuer = "itself"
	}
	p.out.detail(p, "issuer", "%s", issuer)
	p.out.detail(p, "dates", "%s to %s", c.from.UTC().Format(time.RFC3339), c.to.UTC().Format(time.RFC3339))
	p.out.detail(p, "fingerprint", "%s", c.pin)
	p.out.detail(p, "fingerprint", "%s", c.keyPin)
}

func describeCertificate(leaf *x509.Certificate) *probedCertificate {
	c := &probedCertificate{subject: leaf.Subject.String(), issuer: leaf.Issuer.String(), names: certificateNames(leaf), from: leaf.NotBefore,
		to: leaf.NotAfter}
	c.pin, c.keyPin = smtp.PinsOf(leaf)
	return c
}

// certificateNames are those of hosts and their addresses.
func certificateNames(leaf *x509.Certificate) []string {
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

// certificateProblems says all that is wrong with the certificate of a server: its dates, its names, and who signed it. roots
// are those of the system if nil.
func certificateProblems(chain []*x509.Certificate, name string, roots *x509.CertPool, now time.Time) (problems []string) {
	leaf := chain[0]
	at := now
	switch {
	case now.After(leaf.NotAfter):
		problems, at = append(problems, "it expired on "+leaf.NotAfter.UTC().Format(time.DateOnly)), leaf.NotAfter
	case now.Before(leaf.NotBefore):
		problems, at = append(problems, "it is not valid before "+leaf.NotBefore.UTC().Format(time.DateOnly)), leaf.NotBefore
	}
	if leaf.VerifyHostname(name) != nil {
		names := strings.Join(certificateNames(leaf), ", ")
		if names == "" {
			names = "no name of a host"
		}
		problems = append(problems, fmt.Sprintf("it is for %s, not for %s", names, name))
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: at})
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && at != now: // so was its authority, or not yet there
	case errors.As(err, &unknown) && leaf.Subject.String() == leaf.Issuer.String():
		problems = append(problems, "it has signed itself, and nobody vouches for it")
	case errors.As(err, &unknown):
		problems = append(problems, "no authority that is trusted here has signed it: "+chain[len(chain)-1].Issuer.String())
	case err != nil:
		problems = append(problems, strings.TrimPrefix(err.Error(), "x509: "))
	}
	return problems
}
