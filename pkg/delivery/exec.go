package delivery

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"mailx/pkg/mail"
	"mailx/pkg/smtp"
)

// A Route may name a command in the place of servers: what speaks UUCP, or ssh, or the protocol of some provider. It gets the
// message on standard input in local form and nothing above it, and the envelope in its environment and its words:
//
//	SENDER        the reverse-path without brackets, empty for the null one
//	RECIPIENTS    the recipients, one a line
//	RECIPIENT     the recipient, if there is just one
//	{sender}      within a word is SENDER
//	{recipient}   within a word is one recipient: the command runs once for each of them
//	{recipients}  is a word for each recipient
//
// No shell looks at the words. An address that begins with a hyphen would be taken for an option: where a word begins with a
// placeholder, such an address is refused. How it runs, and what its exit codes mean, is as with Commands; the recipients of
// one run share its fate.

const (
	wordSender     = "{sender}"
	wordRecipient  = "{recipient}"
	wordRecipients = "{recipients}"
)

// maxRecipientOctets bounds the recipients of one run: a variable may be 128 KiB long.
const maxRecipientOctets = 64 << 10

// ParseRouteCommand reads the command of a Route, whose words are those of SplitCommand, but for the placeholders.
func ParseRouteCommand(s string) ([]string, error) {
	hide := strings.NewReplacer(wordSender, "\ue000", wordRecipients, "\ue001", wordRecipient, "\ue002")
	show := strings.NewReplacer("\ue000", wordSender, "\ue001", wordRecipients, "\ue002", wordRecipient)
	if strings.ContainsAny(s, "\ue000\ue001\ue002") {
		return nil, errNotPrintable
	}
	argv, err := SplitCommand(hide.Replace(s)) // to which a brace is for a shell
	for i := range argv {
		argv[i] = show.Replace(argv[i])
	}
	switch {
	case err != nil:
		return nil, err
	case !strings.HasPrefix(argv[0], "/"):
		return nil, errors.New("a command begins with the absolute path of a program")
	case strings.Contains(argv[0], "{"):
		return nil, errors.New("the name of a program has no placeholders")
	case slices.ContainsFunc(argv, func(w string) bool { return strings.Contains(w, wordRecipients) && w != wordRecipients }):
		return nil, errors.New(wordRecipients + " is a word of its own")
	}
	return argv, nil
}

// exec gives a message to the command of a route, in as many runs as it takes.
func (r *Relay) exec(ctx context.Context, p *part, msg io.ReaderAt, size int64) []mail.Result {
	results := make([]mail.Result, len(p.env.Rcpts))
	var todo []int
	for i, rcpt := range p.env.Rcpts {
		results[i] = mail.Result{Recipient: rcpt, Err: checkWord(p.route.Command, rcpt.Address, wordRecipient, wordRecipients)}
		if results[i].Err == nil {
			todo = append(todo, i)
		}
	}
	perRun := smtp.MaxTransaction
	if slices.ContainsFunc(p.route.Command, func(w string) bool { return strings.Contains(w, wordRecipient) }) {
		perRun = 1
	}
	for len(todo) > 0 {
		n := runLength(p.env.Rcpts, todo, perRun)
		rcpts := pick(p.env.Rcpts, todo[:n])
		err := r.execOnce(ctx, &p.route, p.env.Sender, rcpts, io.NewSectionReader(msg, 0, size))
		var done []mail.Result
		for _, i := range todo[:n] {
			results[i].Err, results[i].Relayed = err, err == nil
			done = append(done, results[i])
		}
		if todo = todo[n:]; len(todo) > 0 {
			p.say(done)
		}
	}
	return results
}

func pick(rcpts []mail.Recipient, index []int) []mail.Recipient {
	var picked []mail.Recipient
	for _, i := range index {
		picked = append(picked, rcpts[i])
	}
	return picked
}

// checkWord refuses an address that would be taken for an option in the place of one of the placeholders.
func checkWord(words []string, a mail.Address, placeholders ...string) error {
	if !strings.HasPrefix(a.String(), "-") {
		return nil
	}
	for _, word := range words {
		if slices.ContainsFunc(placeholders, func(p string) bool { return strings.HasPrefix(word, p) }) {
			return mail.Permanentf(1, 3, "An address that begins with a hyphen can't be given to the command that takes this mail")
		}
	}
	return nil
}

// runLength is how many of todo one run is for, at least one.
func runLength(rcpts []mail.Recipient, todo []int, most int) int {
	octets := 0
	for n, i := range todo {
		if octets += len(rcpts[i].Address.String()) + 1; n > 0 && (n == most || octets > maxRecipientOctets) {
			return n
		}
	}
	return len(todo)
}

func (r *Relay) execOnce(ctx context.Context, route *Route, sender mail.Address, rcpts []mail.Recipient, msg io.Reader) error {
	if r.Commands == nil {
		return misconfigured(errNoErrands)
	}
	if err := checkWord(route.Command, sender, wordSender); err != nil {
		return err
	}
	names := make([]string, len(rcpts))
	for i, rcpt := range rcpts {
		names[i] = rcpt.Address.String()
	}
	env := append(commonEnviron(), "SENDER="+sender.String(), "RECIPIENTS="+strings.Join(names, "\n"))
	if len(names) == 1 {
		env = append(env, "RECIPIENT="+names[0])
	}
	return r.Commands.give(ctx, command{argv: expandCommand(route.Command, sender.String(), names)}, env, msg)
}

// expandCommand puts addresses into the words.
func expandCommand(words []string, sender string, rcpts []string) (argv []string) {
	one := strings.NewReplacer(wordSender, sender, wordRecipient, rcpts[0])
	for _, word := range words {
		if word == wordRecipients {
			argv = append(argv, rcpts...)
		} else {
			argv = append(argv, one.Replace(word))
		}
	}
	return argv
}
