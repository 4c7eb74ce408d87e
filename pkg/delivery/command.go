package delivery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/message"
	"mailx/pkg/program"
)

// DefaultCommandTime is how long a command of an alias may take.
const DefaultCommandTime = 5 * time.Minute

const (
	maxCommandOutput = 4 << 10 // octets of it that are looked at
	maxCommandText   = 300     // octets of it in the text of an error
	commandPath      = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// Commands runs the commands of aliases: without a shell, in "/", in an environment of its own that has nothing of ours,
// with nothing from the peer in argv. The message is on standard input in local form, below a "From " line and its
// Return-Path, as Postfix and sendmail give it. In the environment are
//
//	SENDER              the reverse-path without brackets, empty for the null one
//	RECIPIENT           the address of the alias
//	ORIGINAL_RECIPIENT  the address as the sender wrote it, if that is known to be another
//	USER, LOGNAME       the local part of RECIPIENT without the detail
//	EXTENSION           the detail
//	LOCAL, DOMAIN       the parts of RECIPIENT
//	HOME, SHELL, PATH, TZ, LANG
//
// The exit code is the verdict: 0 is delivered; 64 to 78 are those of sysexits(3), of which 71, 72 and 75 are temporary;
// all others are temporary too, as are signals, a command that can't be started, and one that takes longer than Time,
// which is killed with all that it has started and that has not left its process group. What it writes is shown to the
// sender if it fails for good, and is in the log if not.
//
// A command runs as the user of this process, and never as root: for root it runs as the owner of the file that it
// stands in, or, for a file of root's, as Owner. Where that is root as well it does not run, 4.3.5.
type Commands struct {
	Time      time.Duration // for one command; DefaultCommandTime if 0
	Owner     int           // user id of the owner of the spool
	Group     int           // and its group
	Delimiter string        // as in Router
	Now       func() time.Time
}

// command is one run.
type command struct {
	argv   []string
	owner  int // of the file that it stands in
	sender mail.Address
	rcpt   mail.Recipient
}

// run runs a command with the message, and gives its verdict.
func (c *Commands) run(ctx context.Context, job command, msg io.Reader) error {
	return c.give(ctx, job, c.environ(job), io.MultiReader(bytes.NewReader(c.head(job)), msg))
}

// give runs a command with something on its standard input.
func (c *Commands) give(ctx context.Context, job command, environ []string, stdin io.Reader) error {
	limit := c.Time
	if limit <= 0 {
		limit = DefaultCommandTime
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd, err := c.prepare(ctx, job, environ)
	if err != nil {
		return misconfigured(err)
	}
	cmd.Stdin = stdin
	out := &program.Head{Max: maxCommandOutput}
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) { // it has ended well, and left something in the background
		err = nil
	}
	return verdict(job.argv[0], err, ctx.Err(), shown(out.Bytes()))
}

func (c *Commands) prepare(ctx context.Context, job command, environ []string) (*exec.Cmd, error) {
	path, err := findProgram(job.argv[0])
	if err != nil {
		return nil, err
	}
	cmd := program.Command(ctx, append([]string{path}, job.argv[1:]...), environ)
	cmd.Args[0] = job.argv[0]
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential, err = c.credential(job)
	}
	return cmd, err
}

// credential is who a command is run as by root.
func (c *Commands) credential(job command) (*syscall.Credential, error) {
	switch {
	case job.owner > 0 && job.owner == c.Owner, job.owner == 0 && c.Owner > 0:
		return &syscall.Credential{Uid: uint32(c.Owner), Gid: uint32(c.Group)}, nil
	}
	return nil, fmt.Errorf("%s: commands of aliases don't run as root: run the queue as another user, who owns the spool", job.argv[0])
}

// findProgram looks for a name without a slash in the usual directories, whatever our PATH is.
func findProgram(name string) (string, error) {
	if strings.HasPrefix(name, "/") {
		return name, nil
	}
	if strings.Contains(name, "/") {
		return "", fmt.Errorf("%s is a relative path", name)
	}
	for dir := range strings.SplitSeq(commandPath, ":") {
		full := filepath.Join(dir, name)
		if fi, err := os.Stat(full); err == nil && fi.Mode().IsRegular() && fi.Mode().Perm()&0o111 != 0 {
			return full, nil
		}
	}
	return "", fmt.Errorf("%s is in none of %s", name, commandPath)
}

// head is what stands above the message.
func (c *Commands) head(job command) []byte {
	return message.AppendReturnPath([]byte(fromLine(job.sender, now(c.Now))), job.sender)
}

func now(clock func() time.Time) time.Time {
	if clock == nil {
		return time.Now()
	}
	return clock()
}

func (c *Commands) environ(job command) []string {
	rcpt := job.rcpt.Address
	if name, _, ok := cutMark(rcpt.Local); ok {
		rcpt.Local = name
	}
	user, detail := rcpt.Local, ""
	if base, rest, ok := cutDetail(rcpt.Local, c.Delimiter); ok {
		user, detail = base, rest
	}
	env := append(commonEnviron(), "SENDER="+job.sender.String(), "RECIPIENT="+rcpt.String(), "USER="+user, "LOGNAME="+user,
		"EXTENSION="+detail, "LOCAL="+rcpt.Local, "DOMAIN="+rcpt.Domain)
	if kind, orig, ok := strings.Cut(job.rcpt.Orig, ";"); ok && strings.EqualFold(kind, "rfc822") {
		env = append(env, "ORIGINAL_RECIPIENT="+strings.ReplaceAll(orig, "\x00", ""))
	}
	return env
}

// commonEnviron is what every command has.
func commonEnviron() []string {
	env := []string{"PATH=" + commandPath, "SHELL=/bin/sh", "LANG=C.UTF-8"}
	home := "/"
	if h := os.Getenv("HOME"); h != "" && os.Geteuid() != 0 {
		home = h
	}
	env = append(env, "HOME="+home)
	if tz := os.Getenv("TZ"); tz != "" {
		env = append(env, "TZ="+tz)
	}
	return env
}

// shown is output as one line of bounded length, printable: lines are joined by blanks.
func shown(output []byte) string {
	s := strings.ToValidUTF8(string(output), "?")
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f {
			return ' '
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxCommandText {
		s = s[:maxCommandText] + "..."
	}
	return s
}

// verdict makes an error of the end of a command.
func verdict(argv0 string, err, stopped error, output string) error {
	name := filepath.Base(argv0)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.Is(stopped, context.DeadlineExceeded):
		return mail.Temporaryf(3, 0, "Command %s took too long", name)
	case stopped != nil:
		return mail.Temporaryf(3, 0, "Command %s was interrupted", name)
	case !errors.As(err, &exit):
		return misconfigured(err)
	}
	code := exit.ExitCode()
	text := "Command " + name + " failed with code " + strconv.Itoa(code)
	if code < 0 {
		text = "Command " + name + " was ended by a signal"
		if ended, isKnown := exit.Sys().(syscall.WaitStatus); isKnown && ended.Signaled() {
			text += " (" + ended.Signal().String() + ")"
		}
	}
	if output != "" {
		text += ": " + output
	}
	return &mail.Error{Status: statusOfExit(code), Text: text} // which says all that err does
}

// statusOfExit classifies the exit codes of commands: those of sysexits(3) as Postfix does it, but that trouble of
// this host's system (71, 72) is temporary; what nobody classified is temporary as well.
func statusOfExit(code int) mail.Status {
	permanent := func(subject, detail uint16) mail.Status {
		return mail.Status{Class: mail.Permanent, Subject: subject, Detail: detail}
	}
	switch code {
	case 65:
		return permanent(6, 0) // data format error
	case 67:
		return permanent(1, 1) // user unknown
	case 68:
		return permanent(1, 2) // host name unknown
	case 73:
		return permanent(2, 0) // can't create a file of the user's
	case 76:
		return permanent(5, 0) // protocol
	case 77:
		return permanent(7, 0) // permission denied
	case 78:
		return permanent(3, 5) // configuration
	case 64, 66, 69, 70, 74: // usage, no input, unavailable, bug, input or output
		return permanent(3, 0)
	}
	return mail.Status{Class: mail.Temporary, Subject: 3}
}
