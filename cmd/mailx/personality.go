package main

import (
	"path"
	"slices"
	"strings"
)

// personalities are the names under which the program is somebody else. Each turns the words behind the name into
// a command line of mailx. The name mailx-VERB is that verb, and any other name without a row is mailx.
func personalities() map[string]func(args []string) ([]string, error) {
	return map[string]func([]string) ([]string, error){
		"mail":       posixMail,
		"Mail":       posixMail,
		"sendmail":   sendmailAs(),
		"mailq":      sendmailAs("-bp"),
		"newaliases": sendmailAs("-bi"),
		"msmtp":      verbAs("msmtp"),
		"mutt":       verbAs("mutt-compat"),
	}
}

// sendmailAs is sendmail(8) under one of its names, with the option that the name stands for.
func sendmailAs(options ...string) func(args []string) ([]string, error) {
	return verbAs(append([]string{"sendmail"}, options...)...)
}

// verbAs is a verb, under a name of its own.
func verbAs(words ...string) func(args []string) ([]string, error) {
	return func(args []string) ([]string, error) { return slices.Concat(words, args), nil }
}

// personality looks at argv[0], and at the first word of a mailx that is used as POSIX mailx(1), and gives the command
// line without the program's name.
func personality(argv []string) ([]string, error) {
	if len(argv) == 0 {
		return nil, nil
	}
	name, args := path.Base(argv[0]), argv[1:]
	if be, ok := personalities()[name]; ok {
		return be(args)
	}
	if verb, ok := strings.CutPrefix(name, "mailx-"); ok { // a link beside another sendmail: mailx-sendmail
		if _, known := findVerb(verb); known {
			return append([]string{verb}, args...), nil
		}
	}
	if len(args) > 0 && isPosix(args[0]) {
		return posixMail(args)
	}
	return args, nil
}

// isPosix reports that the first word is an option of mailx(1), or an address, and not a verb or an option of ours.
func isPosix(first string) bool {
	switch {
	case first == "-h", first == "-":
		return false
	case first == "--", first == "--attach", first == "--account":
		return true
	case strings.HasPrefix(first, "--"):
		return false
	}
	return strings.HasPrefix(first, "-") || strings.Contains(first, "@")
}
