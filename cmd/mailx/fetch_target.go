package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"mailx/pkg/config"
	"mailx/pkg/delivery"
	"mailx/pkg/fetch"
	"mailx/pkg/mail"
)

// target is where the mail of an account goes if not into a Maildir; nil for one that does.
func (f *fetching) target(a *config.Account) (fetch.Target, error) {
	switch {
	case a.Deliver != "":
		return f.deliverTarget(a.Deliver)
	case len(a.Exec) > 0:
		return &commandTarget{argv: a.Exec, stderr: f.e.stderr}, nil
	case a.LMTP != "":
		url, err := config.ParseSmarthost(lmtpURL(a.LMTP))
		if err != nil {
			return nil, usagef("lmtp %s: %v", a.LMTP, err)
		}
		return f.serverTarget(a, delivery.Route{Servers: []delivery.Server{serverOf(url)}})
	case !a.SMTP.IsZero():
		route, err := f.sys.route("", &config.Route{Via: []config.Server{a.SMTP}, Password: f.sys.cfg.Password})
		if err != nil {
			return nil, err
		}
		return f.serverTarget(a, route)
	}
	return nil, nil
}

// lmtpURL makes a URL of a path or of host:port.
func lmtpURL(text string) string {
	if strings.HasPrefix(text, "lmtp:") {
		return text
	}
	return "lmtp://" + text
}

func (f *fetching) serverTarget(a *config.Account, route delivery.Route) (fetch.Target, error) {
	roots, err := f.sys.clientTLS()
	if err != nil {
		return nil, err
	}
	t := &relayTarget{now: f.e.now, relay: &delivery.Relay{
		Via:   func(string) delivery.Route { return route },
		Hello: f.sys.cfg.Hostname, TLSConfig: roots, Trace: f.e.tracer(f.c.Bool("trace"), false),
	}}
	for _, text := range a.Recipients {
		address, err := mail.ParseAddress(text)
		if err != nil {
			return nil, usagef("recipient %s: %v", text, err)
		}
		t.rcpts = append(t.rcpts, mail.Recipient{Address: address})
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closers = append(f.closers, t.relay.Close)
	return t, nil
}

// hold takes the whole of a message before anybody else sees any of it: a connection that breaks in the middle must not
// leave half a message with somebody who takes it for all.
func hold(text io.Reader) (*held, error) {
	h := new(held)
	if _, err := io.Copy(h, text); err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

// commandTarget gives each message to a command. Its exit code 0 takes the message; 75 leaves it on the server for the next
// time, and so does every other, as something that is wrong with this message.
type commandTarget struct {
	argv   []string
	stderr *os.File
}

// commandTime is how long a command may take for a message.
const commandTime = 10 * time.Minute

// Take runs the command.
func (t *commandTarget) Take(ctx context.Context, _ fetch.Item, text io.Reader) error {
	h, err := hold(text)
	if err != nil {
		return err
	}
	defer h.close()
	file, err := h.rewound()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, t.argv[0], t.argv[1:]...)
	cmd.Stdin = file
	cmd.Stdout, cmd.Stderr = t.stderr, t.stderr
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	var exited *exec.ExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return mail.Temporaryf(3, 0, "The command %s took too long or was interrupted", t.argv[0])
	case errors.As(err, &exited) && exited.Exited() && exited.ExitCode() < 126 && exited.ExitCode() != exTempFail:
		return mail.Permanentf(6, 0, "The command %s exited with %d", t.argv[0], exited.ExitCode())
	}
	return mail.Temporaryf(3, 0, "The command %s: %w", t.argv[0], err)
}

// rewound gives the message as a file. A command gets no pipe: when we are killed in the middle of writing to it, the end
// of the pipe would look like the end of the message, and the command would take half of it.
func (h *held) rewound() (*os.File, error) {
	if h.file == nil {
		if err := h.spill(); err != nil {
			return nil, err
		}
	}
	_, err := h.file.Seek(0, io.SeekStart)
	return h.file, err
}

// relayTarget gives each message to one server, by SMTP or LMTP.
type relayTarget struct {
	relay *delivery.Relay
	rcpts []mail.Recipient
	now   func() time.Time
}

// Take sends the message. With several recipients of which one is refused, the others get it again the next time.
func (t *relayTarget) Take(ctx context.Context, it fetch.Item, text io.Reader) error {
	br := bufio.NewReaderSize(text, 64<<10)
	sender := returnPathOf(br)
	if err := dropEnvelopeLines(br, true); err != nil {
		return err
	}
	h, err := hold(br)
	if err != nil {
		return err
	}
	defer h.close()
	env := &mail.Envelope{ID: strconv.Itoa(it.Number), Sender: sender, Rcpts: t.rcpts, Body: mail.Body8BitMIME, Arrived: t.now()}
	var refused error
	for _, r := range t.relay.Deliver(ctx, env, h, h.size) {
		if r.Err != nil && (refused == nil || !mail.StatusOf(r.Err).IsPermanent()) {
			refused = r.Err
		}
	}
	return refused
}

// returnPathOf is the address in the Return-Path on top of a message, which another server has put there; without one that
// can be read, it is the null one, so that nobody gets a bounce who has not sent the message.
func returnPathOf(br *bufio.Reader) mail.Address {
	head, _ := br.Peek(1000)
	line, _, _ := strings.Cut(string(head), "\n")
	const field = "Return-Path:"
	if len(line) < len(field) || !strings.EqualFold(line[:len(field)], field) {
		return mail.Address{}
	}
	text := strings.TrimSpace(line[len(field):])
	inner, ok := strings.CutPrefix(text, "<")
	inner, closed := strings.CutSuffix(inner, ">")
	if !ok || !closed || inner == "" {
		return mail.Address{}
	}
	address, err := mail.ParseAddress(inner)
	if err != nil {
		return mail.Address{}
	}
	return address
}
