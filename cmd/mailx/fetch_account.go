package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"mailx/pkg/config"
	"mailx/pkg/fetch"
	"mailx/pkg/imap"
	"mailx/pkg/mail"
	"mailx/pkg/maildir"
	"mailx/pkg/pop3"
)

// fetching is one run of the command, for all of its accounts.
type fetching struct {
	e        *env
	c        *cli.Context
	sys      *system
	progress *progress

	mu      sync.Mutex
	printer *printer
	closers []func()

	asking  sync.Mutex        // a person is asked one thing at a time
	answers map[string]string // passwords that can't be had twice, by account
}

func (f *fetching) close() {
	for _, do := range f.closers {
		do()
	}
}

// fetchWork is one account with all that it takes.
type fetchWork struct {
	*fetching
	fetchJob
	dir    *maildir.Dir
	target fetch.Target // instead of dir, if not nil
	server fetch.Server

	imap *fetch.IMAPSession // nil: none is open
}

func (f *fetching) newWork(job fetchJob) (*fetchWork, error) {
	w := &fetchWork{fetching: f, fetchJob: job}
	var err error
	if w.target, err = f.target(job.account); err != nil {
		return nil, err
	}
	if w.target == nil {
		if w.dir, err = f.sys.fetchInto(job.account.Into); err != nil {
			return nil, err
		}
	}
	w.server, err = f.server(job)
	return w, err
}

// fetchInto is where the mail of an account goes: a path, a user of this host, or the one who runs fetch.
func (s *system) fetchInto(into string) (*maildir.Dir, error) {
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

// server is how the account is reached.
func (f *fetching) server(job fetchJob) (fetch.Server, error) {
	url := job.account.URL
	roots, err := f.sys.clientTLS()
	if err != nil {
		return fetch.Server{}, err
	}
	s := fetch.Server{
		Address:   fmt.Sprintf("%s:%d", bracket(url.Host), url.Port),
		Security:  fetch.STLS,
		TLS:       namedTLS(roots, url.Host),
		User:      url.User,
		Mechanism: job.account.Mechanism,
	}
	if argv := job.account.TokenCommand; len(argv) > 0 {
		s.Token = func(ctx context.Context) (string, error) { return config.Secret{Command: argv}.Read(ctx, os.Getenv) }
	} else {
		s.Password = func(ctx context.Context) (string, error) { return f.password(ctx, job) }
	}
	switch {
	case url.ImplicitTLS():
		s.Security = fetch.TLSFirst
	case isLoopback(url.Host) || f.c.Bool("insecure"):
		s.Security = fetch.Clear
	}
	return s, nil
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

// password is that of an account. Files and commands are asked at each login, people and descriptors once.
func (f *fetching) password(ctx context.Context, job fetchJob) (string, error) {
	fd, a := f.c.Int("password-fd"), job.account
	if fd < 0 && a.Password.IsSet() {
		return a.Password.Read(ctx, os.Getenv)
	}
	key := job.name
	if fd >= 0 {
		key = "" // one line for all
	}
	f.asking.Lock()
	defer f.asking.Unlock()
	if known, ok := f.answers[key]; ok {
		return known, nil
	}
	text, err := f.askPassword(fd, a)
	if err == nil {
		if f.answers == nil {
			f.answers = map[string]string{}
		}
		f.answers[key] = text
	}
	return text, err
}

func (f *fetching) askPassword(fd int, a *config.Account) (string, error) {
	if fd >= 0 {
		return readSecretFrom(fd)
	}
	password, err := netrcPassword(a.URL.Host, a.URL.User)
	if err != nil || password != "" {
		return password, err
	}
	if f.e.mayPrompt() {
		f.progress.clear()
		return f.e.ask("Password of " + a.URL.User + " at " + a.URL.Host)
	}
	return "", exitWith(exConfig, errors.New("no password: use --password-fd, give the account a password_command or password_file, or "+
		"make an entry in ~/.netrc"))
}

// engine is an account for a mailbox: all of it for POP3, a folder for IMAP.
func (w *fetchWork) engine(open func(context.Context) (fetch.Source, error)) *fetch.Account {
	return &fetch.Account{
		Name: w.name, Title: w.name, Open: open, Dir: w.dir, Target: w.target,
		FS: w.sys.fs, State: path.Join(w.sys.cfg.Spool, "state/fetch"),
		Delete: w.account.Delete, DeleteAfter: w.account.DeleteAfter, MaxSize: w.account.MaxSize, MaxAge: w.account.MaxAge,
		KeepFlags: w.account.KeepFlags, Log: w.sys.log.Slog(), Now: w.e.now, Progress: w.progress.of(w.name),
	}
}

// once fetches what there is and ends the session.
func (w *fetchWork) once(ctx context.Context) (fetch.Result, error) {
	if !w.account.URL.IsIMAP() {
		source := &fetch.POP3{Server: w.server, Options: pop3.ClientOptions{Trace: w.e.tracer(w.c.Bool("trace"), false)}}
		result, err := w.engine(source.Open).Run(ctx)
		return result, quotaWaits(err)
	}
	var result fetch.Result
	err := w.session(ctx, func([]imap.Folder) (err error) {
		result, err = w.folders(ctx)
		return err
	})
	return result, err
}

// stay fetches, waits for news and fetches again, until something breaks.
func (w *fetchWork) stay(ctx context.Context) error {
	if w.account.URL.IsIMAP() {
		return w.session(ctx, func(folders []imap.Folder) error { return w.stayIn(ctx, folders) })
	}
	for {
		result, err := w.once(ctx)
		if err != nil {
			return err
		}
		w.printNews(result)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(w.account.Poll):
		}
	}
}

func (w *fetchWork) printNews(r fetch.Result) {
	if r.Fetched > 0 || r.Deleted > 0 {
		w.print(w.name, r)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.printer.flush()
	}
}

// stayIn waits in the first folder, where the server tells of mail; it looks into the others from time to time.
func (w *fetchWork) stayIn(ctx context.Context, folders []imap.Folder) error {
	for {
		result, err := w.folders(ctx)
		if err != nil {
			return err
		}
		w.printNews(result)
		wait := w.account.Poll
		if len(folders) == 1 && w.imap.TellsNews() {
			wait = 24 * time.Hour
		}
		if err := w.imap.Wait(ctx, folders[0].Name, wait); err != nil {
			return err
		}
	}
}

// session logs in, and out when do has ended without an error. Nobody else fetches from the account meanwhile.
func (w *fetchWork) session(ctx context.Context, do func([]imap.Folder) error) error {
	unlock, err := fetch.Lock(w.sys.fs, path.Join(w.sys.cfg.Spool, "state/fetch"), w.name)
	if err != nil {
		return err
	}
	defer unlock()
	source := &fetch.IMAP{Server: w.server, Options: imap.ClientOptions{Trace: w.e.tracer(w.c.Bool("trace"), false)},
		ReadOnly: !w.account.Delete && w.account.DeleteAfter == 0}
	s, err := source.Connect(ctx)
	if err != nil {
		return cmp.Or(context.Cause(ctx), err)
	}
	defer s.Close()
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	w.imap = s
	folders, err := w.wanted()
	if err == nil {
		err = do(folders)
	}
	if err != nil && w.imap.Err() != nil {
		return cmp.Or(context.Cause(ctx), err)
	}
	if lerr := w.imap.Logout(); err == nil {
		err = lerr
	}
	return err
}

// folders fetches from one folder after the other. One that fails stops the others only if it takes the session with it.
func (w *fetchWork) folders(ctx context.Context) (all fetch.Result, err error) {
	folders, err := w.wanted()
	if err != nil {
		return all, err
	}
	var errs []error
	for _, folder := range folders {
		result, err := w.folder(ctx, folder)
		all.Listed += result.Listed
		all.Fetched += result.Fetched
		all.Octets += result.Octets
		all.TooBig += result.TooBig
		all.TooOld += result.TooOld
		all.Failed += result.Failed
		all.Deleted += result.Deleted
		if ctx.Err() != nil {
			return all, context.Cause(ctx)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", strings.Join(folder.Elements(), "/"), err))
		}
		if w.imap.Err() != nil {
			break
		}
	}
	return all, errors.Join(errs...)
}

func (w *fetchWork) folder(ctx context.Context, folder imap.Folder) (fetch.Result, error) {
	a := w.engine(func(context.Context) (fetch.Source, error) { return w.imap.Folder(folder.Name), nil })
	a.Name, a.Title = fetch.FolderState(folder.Name), w.name+"/"+strings.Join(folder.Elements(), "/")
	a.State += "/" + w.name + ".imap"
	a.Progress = w.progress.of(a.Title)
	if elems := fetch.MaildirElements(folder); a.Dir != nil && len(elems) > 0 {
		dir, err := a.Dir.CreateFolder(elems...)
		if err != nil {
			return fetch.Result{}, err
		}
		a.Dir = dir
	}
	result, err := a.Run(ctx)
	return result, quotaWaits(err)
}

// wanted are the folders of the account that are to be fetched, in the order in which they were asked for.
func (w *fetchWork) wanted() ([]imap.Folder, error) {
	names := w.account.Folders
	if len(names) == 0 && w.account.URL.Folder != "" {
		names = []string{w.account.URL.Folder}
	}
	if !w.account.AllFolders && (len(names) == 0 || len(names) == 1 && strings.EqualFold(names[0], "INBOX")) {
		return []imap.Folder{{Name: "INBOX"}}, nil
	}
	all, err := w.imap.Folders()
	if err != nil || w.account.AllFolders {
		return all, err
	}
	var found []imap.Folder
	for _, name := range names {
		folder, ok := findFolder(all, name)
		if !ok {
			return nil, mail.Permanentf(1, 1, "The server has no folder %s; it has %s", name, folderNames(all))
		}
		found = append(found, folder)
	}
	return found, nil
}

// findFolder takes the name as the server has it, as people read it, and with "/" between the levels.
func findFolder(all []imap.Folder, name string) (imap.Folder, bool) {
	for _, f := range all {
		elems := f.Elements()
		if f.Name == name || strings.Join(elems, "/") == name || strings.Join(elems, f.Delim) == name ||
			strings.EqualFold(f.Name, "INBOX") && strings.EqualFold(name, "INBOX") {
			return f, true
		}
	}
	return imap.Folder{}, false
}

// folderNames lists some folders for people.
func folderNames(all []imap.Folder) string {
	const most = 20
	var names []string
	for i, f := range all {
		if i == most {
			names = append(names, "…")
			break
		}
		names = append(names, strings.Join(f.Elements(), "/"))
	}
	return strings.Join(names, ", ")
}
