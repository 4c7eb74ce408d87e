package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"mailx/pkg/config"
	"mailx/pkg/delivery"
	"mailx/pkg/mail"
	"mailx/pkg/message"
	"mailx/pkg/queue"
	"mailx/pkg/smtp"
)

func newExplain(e *env) *cli.Command {
	return &cli.Command{
		Name:      "explain",
		Usage:     "say where a message would go, and why",
		ArgsUsage: "address ...",
		Description: "Aliases, the route, the hosts with their addresses, TLS, and when a message that can't be delivered at once\n" +
			"would be tried again. Nothing is sent.",
		Flags: []cli.Flag{&cli.StringFlag{Name: "from", Usage: "for mail of `ADDRESS`, which may go by an account"}, jsonFlag()},
		Action: func(c *cli.Context) error {
			list, err := explainWords(c.Args().Slice())
			if err != nil {
				return err
			}
			from := []mail.Address{{}}
			if c.IsSet("from") {
				if from, err = explainWords([]string{c.String("from")}); err != nil {
					return err
				}
			}
			return e.explainFrom(c.Context, from[0], list, c.Bool("json"))
		},
	}
}

func explainWords(words []string) ([]mail.Address, error) {
	if len(words) == 0 {
		return nil, usagef("which address?")
	}
	var list []mail.Address
	for _, word := range words {
		box, err := message.ParseMailbox(word)
		if err != nil {
			return nil, exitWith(exDataErr, fmt.Errorf("%q: %w", word, err))
		}
		list = append(list, box.Address)
	}
	return list, nil
}

// explaining prints what is known of addresses, a line each.
type explaining struct {
	sys    *system
	router *delivery.Router
	relay  *delivery.Relay
	print  func(line explained)
}

// explained is one line. Kind is step, mailbox, remote, command, file, discard, policy, host, schedule or error.
type explained struct {
	address, kind, text string
	target              string // path, address or command
	host, tls           string
	addresses           []string
}

// explain prints where addresses lead. The exit code is that of the first that leads nowhere.
func (e *env) explain(ctx context.Context, list []mail.Address, asJSON bool) error {
	return e.explainFrom(ctx, mail.Address{}, list, asJSON)
}

// explainFrom is explain for mail of a sender, if that is not null.
func (e *env) explainFrom(ctx context.Context, from mail.Address, list []mail.Address, asJSON bool) error {
	sys, err := e.system()
	if err != nil {
		return err
	}
	sys.isShown = true // no certificate is needed
	router, err := sys.router(sys.localUsers())
	if err != nil {
		return err
	}
	account, err := sys.accountOf(&mail.Envelope{Sender: from})
	if err != nil {
		return err
	}
	if account != "" {
		router.Default = *sys.routes.byAccount[account]
	}
	x := &explaining{sys: sys, router: router}
	if x.relay, err = sys.relay(router); err != nil {
		return err
	}
	if err := sys.trust(x.relay); err != nil {
		return err
	}
	flush := x.printTo(e, asJSON)
	var bad error
	for _, a := range list {
		if err := x.address(ctx, a); err != nil && bad == nil {
			bad = exitWith(exitCode(err), nil) // a line has said it
		}
	}
	return errors.Join(flush(), bad)
}

// printTo sets print: for people the lines that have a text, or all lines as JSON. It gives what ends the output.
func (x *explaining) printTo(e *env, asJSON bool) (flush func() error) {
	if asJSON {
		p := e.newPrinter([]column{{name: "address"}, {name: "kind"}, {name: "text"}, {name: "target"}, {name: "host"},
			{name: "addresses"}, {name: "tls"}}, true)
		x.print = func(l explained) { p.row(l.address, l.kind, l.text, l.target, l.host, l.addresses, l.tls) }
		return p.flush
	}
	out := bufio.NewWriter(e.stdout)
	x.print = func(l explained) {
		if l.text != "" {
			fmt.Fprintf(out, "%s: %s\n", escapeControl(l.address), escapeControl(l.text))
		}
	}
	return out.Flush
}

// address tells the steps of the router, then what comes after them for each target.
func (x *explaining) address(ctx context.Context, a mail.Address) error {
	decision, err := x.router.Explain(a)
	steps := decision.Steps
	if err != nil && len(steps) > 0 {
		steps = steps[:len(steps)-1]
	}
	for _, step := range steps {
		x.print(explained{address: a.String(), kind: "step", text: step})
	}
	if err != nil {
		x.print(explained{address: a.String(), kind: "error", text: reasonOf(err)})
		return err
	}
	waits := false
	for i := range decision.Targets {
		t := &decision.Targets[i]
		x.print(targetLine(a, t))
		if t.Kind == delivery.Remote {
			if rerr := x.remote(ctx, a, t); err == nil {
				err = rerr
			}
		}
		waits = waits || t.Kind != delivery.Mailbox && t.Kind != delivery.Discard
	}
	if waits && err == nil {
		x.print(explained{address: a.String(), kind: "schedule", text: x.schedule()})
	}
	return err
}

// targetLine is for JSON: the steps have told it to people.
func targetLine(a mail.Address, t *delivery.Target) explained {
	l := explained{address: a.String()}
	switch t.Kind {
	case delivery.Mailbox:
		l.kind, l.target = "mailbox", t.Path
	case delivery.Remote:
		l.kind, l.target = "remote", t.Address.String()
	case delivery.Command:
		l.kind, l.target = "command", strings.Join(t.Command, " ")
	case delivery.File:
		l.kind, l.target = "file", t.Path
	default:
		l.kind = "discard"
	}
	return l
}

// remote tells the hosts in the order in which they would be tried.
func (x *explaining) remote(ctx context.Context, a mail.Address, t *delivery.Target) error {
	ctx, cancel := context.WithTimeout(ctx, explainTime)
	defer cancel()
	hops, err := x.relay.Hops(ctx, t.Address.Domain)
	if err != nil {
		x.print(explained{address: a.String(), kind: "error", text: reasonOf(err), target: t.Address.String()})
		return err
	}
	x.policy(ctx, a, t)
	for i := range hops {
		x.hop(ctx, a, t, &hops[i])
	}
	return nil
}

// policy tells what the domain says of its hosts, if it does.
func (x *explaining) policy(ctx context.Context, a mail.Address, t *delivery.Target) {
	policy := x.relay.Policy(ctx, t.Address.Domain)
	if policy == nil {
		return
	}
	text := fmt.Sprintf("the MTA-STS policy of %s (%s): %s", t.Address.Domain, policy.Mode, strings.Join(policy.Hosts, " "))
	x.print(explained{address: a.String(), kind: "policy", text: text, target: t.Address.String()})
}

// explainTime bounds the look-ups for one domain.
const explainTime = 30 * time.Second

// hop tells of one host: that of a configured server by its URL.
func (x *explaining) hop(ctx context.Context, a mail.Address, t *delivery.Target, h *delivery.Hop) {
	addrs, err := x.relay.Resolve(ctx, *h) // one host that is not there is no error while others are
	l := explained{address: a.String(), kind: "host", target: t.Address.String(), host: h.Server.String(), tls: tlsOf(h)}
	l.text = "server " + l.host
	if h.IsMX {
		l.host = h.Host
		l.text = fmt.Sprintf("host %s, preference %d", l.host, h.Pref)
	}
	for _, addr := range addrs {
		l.addresses = append(l.addresses, addr.String())
	}
	switch {
	case len(addrs) > 0 && (h.IsMX || h.Host != l.addresses[0]):
		l.text += ", at " + strings.Join(l.addresses, " ")
	case err != nil:
		l.text += ", no address"
	}
	if h.Barred != nil {
		l.text += ", not in the policy, never tried"
		x.print(l)
		return
	}
	l.text += ", TLS " + l.tls
	for _, source := range t.Route.Source {
		l.text += ", from " + source.String()
	}
	if len(t.Route.Discard) > 0 {
		l.text += ", without " + strings.Join(t.Route.Discard, " ")
	}
	x.print(l)
}

func tlsOf(h *delivery.Hop) string {
	name := policyName(h.TLS)
	if strings.HasSuffix(h.Scheme, "s") {
		if name != "pinned" {
			return "from the start"
		}
		return "from the start, pinned"
	}
	return name
}

func policyName(p smtp.TLSPolicy) string {
	switch p {
	case smtp.TLSNone:
		return "none"
	case smtp.TLSRequired:
		return "required"
	case smtp.TLSVerified:
		return "verified"
	case smtp.TLSPinned:
		return "pinned"
	}
	return "opportunistic"
}

// shownTries is how many of the tries are told.
const shownTries = 4

// schedule tells when a message is tried that waits in the queue.
func (x *explaining) schedule() string {
	s := queue.Schedule{Step: x.sys.cfg.Queue.Step, Lifetime: x.sys.cfg.Queue.Lifetime}
	ages := s.Planned()
	var words []string
	for _, age := range ages[1:min(len(ages), shownTries+1)] {
		words = append(words, config.FormatDuration(age))
	}
	last := config.FormatDuration(ages[len(ages)-1])
	return fmt.Sprintf("a try at once, the next at an age of %s and so on; bounces at %s", strings.Join(words, ", "), last)
}
