package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

func newDemo(e *env) *cli.Command {
	return &cli.Command{
		Name:  "demo",
		Usage: "show a message going all the way round, on this host alone",
		Description: "Starts two mail hosts on loopback ports with throwaway spools, sends an alert with an attachment\n" +
			"through the queue of the one to the other, fetches it by POP3, and checks that every octet is the one\n" +
			"that was sent. What it runs are ordinary commands, printed as they would be typed.",
		Flags:  []cli.Flag{&cli.BoolFlag{Name: "keep", Usage: "leave the spools in place and say where they are"}},
		Action: func(c *cli.Context) error { return e.demo(c) },
	}
}

// demo is a play with two hosts: alerts.example sends through its queue, mail.example has the user bob.
type demo struct {
	e       *env
	ctx     context.Context
	exe     string
	dir     string
	servers []*demoServer
	started time.Time // when everything in the play is composed

	relay, mx, pop string // addresses of the servers
	sent           []byte // the message, in local form
	fetched        string // where it ended
}

const (
	demoSender   = "alerts.example"
	demoReceiver = "mail.example"
	demoPassword = "correct horse battery staple"
	demoText     = "Grüße vom Server: /var ist zu 97 % voll.\n.\nThat line with a single dot is part of the message.\n"
	demoTable    = "Filesystem  Size  Used  Avail  Use%\n/dev/vda2   100G   97G     3G   97%\n"
)

func (e *env) demo(c *cli.Context) (err error) {
	if c.Args().Present() {
		return usagef("%q is not needed here", c.Args().First())
	}
	ctx, stop := e.untilSignal(c.Context)
	defer stop()
	d := &demo{e: e, ctx: ctx, started: e.now()}
	if d.exe, err = os.Executable(); err != nil {
		return err
	}
	if d.dir, err = os.MkdirTemp("", "mailx-demo-"); err != nil {
		return err
	}
	defer func() {
		d.stop()
		if c.Bool("keep") {
			e.note("the spools are in %s", d.dir)
		} else if rerr := os.RemoveAll(d.dir); err == nil {
			err = rerr
		}
	}()
	if err := os.WriteFile(filepath.Join(d.dir, "config.toml"), nil, 0o600); err != nil {
		return err
	}
	return d.play()
}

func (d *demo) play() error {
	for i, scene := range []struct {
		title string
		do    func() error
	}{
		{"A user on the host " + demoReceiver, d.addUser},
		{"Its servers, and the server of " + demoSender + " that queues what it relays", d.startServers},
		{"An alert, as it will be sent: 7 bit, with an attachment", d.compose},
		{"Over SMTP into the queue of " + demoSender, d.send},
		{"There it waits, durably; a cron job would flush it", d.flush},
		{"It is in bob's Maildir; a laptop fetches it by POP3", d.fetch},
		{"Read it", d.read},
		{"Every octet is the one that was sent", d.compare},
	} {
		fmt.Fprintf(d.e.stdout, "\n== %d. %s\n", i+1, scene.title)
		if err := scene.do(); err != nil {
			return fmt.Errorf("%s: %w", scene.title, err)
		}
	}
	_, err := fmt.Fprintln(d.e.stdout, "\nThat was the whole round trip. Next: mailx man, mailx init.")
	return err
}

func (d *demo) addUser() error {
	_, err := d.run(demoReceiver, demoPassword+"\n", "user", "add", "bob")
	return err
}

func (d *demo) startServers() (err error) {
	if d.mx, err = d.serve(demoReceiver, "serve-smtp", "--listen", "127.0.0.1:0"); err != nil {
		return err
	}
	if d.pop, err = d.serve(demoReceiver, "serve-pop3", "--listen", "127.0.0.1:0"); err != nil {
		return err
	}
	d.relay, err = d.serve(demoSender, "serve-smtp", "--listen", "127.0.0.1:0", "--relay-network", "127.0.0.0/8")
	return err
}

// alert are the options of the message: the same for looking at it and for sending it.
func (d *demo) alert() []string {
	return []string{"--from", "Wächter <monitor@" + demoSender + ">", "--subject", "Plattenplatz knapp: 3 % übrig",
		"--attach", filepath.Join(d.dir, "df.txt"), "bob@" + demoReceiver}
}

func (d *demo) compose() (err error) {
	if err := os.WriteFile(filepath.Join(d.dir, "df.txt"), []byte(demoTable), 0o600); err != nil {
		return err
	}
	d.sent, err = d.run(demoSender, demoText, append([]string{"send", "--dry-run"}, d.alert()...)...)
	return err
}

func (d *demo) send() error {
	_, err := d.run(demoSender, demoText, append([]string{"send", "--now", "--trace", "--server", "smtp://" + d.relay}, d.alert()...)...)
	return err
}

func (d *demo) flush() error {
	if _, err := d.run(demoSender, "", "queue", "list"); err != nil {
		return err
	}
	_, err := d.run(demoSender, "", "queue", "flush", "--trace", "--server", "smtp://"+d.mx)
	return err
}

func (d *demo) fetch() error {
	if _, err := d.run(demoReceiver, "", "list", "--user", "bob"); err != nil {
		return err
	}
	_, err := d.run("laptop", demoPassword+"\n", "fetch", "--trace", "--password-fd", "0", "--url", "pop3://bob@"+d.pop, "--into", filepath.Join(d.dir, "laptop/Maildir"))
	return err
}

func (d *demo) read() error {
	paths, err := d.run("laptop", "", "list", "--paths", filepath.Join(d.dir, "laptop/Maildir"))
	if err != nil {
		return err
	}
	d.fetched = strings.TrimSpace(string(paths))
	_, err = d.run("laptop", "", "show", d.fetched)
	return err
}

// compare takes the trace fields off that the two hosts put on top.
func (d *demo) compare() error {
	got, err := os.ReadFile(d.fetched)
	if err != nil {
		return err
	}
	for _, field := range []string{"Return-Path:", "Received:", "Received:"} {
		if !bytes.HasPrefix(got, []byte(field)) {
			return fmt.Errorf("no %s on top of %s", field, d.fetched)
		}
		got = cutField(got)
	}
	if !bytes.Equal(got, d.sent) {
		return fmt.Errorf("%d octets were sent and %d came back, and they differ", len(d.sent), len(got))
	}
	fmt.Fprintf(d.e.stdout, "%d octets, below Return-Path and two Received fields: equal\n", len(got))
	return nil
}

// cutField drops the first header field with its continuation lines.
func cutField(b []byte) []byte {
	for {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			return nil
		}
		b = b[i+1:]
		if len(b) == 0 || b[0] != ' ' && b[0] != '\t' {
			return b
		}
	}
}

// run runs a command on a host of the play, shows it and all that it prints, and gives its standard output.
func (d *demo) run(host, stdin string, args ...string) ([]byte, error) {
	fmt.Fprintf(d.e.stdout, "\n%s$ mailx %s\n", host, typed(args))
	cmd := d.command(host, args...)
	var out bytes.Buffer
	screen := indent(d.e.stdout)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), io.MultiWriter(&out, screen), screen
	err := cmd.Run()
	return out.Bytes(), err
}
