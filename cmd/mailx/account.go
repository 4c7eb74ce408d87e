package main

import (
	"cmp"
	"fmt"
	"strings"

	"mailx/pkg/config"
	"mailx/pkg/delivery"
	"mailx/pkg/mail"
)

// Mail for other hosts goes by the account that is named, else by the route of its domain, else by the account among whose
// senders the sender is, else by the smarthost. A smarthost on the command line is for all mail of that command that has no
// route; one in the environment goes before accounts that nobody has named.

// accountOf names the account by which a message goes; "" for none. A notice goes as what its reader sends does. That an
// account is gone which a message was meant for is temporary.
func (s *system) accountOf(env *mail.Envelope) (string, error) {
	switch {
	case strings.HasPrefix(s.cfg.Origin("smarthost"), "--"):
		return "", nil
	case env.Account != "" && !s.canSendBy(env.Account):
		return "", mail.Temporaryf(3, 5, "No account %s with a smarthost is configured", env.Account)
	case env.Account != "":
		return env.Account, nil
	case s.isSmarthostGiven():
		return "", nil
	case env.Sender.IsNull() && len(env.Rcpts) == 1:
		return s.cfg.AccountOf(env.Rcpts[0].Address.String()), nil
	}
	return s.cfg.AccountOf(env.Sender.String()), nil
}

func (s *system) canSendBy(account string) bool {
	a := s.cfg.Accounts[account]
	return a != nil && len(a.Smarthost) > 0
}

// isSmarthostGiven reports a smarthost of the command line or the environment, which are nearer than the accounts of a file.
func (s *system) isSmarthostGiven() bool {
	origin := s.cfg.Origin("smarthost")
	return strings.HasPrefix(origin, "--") || strings.HasPrefix(origin, "$")
}

// accountRoutes is a delivery.Account beside a router.
func (s *system) accountRoutes(router *delivery.Router) delivery.Account {
	return func(env *mail.Envelope, domain string) (*delivery.Route, error) {
		account, err := s.accountOf(env)
		if err != nil || account == "" || env.Account == "" && router.Via(domain).Name != "" {
			return nil, err
		}
		return s.routes.byAccount[account], nil
	}
}

// hasWay reports that the configuration says where a message goes that is for other hosts.
func (s *system) hasWay(env *mail.Envelope, rcpts []mail.Recipient) bool {
	account, err := s.accountOf(env)
	return err != nil || account != "" || s.hasRoute(rcpts)
}

// mask is nil where mail goes as it is.
func (s *system) mask(isWanted bool, address string, has func(sender string) bool) *delivery.Masquerade {
	if !isWanted {
		return nil
	}
	as, err := mail.ParseAddress(address)
	if err != nil { // what config takes for an address is one with quotes at the most
		as.Local = address
	}
	if as.Domain == "" {
		as.Domain = s.cfg.Hostname
	}
	return &delivery.Masquerade{As: as, Has: func(a mail.Address) bool { return a == as || has(a.String()) }}
}

// useAccount prepares for the account that was named, whose address is then that of a message without a From, and for the
// password that was given.
func (s *system) useAccount(o *sendOptions) error {
	if o.passwordFD != nil {
		password, err := readSecretFrom(*o.passwordFD)
		if err != nil {
			return err
		}
		s.password = &config.Secret{Text: password}
	}
	switch {
	case o.account == "":
	case !s.canSendBy(o.account):
		return s.noAccount(o.account)
	default:
		o.accountFrom = s.cfg.Accounts[o.account].Mailbox()
	}
	return nil
}

// noAccount says which there are.
func (s *system) noAccount(name string) error {
	text := "none is configured"
	if names := s.cfg.Senders(); len(names) > 0 {
		text = "there are " + strings.Join(names, ", ")
	}
	if strings.ContainsAny(name, "./") { // -A of mail(1) is either
		text += "; and no file to be attached is called so"
	}
	return exitWith(exConfig, fmt.Errorf("no account %s with a smarthost; %s", name, text))
}

// chooseAccount says by which account a letter goes: the one that was named, else that of its author, else that of its sender.
// Its reverse-path is then one that the account has, unless somebody asked for another. The envelope names the account where it
// can't be seen from the reverse-path.
func (s *system) chooseAccount(l *letter, o *sendOptions) error {
	name := o.account
	if name == "" && !s.isSmarthostGiven() {
		name = cmp.Or(s.cfg.AccountOf(l.author.String()), s.cfg.AccountOf(l.env.Sender.String()))
	}
	if name == "" {
		return nil
	}
	if err := s.borrowSender(l, o, name); err != nil {
		return err
	}
	l.account = name
	if o.account != "" || s.cfg.AccountOf(l.env.Sender.String()) != name {
		l.env.Account = name
	}
	return nil
}

// borrowSender makes the reverse-path one of the account.
func (s *system) borrowSender(l *letter, o *sendOptions, name string) error {
	a := s.cfg.Accounts[name]
	switch address := a.Address(); {
	case o.sender != nil || l.env.Sender.IsNull() || a.Takes(l.env.Sender.String()):
	case a.Takes(l.author.String()):
		l.env.Sender = l.author
	case address != "":
		sender, err := mail.ParseAddress(address)
		if err != nil {
			return exitWith(exConfig, fmt.Errorf("account.%s.from: %s: %w", name, address, err))
		}
		l.env.Sender = sender
	}
	return nil
}
