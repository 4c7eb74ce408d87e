package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"mailx/pkg/config"
	"mailx/pkg/fetch"
	"mailx/pkg/maildir"
	"mailx/pkg/pop3"
)

func newFetch(e *env) *cli.Command {
	return &cli.Command{
		Name:      "fetch",
		Usage:     "collect mail from other servers",
		ArgsUsage: "[account ...]",
		Description: "Fetches what is new from the accounts of the configuration, all of them or those that are named, or\n" +
			"from --url. It may be stopped at any instant; what is deleted on the server is safe here.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "url", Usage: "fetch from the mailbox at `URL`: pop3://user@host, pop3s://user@host"},
			&cli.StringFlag{Name: "into", Usage: "store into the Maildir `DIR` instead of the account's place"},
			&cli.BoolFlag{Name: "delete", Usage: "delete on the server what is stored here"},
			&cli.StringFlag{Name: "max-size", Usage: "leave messages over `SIZE` on the server"},
			&cli.BoolFlag{Name: "insecure", Usage: "send the password in clear to hosts other than this one"},
			&cli.IntFlag{Name: "password-fd", Value: -1, Usage: "read the password from descriptor `N`", DefaultText: "ask, on a terminal"},
			&cli.BoolFlag{Name: "trace", Usage: "show the dialog on standard error, secrets masked"},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error { return e.fetch(c) },
	}
}

// fetchJob is one account and what it is called.
type fetchJob struct {
	name    string
	account *config.Account
}

func (e *env) fetch(c *cli.Context) error {
	sys, err := e.system()
	if err != nil {
		return err
	}
	sys.logTroubleOnly()
	jobs, err := fetchJobs(c, sys.cfg)
	if err != nil {
		return err
	}
	ctx, stop := e.untilSignal(c.Context)
	defer stop()
	p := e.newPrinter([]column{{name: "account"}, {name: "listed", right: true}, {name: "fetched", right: true},
		{name: "octets", right: true}, {name: "too_big", right: true}, {name: "deleted", right: true}}, c.Bool("json"))
	var all []error
	for _, job := range jobs {
		result, err := e.fetchOne(ctx, c, sys, job)
		if err != nil {
			all = append(all, fmt.Errorf("%s: %w", job.name, err))
		}
		if err == nil && (c.Bool("json") || e.stdoutIsTerminal()) {
			p.row(job.name, result.Listed, result.Fetched, result.Octets, result.TooBig, result.Deleted)
		}
	}
	return errors.Join(append(all, p.flush())...)
}

// fetchJobs are the accounts that were asked for.
func fetchJobs(c *cli.Context, cfg *config.Config) ([]fetchJob, error) {
	names := c.Args().Slice()
	if text := c.String("url"); text != "" {
		if len(names) > 0 {
			return nil, usagef("--url or accounts, not both")
		}
		url, err := config.ParseAccountURL(text)
		if err != nil {
			return nil, usagef("--url: %v", err)
		}
		if url.User == "" {
			return nil, usagef("--url %s: whose mailbox? Write %s://user@host", text, url.Scheme)
		}
		return []fetchJob{{nameOf(url), &config.Account{URL: url}}}, nil
	}
	if len(names) == 0 {
		names = slices.Sorted(maps.Keys(cfg.Accounts))
	}
	if len(names) == 0 {
		return nil, usagef("no accounts are configured; try --url")
	}
	var jobs []fetchJob
	for _, name := range names {
		account := cfg.Accounts[name]
		if account == nil {
			return nil, exitWith(exConfig, fmt.Errorf("no account %q in the configuration, which has %d: %s", name, len(cfg.Accounts),
				strings.Join(slices.Sorted(maps.Keys(cfg.Accounts)), ", ")))
		}
		jobs = append(jobs, fetchJob{name, account})
	}
	return jobs, nil
}

// nameOf makes a name for the state of an account without one.
func nameOf(u config.Server) string {
	clean := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("@._+-", r) {
			return r
		}
		return '_'
	}, u.User+"@"+u.Host)
	return fmt.Sprintf("%s_%d", clean, u.Port)
}

func (e *env) fetchOne(ctx context.Context, c *cli.Context, sys *system, job fetchJob) (fetch.Result, error) {
	dir, err := sys.fetchInto(c.String("into"), job.account)
	if err != nil {
		return fetch.Result{}, err
	}
	source, err := e.popSource(c, sys, job.account)
	if err != nil {
		return fetch.Result{}, err
	}
	run := &fetch.Account{
		Name: job.name, Open: source.Open, Dir: dir, FS: sys.fs, State: path.Join(sys.cfg.Spool, "state/fetch"),
		Delete: job.account.Delete || c.Bool("delete"), Log: sys.log.Slog(), Now: e.now,
	}
	if text := c.String("max-size"); text != "" {
		if run.MaxSize, err = config.ParseSize(text); err != nil {
			return fetch.Result{}, usagef("--max-size: %v", err)
		}
	}
	result, err := run.Run(ctx)
	return result, quotaWaits(err)
}

// fetchInto is where the mail of an account goes: a path, a user of this host, or the one who runs fetch.
func (s *system) fetchInto(dir string, a *config.Account) (*maildir.Dir, error) {
	into := dir
	if into == "" {
		into = a.Into
	}
	switch {
	case into == "" && os.Getenv("HOME") != "":
		into = filepath.Join(os.Getenv("HOME"), "Maildir")
	case into == "":
		return nil, usagef("where to? No HOME; use --into")
	case !strings.Contains(into, "/"):
		if known, err := s.users().Exists(into); err != nil {
			return nil, err
		} else if known {
			into = path.Join(s.cfg.MailRoot, into)
		}
	}
	return s.mailbox(into)
}

func (e *env) popSource(c *cli.Context, sys *system, a *config.Account) (*fetch.POP3, error) {
	url := a.URL
	if !strings.HasPrefix(url.Scheme, "pop3") {
		return nil, exitWith(exUnavailable, fmt.Errorf("%s: only pop3 and pop3s can be fetched from", url))
	}
	roots, err := sys.clientTLS()
	if err != nil {
		return nil, err
	}
	source := &fetch.POP3{
		Address:  fmt.Sprintf("%s:%d", bracket(url.Host), url.Port),
		Security: fetch.STLS,
		TLS:      namedTLS(roots, url.Host),
		User:     url.User,
		Password: e.passwordFor(c, a),
		Options:  pop3.ClientOptions{Trace: e.tracer(c.Bool("trace"), false)},
	}
	switch {
	case url.ImplicitTLS():
		source.Security = fetch.TLSFirst
	case isLoopback(url.Host) || c.Bool("insecure"):
		source.Security = fetch.Clear
	}
	return source, nil
}

func namedTLS(roots *tls.Config, host string) *tls.Config {
	if roots == nil {
		return nil
	}
	named := roots.Clone()
	named.ServerName = host
	return named
}

func bracket(host string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

func isLoopback(host string) bool {
	return host == "localhost" || strings.HasPrefix(host, "127.") || host == "::1"
}

// passwordFor reads the password of an account when the server asks for it.
func (e *env) passwordFor(c *cli.Context, a *config.Account) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		switch fd := c.Int("password-fd"); {
		case fd >= 0:
			f := os.NewFile(uintptr(fd), "password")
			if f == nil {
				return "", usagef("--password-fd wants a descriptor, not %d", fd)
			}
			defer f.Close()
			return config.ReadSecret(f)
		case a.Password.IsSet():
			return a.Password.Read(ctx, os.Getenv)
		case e.mayPrompt():
			return e.ask("Password of " + a.URL.User + " at " + a.URL.Host)
		}
		return "", exitWith(exConfig, errors.New("no password: use --password-fd, or give the account a password_command or password_file"))
	}
}
