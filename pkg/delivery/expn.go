package delivery

import (
	"mailx/pkg/mail"
	"mailx/pkg/smtp"
)

// Expand gives the addresses that mail for a local name goes to, for EXPN (RFC 5321 §3.5). Who may not send through this host
// is told nothing; commands, files and what is dropped have no address that anybody needs to know. An unknown name is 5.1.1.
func (in *Intake) Expand(p *smtp.Peer, a mail.Address) (members []mail.Address, err error) {
	if !in.mayRelay(p) || !in.Router.IsLocal(a.Domain) {
		return nil, nil
	}
	d, err := in.Router.Route(a)
	for _, t := range d.Targets {
		switch {
		case t.Kind == Remote:
			members = append(members, t.Address)
		case t.Kind == Mailbox && t.User != "":
			members = append(members, in.Router.addressOf(t.User))
		}
	}
	if err != nil {
		return nil, err
	}
	return members, nil
}

func (in *Intake) mayRelay(p *smtp.Peer) bool {
	if in.MayRelay == nil {
		return p.User != ""
	}
	return in.MayRelay(p)
}

// addressOf is an address of a user: the name itself where that has a domain, else in the first local domain.
func (r *Router) addressOf(user string) mail.Address {
	a, err := mail.ParseAddress(user)
	if err != nil || a.Domain != "" || len(r.Domains) == 0 {
		return a
	}
	a.Domain = r.Domains[0]
	return a
}
