package delivery

import (
	"bufio"
	"context"
	"io"
	"math"
	"strings"

	"mailx/pkg/mail"
	"mailx/pkg/message"
	"mailx/pkg/mtasts"
	"mailx/pkg/smtp"
)

// Policy is what a domain says of the TLS of its MX hosts (RFC 8461); nil if nothing, or if nobody asks.
func (r *Relay) Policy(ctx context.Context, domain string) *mtasts.Policy {
	route, err := r.route(&mail.Envelope{}, domain)
	if err != nil {
		return nil
	}
	return r.policy(ctx, &route, normal(domain))
}

// policy leaves domains alone for which the administrator has said something himself.
func (r *Relay) policy(ctx context.Context, route *Route, domain string) *mtasts.Policy {
	if r.Policies == nil || !route.IsMX() || route.OwnTLS || route.TLS == smtp.TLSNone {
		return nil
	}
	return r.Policies.Policy(ctx, domain)
}

// partPolicy is the policy for a part of a message, nil if it has none to follow. A part that would have one, but for what its
// sender says, becomes lax.
func (r *Relay) partPolicy(ctx context.Context, p *part) *mtasts.Policy {
	policy := r.policy(ctx, &p.route, p.domain)
	p.isLax = false
	switch {
	case policy == nil, policy.Mode != mtasts.Enforce && !p.strict:
		return nil
	case !p.strict && wantsNoTLS(p.text):
		p.isLax = true
		return nil
	}
	return policy
}

// follow has hosts follow a policy (RFC 8461 §4): those in it, with a certificate that is valid for them. Others are not tried,
// which may change, so the mail waits.
func follow(policy *mtasts.Policy, hops []Hop) {
	for i := range hops {
		hop := &hops[i]
		hop.TLS = max(hop.TLS, smtp.TLSVerified)
		if !policy.Matches(hop.Host) {
			hop.Barred = mail.Temporaryf(7, 5, "Host %s is not in the MTA-STS policy of its domain", hop.Host)
		}
	}
}

// wantsNoTLS reports "TLS-Required: No", by which a sender puts delivery before the policy of the recipient (RFC 8689 §5).
func wantsNoTLS(text io.ReaderAt) bool {
	if text == nil {
		return false
	}
	br := bufio.NewReader(io.NewSectionReader(text, 0, math.MaxInt64))
	h, err := message.ReadHeader(br, message.Limits{})
	return err == nil && strings.EqualFold(strings.TrimSpace(h.Get("TLS-Required")), "no")
}
