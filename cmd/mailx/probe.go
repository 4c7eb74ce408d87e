package main

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/urfave/cli/v2"

	"mailx/pkg/config"
	"mailx/pkg/smtp"
)

func newProbe(e *env) *cli.Command {
	return &cli.Command{
		Name:  "probe",
		Usage: "talk to a server step by step, and show what it says",
		Subcommands: []*cli.Command{
			e.probeCommand("smtp", "a mail server, by SMTP, submission or LMTP",
				&cli.BoolFlag{Name: "mx", Usage: "probe all MX hosts of a domain, which is named in the place of a host"}),
			e.probeCommand("pop3", "a server of mailboxes, by POP3"),
			e.probeCommand("imap", "a server of mailboxes, by IMAP"),
		},
	}
}

func (e *env) probeCommand(proto, what string, more ...cli.Flag) *cli.Command {
	flags := []cli.Flag{
		&cli.StringFlag{Name: "account", Usage: "probe the server of the account `NAME`, and log in as it does"},
		&cli.StringFlag{Name: "user", Usage: "log in as `NAME`"},
		&cli.IntFlag{Name: "password-fd", Value: -1, Usage: "read the password from descriptor `N`", DefaultText: "ask, on a terminal"},
		&cli.BoolFlag{Name: "insecure", Usage: "send the password in clear to hosts other than this one"},
		&cli.BoolFlag{Name: "tls", Usage: "begin with TLS"},
		&cli.BoolFlag{Name: "starttls", Usage: "go no further without STARTTLS"},
		&cli.BoolFlag{Name: "no-tls", Usage: "stay in clear"},
		&cli.BoolFlag{Name: "any-certificate", Usage: "take any certificate; it is shown all the same"},
		&cli.StringSliceFlag{Name: "fingerprint", Usage: "take the certificate or key with `SUM` and no other; may be repeated"},
		&cli.StringFlag{Name: "name", Usage: "the certificate is to be good for `NAME`, in place of the host"},
		&cli.BoolFlag{Name: "ipv4", Aliases: []string{"4"}, Usage: "use IPv4 only"},
		&cli.BoolFlag{Name: "ipv6", Aliases: []string{"6"}, Usage: "use IPv6 only"},
		&cli.StringFlag{Name: "timeout", Value: "30s", Usage: "give up on a server after `TIME`"},
		&cli.BoolFlag{Name: "trace", Usage: "show the dialog on standard error, secrets masked"},
		jsonFlag(),
	}
	return &cli.Command{Name: proto, Usage: what, ArgsUsage: "[host[:port] | url]", Flags: append(more, flags...),
		Action: func(c *cli.Context) error { return e.probe(c, proto) }}
}

// probeOptions are what the command line says of all servers.
type probeOptions struct {
	proto, name        string
	implicit, starttls bool // --tls, --starttls
	clear, insecure    bool // --no-tls, --insecure
	any                bool
	v4, v6             bool
	pins               []smtp.Pin
	timeout            time.Duration
}

func newProbeOptions(c *cli.Context, proto string) (*probeOptions, error) {
	for _, group := range [][]string{{"tls", "starttls", "no-tls"}, {"ipv4", "ipv6"}, {"any-certificate", "fingerprint"},
		{"account", "user"}, {"mx", "account"}, {"mx", "user"}, {"any-certificate", "user"}, {"any-certificate", "account"}} {
		if err := oneOf(c, group); err != nil {
			return nil, err
		}
	}
	o := &probeOptions{proto: proto, name: c.String("name"), implicit: c.Bool("tls"), starttls: c.Bool("starttls"),
		clear: c.Bool("no-tls"), insecure: c.Bool("insecure"), any: c.Bool("any-certificate"), v4: c.Bool("ipv4"), v6: c.Bool("ipv6")}
	var err error
	if o.timeout, err = config.ParseDuration(c.String("timeout")); err != nil || o.timeout <= 0 {
		return nil, usagef("--timeout: %v", cmp.Or(err, errors.New("more than nothing is needed")))
	}
	o.pins, err = parsePins(c.StringSlice("fingerprint"))
	if err != nil {
		return nil, usagef("--fingerprint: %v", err)
	}
	return o, nil
}

// oneOf refuses two flags of a group.
func oneOf(c *cli.Context, group []string) error {
	first := ""
	for _, name := range group {
		switch {
		case !c.IsSet(name):
		case first != "":
			return usagef("--%s and --%s don't go together", first, name)
		default:
			first = name
		}
	}
	return nil
}

func parsePins(texts []string) (pins []smtp.Pin, err error) {
	for _, text := range texts {
		pin, err := smtp.ParsePin(text)
		if err != nil {
			return nil, err
		}
		pins = append(pins, pin)
	}
	return pins, nil
}

// probe looks at one server after the other. The highest exit code of all is that of the command.
func (e *env) probe(c *cli.Context, proto string) error {
	opt, err := newProbeOptions(c, proto)
	if err != nil {
		return err
	}
	cfg, err := e.config()
	if err != nil {
		return err
	}
	p := &probing{e: e, opt: opt, cfg: cfg, out: e.newProbePrinter(c.Bool("json"))}
	p.trace = e.tracer(c.Bool("trace"), false)
	if p.resolver, err = resolver(); err != nil {
		return err
	}
	sys := e.newSystem(cfg)
	roots, err := sys.clientTLS()
	if err != nil {
		return err
	}
	if proto == "smtp" {
		if p.ours, err = sys.route("", &config.Route{}); err != nil {
			return err
		}
	}
	if roots != nil {
		p.roots = roots.RootCAs
	}
	targets, err := p.targets(c)
	if err != nil {
		return err
	}
	ctx, stop := e.untilSignal(c.Context)
	defer stop()
	return p.all(ctx, targets)
}

func (p *probing) all(ctx context.Context, targets []probeTarget) error {
	worst := exOK
	for i := range targets {
		worst = max(worst, p.one(ctx, &targets[i]))
		if ctx.Err() != nil {
			break
		}
	}
	err := p.out.flush()
	if worst != exOK {
		err = errors.Join(exitWith(worst, nil), err)
	}
	return err
}
