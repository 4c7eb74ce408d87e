package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/urfave/cli/v2"

	"mailx/pkg/message"
	"mailx/pkg/wire"
)

// newMsmtp is what programs call that were set up for msmtp(1). Its options are read by parseMsmtp.
func newMsmtp(e *env) *cli.Command {
	return &cli.Command{
		Name:            "msmtp",
		Usage:           "take a message as msmtp(1) does",
		ArgsUsage:       "[address ...]",
		SkipFlagParsing: true,
		HideHelp:        true,
		Description: "A message with its header is on standard input. It is for the addresses in the arguments and, with -t, for\n" +
			"those in its header. -a NAME is an account of -C FILE, by default ~/.msmtprc and /etc/msmtprc; else the account is\n" +
			"the one whose from is the sender, -f or --read-envelope-from, else that called default. Where no msmtprc has one\n" +
			"it is the configuration of mailx that counts. More: mailx man msmtp.",
		Action: func(c *cli.Context) error { return e.msmtp(c) },
	}
}

func (e *env) msmtp(c *cli.Context) error {
	line, err := parseMsmtp(c.Args().Slice())
	if err != nil {
		return err
	}
	switch line.mode {
	case msmtpHelp:
		return cli.ShowSubcommandHelp(c)
	case msmtpVersion:
		_, err := fmt.Fprintf(e.stdout, "msmtp version 1.8 as mailx %s has it\n", version())
		return err
	}
	m := &msmtpRun{e: e, line: line, opt: e.submission(&line.sendmailLine)}
	m.opt.verbose, m.opt.trace = false, line.trace
	return m.run(c.Context)
}

// msmtpRun is one message on its way.
type msmtpRun struct {
	e    *env
	line *msmtpLine
	opt  *sendOptions
}

func (m *msmtpRun) run(ctx context.Context) error {
	if m.line.readFrom && m.line.mode == msmtpSend {
		if err := m.readFrom(); err != nil {
			return err
		}
	}
	a, found, err := m.account()
	switch {
	case err != nil:
		return err
	case found:
		err = m.through(a)
	default:
		err = m.throughMailx()
	}
	if err != nil {
		return err
	}
	if m.line.mode == msmtpPretend {
		return m.pretend(a, found)
	}
	return m.e.post(ctx, m.opt)
}

// readFrom takes the sender from the header, of which nothing is lost.
func (m *msmtpRun) readFrom() error {
	var read bytes.Buffer
	br := bufio.NewReader(wire.LocalForm(inputReader{m.e.input(), "standard input"}))
	if m.opt.body != nil { // typed
		br = bufio.NewReader(m.opt.body)
	}
	h, err := message.ReadHeader(bufio.NewReader(io.TeeReader(br, &read)), message.Limits{})
	if err != nil {
		return err
	}
	m.opt.body = io.MultiReader(&read, br)
	list, err := message.ParseMailboxes(h.Get("From"))
	if err != nil || len(list) == 0 {
		return exitWith(exDataErr, errors.New("--read-envelope-from: the header has no From with an address"))
	}
	m.opt.sender, m.opt.from = &list[0].Address, &list[0]
	return nil
}

// account chooses as msmtp does: that of the command line, else one of the files by name, by sender, or by default.
func (m *msmtpRun) account() (a msmtpAccount, found bool, err error) {
	if m.line.set["host"] != "" {
		return msmtpAccount{name: "of the command line", set: m.line.set}, true, nil
	}
	accounts, err := m.accounts()
	if err != nil {
		return a, false, err
	}
	switch name := m.line.account; {
	case name != "":
		a, found = findAccount(accounts, name)
	case m.opt.sender != nil:
		a, found = accountFrom(accounts, *m.opt.sender)
	}
	if !found && m.line.account == "" {
		a, found = findAccount(accounts, "default")
	}
	if found {
		a.set = maps.Clone(a.set)
		maps.Copy(a.set, m.line.set)
	}
	return a, found, nil
}

// accounts are those of the files, the user's first.
func (m *msmtpRun) accounts() ([]msmtpAccount, error) {
	var all []msmtpAccount
	for _, name := range m.files() {
		accounts, err := msmtprcFile(name)
		isMissing := errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)
		if err != nil && (name == m.line.file || !isMissing) {
			return nil, exitWith(exConfig, err)
		}
		all = append(all, accounts...)
	}
	return all, nil
}

// files are where accounts may be: that of -C, or the user's, and that of the host.
func (m *msmtpRun) files() []string {
	var files []string
	home := os.Getenv("HOME")
	under := os.Getenv("XDG_CONFIG_HOME")
	if under == "" && home != "" {
		under = filepath.Join(home, ".config")
	}
	switch own := filepath.Join(home, ".msmtprc"); {
	case m.line.file != "":
		files = []string{m.line.file}
	case home != "" && exists(own):
		files = []string{own}
	case under != "":
		files = []string{filepath.Join(under, "msmtp/config")}
	}
	if m.e.sources().File != "" { // the host's own files are not wanted
		return files
	}
	return append(files, "/etc/msmtprc")
}

// msmtprcFile reads a file. One that has a password may be read by nobody else.
func msmtprcFile(name string) ([]msmtpAccount, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	accounts, err := readMsmtprc(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	for i := range accounts {
		accounts[i].file = name
		if accounts[i].set["password"] != "" && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
			return nil, fmt.Errorf("%s has a password and other people can read it; fix: chmod 600 %s", name, name)
		}
	}
	return accounts, nil
}

// through sends by an account of msmtp: now or not at all, because those who work the queue know only the accounts of
// mailx.
func (m *msmtpRun) through(a msmtpAccount) error {
	cfg, err := m.e.config()
	if err != nil {
		return err
	}
	if m.opt.account, err = a.apply(cfg); err != nil {
		return err
	}
	m.opt.now = true
	if from := a.sender(); from != nil && (m.opt.sender == nil || a.set["allow_from_override"] == "off") {
		m.opt.sender = from
		m.opt.from = &message.Mailbox{Name: m.line.fullName, Address: *from}
	}
	return m.notices(a)
}

// throughMailx sends as the configuration of mailx has it. An account that no msmtprc has may be one of mailx; what else the
// command line says of the way would be lost, so it must say nothing.
func (m *msmtpRun) throughMailx() error {
	m.opt.account = m.line.account
	a := msmtpAccount{set: m.line.set}
	for _, name := range []string{"port", "tls", "user", "auth", "passwordeval", "socket", "protocol"} {
		if _, isSet := m.line.set[name]; isSet {
			return exitWith(exConfig, fmt.Errorf("--%s goes with --host or an account of a msmtprc, and there is none", name))
		}
	}
	if aliases := a.fileOf("aliases"); aliases != "" {
		cfg, err := m.e.config()
		if err != nil {
			return err
		}
		cfg.Aliases = aliases
	}
	return nil
}

// notices takes dsn_notify and dsn_return, unless -N and -R have come first.
func (m *msmtpRun) notices(a msmtpAccount) error {
	p := &sendmailParser{}
	msmtpUnlessOff((*sendmailParser).setNotify)(p, orOff(a.set["dsn_notify"]))
	msmtpUnlessOff((*sendmailParser).setRet)(p, orOff(a.set["dsn_return"]))
	if p.values.err != nil {
		return a.wrong(p.values.err)
	}
	if m.opt.notify == 0 {
		m.opt.notify = p.line.notify
	}
	if m.opt.ret == 0 {
		m.opt.ret = p.line.ret
	}
	return nil
}

func orOff(value string) string {
	if value == "" {
		return "off"
	}
	return value
}

// pretend prints what would count, without secrets.
func (m *msmtpRun) pretend(a msmtpAccount, found bool) error {
	out := bufio.NewWriter(m.e.stdout)
	if !found {
		fmt.Fprintln(out, "no account of a msmtprc; mailx config show prints what counts")
		return out.Flush()
	}
	server, err := a.server()
	if err != nil {
		return a.wrong(err)
	}
	where := a.name
	if a.file != "" {
		where += " of " + a.file
	}
	fmt.Fprintf(out, "account %s: %s\n", escapeControl(where), escapeControl(server.String()))
	for _, name := range slices.Sorted(maps.Keys(a.set)) {
		value := a.set[name]
		if name == "password" {
			value = "*"
		}
		fmt.Fprintf(out, "%s = %s\n", name, escapeControl(value))
	}
	if m.opt.sender != nil {
		fmt.Fprintf(out, "sender %s\n", escapeControl(m.opt.sender.Path()))
	}
	return out.Flush()
}
