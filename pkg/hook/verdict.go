package hook

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"mailx/pkg/filter"
	"mailx/pkg/mail"
)

// maxText is how much of a line a peer, or the log, is told, in octets.
const maxText = 400

// verdicts is the table of exit codes. All others, signals, and commands that do not start or end are temporary, 4.3.0: doubt
// defers mail. So is 69, with which many programs say that a service of theirs does not answer.
func verdicts() []verdict {
	return []verdict{
		{65, mail.Status{Class: 5, Subject: 6}, "Message refused"},                 // EX_DATAERR
		{67, mail.Status{Class: 5, Subject: 1, Detail: 1}, "No such user here"},    // EX_NOUSER
		{68, mail.Status{Class: 5, Subject: 1, Detail: 2}, "No such host"},         // EX_NOHOST
		{75, mail.Status{Class: 4, Subject: 7, Detail: 1}, "Not now, try again"},   // EX_TEMPFAIL
		{77, mail.Status{Class: 5, Subject: 7, Detail: 1}, "Refused by a policy"},  // EX_NOPERM
		{100, mail.Status{Class: 5, Subject: 7, Detail: 1}, "Refused by a policy"}, // qmail-command(8): hard
		{111, mail.Status{Class: 4, Subject: 7, Detail: 1}, "Not now, try again"},  // qmail-command(8): soft
	}
}

// exitDiscard is qmail-command(8)'s: taken, and nothing more to be done.
const exitDiscard = 99

type verdict struct {
	code   int
	status mail.Status
	text   string
}

// judgeExit gives the verdict of an exit code other than 0. line is what the command says to the peer, if it has a row; it may start
// with a status of the same class, "5.7.26 No signature".
func judgeExit(code int, line string) error {
	if code == exitDiscard {
		return filter.ErrDiscard
	}
	for _, v := range verdicts() {
		if v.code != code {
			continue
		}
		status, text := cutStatus(line, v.status)
		if text == "" {
			text = v.text
		}
		return &mail.Error{Status: status, Text: text}
	}
	return nil
}

// cutStatus takes an enhanced status off a line. One of another class than the exit code's does not count.
func cutStatus(line string, status mail.Status) (mail.Status, string) {
	word, rest, _ := strings.Cut(line, " ")
	own, ok := mail.ParseStatus(word)
	if !ok {
		return status, line
	}
	if own.Class == status.Class {
		status = own
	}
	return status, strings.TrimSpace(rest)
}

// explain makes the outcome of a run that was not exit 0 an error: what the peer is told, and the cause for the log.
func explain(e Event, err error, text, stderr string) error {
	cause := fmt.Errorf("hook %s: %w", e, err)
	if stderr != "" {
		cause = fmt.Errorf("%w: %s", cause, stderr)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		said := judgeExit(exit.ExitCode(), text)
		var known *mail.Error
		switch {
		case errors.Is(said, filter.ErrDiscard):
			return said
		case errors.As(said, &known):
			known.Err = cause
			return known
		}
	}
	var status *mail.Error
	if errors.As(err, &status) { // of the writer that takes the message
		return err
	}
	return mail.Temporaryf(3, 0, "A check failed, try again later: %w", cause)
}

// firstLine is the first line of what a command has said, fit for a reply: printable ASCII, and not too long.
func firstLine(b []byte) string {
	line, _, _ := strings.Cut(strings.TrimLeft(string(b), " \t\r\n"), "\n")
	line = printable(strings.TrimRight(line, " \t\r"))
	return line[:min(len(line), maxText)]
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f {
			return '?'
		}
		return r
	}, s)
}
