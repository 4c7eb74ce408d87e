package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"mailx/pkg/config"
	"mailx/pkg/fetch"
	"mailx/pkg/mail"
)

func newFetch(e *env) *cli.Command {
	return &cli.Command{
		Name:      "fetch",
		Usage:     "collect mail from other servers",
		ArgsUsage: "[account ...]",
		Description: "Fetches what is new from the accounts of the configuration, all of them or those that are named, or\n" +
			"from --url. It may be stopped at any instant; what is deleted on the server is safe here.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "url", Usage: "fetch from the mailbox at `URL`: pop3s://user@host, imaps://user@host/FOLDER"},
			&cli.StringSliceFlag{Name: "folder", Usage: "fetch the folder `NAME` of an IMAP account; may be repeated"},
			&cli.BoolFlag{Name: "all-folders", Usage: "fetch all folders of an IMAP account"},
			&cli.BoolFlag{Name: "delete", Usage: "delete on the server what is stored here"},
			&cli.StringFlag{Name: "delete-after", Usage: "delete on the server what was fetched so many `DAYS` ago"},
			&cli.StringFlag{Name: "max-size", Usage: "leave messages over `SIZE` on the server"},
			&cli.StringFlag{Name: "max-age", Usage: "leave messages older than so many `DAYS` on the server"},
			&cli.BoolFlag{Name: "flags", Usage: "keep the flags of an IMAP account, such as read"},
			&cli.StringFlag{Name: "into", Usage: "store into the Maildir `DIR` instead of the account's place"},
			&cli.StringFlag{Name: "deliver", Usage: "deliver to `USER` of this host, as mailx deliver does"},
			&cli.StringFlag{Name: "exec", Usage: "give each message to `COMMAND` on its standard input"},
			&cli.StringFlag{Name: "lmtp", Usage: "give the mail to the LMTP server at `SOCKET` or HOST:PORT"},
			&cli.StringFlag{Name: "smtp", Usage: "give the mail to the SMTP server at `URL`"},
			&cli.StringSliceFlag{Name: "recipient", Usage: "deliver by --lmtp or --smtp to `ADDRESS`; may be repeated"},
			&cli.IntFlag{Name: "parallel", Value: 4, Usage: "fetch from `N` accounts at a time"},
			&cli.BoolFlag{Name: "idle", Usage: "stay, and fetch what comes"},
			&cli.StringFlag{Name: "poll", Usage: "with --idle, ask servers that can't tell every `TIME`"},
			&cli.BoolFlag{Name: "insecure", Usage: "send the password in clear to hosts other than this one"},
			&cli.IntFlag{Name: "password-fd", Value: -1, Usage: "read the password from descriptor `N`", DefaultText: "ask, on a terminal"},
			&cli.StringFlag{Name: "token-command", Usage: "log in with the OAuth token that `COMMAND` prints"},
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
	if n := c.Int("parallel"); n < 1 {
		return usagef("--parallel wants a number of at least 1, not %d", n)
	}
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
	f := &fetching{e: e, c: c, sys: sys, progress: e.newProgress("nothing has been fetched yet", !c.Bool("idle"))}
	defer f.close()
	defer f.progress.start()()
	f.printer = e.newPrinter([]column{{name: "account"}, {name: "listed", right: true}, {name: "fetched", right: true},
		{name: "octets", right: true}, {name: "too_big", right: true}, {name: "too_old", right: true},
		{name: "failed", right: true}, {name: "deleted", right: true}}, c.Bool("json"))
	err = f.all(ctx, jobs)
	f.progress.clear()
	return errors.Join(err, f.printer.flush())
}

// all runs the jobs, some at a time; with --idle all of them, for ever. An account that fails stops no other, and the worst
// failure gives the exit code.
func (f *fetching) all(ctx context.Context, jobs []fetchJob) error {
	most := f.c.Int("parallel")
	if f.c.Bool("idle") {
		most = len(jobs)
	}
	places := make(chan struct{}, most)
	results, failures := make([]fetch.Result, len(jobs)), make([]error, len(jobs))
	var wg sync.WaitGroup
	for i, job := range jobs {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			results[i], failures[i] = f.one(ctx, job)
		})
	}
	wg.Wait()
	worst := exOK
	var texts []error
	for i, err := range failures {
		if err != nil {
			texts = append(texts, fmt.Errorf("%s: %w", jobs[i].name, err))
			worst = max(worst, exitCode(err))
		} else if !f.c.Bool("idle") {
			f.print(jobs[i].name, results[i])
		}
	}
	if len(texts) == 0 {
		return nil
	}
	return exitWith(worst, errors.Join(texts...))
}

// one is one account, once or for ever.
func (f *fetching) one(ctx context.Context, job fetchJob) (fetch.Result, error) {
	w, err := f.newWork(job)
	if err != nil {
		return fetch.Result{}, err
	}
	if f.c.Bool("idle") {
		return fetch.Result{}, fetch.Stay(ctx, w.stay, func(err error, pause time.Duration) {
			f.progress.clear()
			f.e.note("%s: %v; again in %v", job.name, err, pause)
		})
	}
	result, err := w.once(ctx)
	if err == nil && result.Failed > 0 {
		err = mail.Temporaryf(2, 0, "%d of the messages were not fetched; they stay on the server", result.Failed)
	}
	return result, err
}

// print prints what one run did, where somebody wants to know.
func (f *fetching) print(name string, r fetch.Result) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.c.Bool("json") || f.e.stdoutIsTerminal() {
		f.progress.clear()
		f.printer.row(name, r.Listed, r.Fetched, r.Octets, r.TooBig, r.TooOld, r.Failed, r.Deleted)
	}
}

// fetchJobs are the accounts that were asked for, with what the command line says of all of them.
func fetchJobs(c *cli.Context, cfg *config.Config) ([]fetchJob, error) {
	jobs, err := namedJobs(c, cfg)
	if err != nil {
		return nil, err
	}
	for i, job := range jobs {
		account := *job.account
		if err := overrule(c, &account); err != nil {
			return nil, err
		}
		if text := account.Problem(); text != "" {
			return nil, usagef("%s: %s", job.name, text)
		}
		jobs[i].account = &account
	}
	return jobs, nil
}

func namedJobs(c *cli.Context, cfg *config.Config) ([]fetchJob, error) {
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
		account := config.NewAccount()
		account.URL = url
		return []fetchJob{{nameOf(url), account}}, nil
	}
	mailboxes := cfg.Mailboxes()
	if len(names) == 0 {
		names = mailboxes
	}
	if len(names) == 0 {
		return nil, usagef("no accounts are configured; try --url")
	}
	var jobs []fetchJob
	for _, name := range names {
		account := cfg.Accounts[name]
		if account == nil || account.URL.IsZero() { // one to send by is no mailbox
			return nil, exitWith(exConfig, fmt.Errorf("no account %q with a url in the configuration, which has %d: %s", name, len(mailboxes),
				strings.Join(mailboxes, ", ")))
		}
		if slices.ContainsFunc(jobs, func(j fetchJob) bool { return j.name == name }) {
			continue
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

// overrule puts the options of the command line over the keys of an account.
func overrule(c *cli.Context, a *config.Account) (err error) {
	a.Delete = a.Delete || c.Bool("delete")
	a.AllFolders = a.AllFolders || c.Bool("all-folders")
	a.KeepFlags = a.KeepFlags || c.Bool("flags")
	if list := c.StringSlice("folder"); len(list) > 0 {
		a.Folders, a.AllFolders = list, c.Bool("all-folders")
	}
	if list := c.StringSlice("recipient"); len(list) > 0 {
		a.Recipients = list
	}
	if text := c.String("max-size"); text != "" {
		if a.MaxSize, err = config.ParseSize(text); err != nil {
			return usagef("--max-size: %v", err)
		}
	}
	if text := c.String("poll"); text != "" {
		if a.Poll, err = config.ParseDuration(text); err != nil {
			return usagef("--poll: %v", err)
		}
	}
	for name, to := range map[string]*time.Duration{"delete-after": &a.DeleteAfter, "max-age": &a.MaxAge} {
		if text := c.String(name); text != "" {
			if *to, err = parseDays(text); err != nil {
				return usagef("--%s: %v", name, err)
			}
		}
	}
	if a.Poll <= 0 {
		return usagef("--poll wants more than no time")
	}
	if text := c.String("token-command"); text != "" {
		a.TokenCommand, a.Password = strings.Fields(text), config.Secret{}
	}
	return overrulePlace(c, a)
}

// overrulePlace: whatever the command line names takes the place of what the configuration does.
func overrulePlace(c *cli.Context, a *config.Account) (err error) {
	if c.IsSet("into") || c.IsSet("deliver") || c.IsSet("exec") || c.IsSet("lmtp") || c.IsSet("smtp") {
		a.Into, a.Deliver, a.Exec, a.LMTP = c.String("into"), c.String("deliver"), strings.Fields(c.String("exec")), c.String("lmtp")
		a.SMTP = config.Server{}
		if c.IsSet("into") || c.IsSet("deliver") || c.IsSet("exec") {
			a.Recipients = c.StringSlice("recipient")
		}
		if text := c.String("smtp"); text != "" {
			if a.SMTP, err = config.ParseSmarthost(text); err != nil {
				return usagef("--smtp: %v", err)
			}
		}
	}
	return nil
}

// parseDays takes a number of days, or a duration with its unit.
func parseDays(text string) (time.Duration, error) {
	if days, err := strconv.ParseUint(text, 10, 16); err == nil {
		return time.Duration(days) * 24 * time.Hour, nil
	}
	return config.ParseDuration(text)
}
