package main

import (
	"os"
	"slices"
	"strings"
)

// posixMail turns the send mode of mailx(1), `mail -s subject address ... < body`, into the command line of `mailx
// send`. bsd-mailx, GNU mailutils and s-nail disagree about -a and -A; see posixAttach.
func posixMail(args []string) ([]string, error) {
	return posixSend(args, func(name string) bool {
		info, err := os.Stat(name)
		return err == nil && info.Mode().IsRegular()
	})
}

// posixSend is the pure part; isFile says which names are files.
func posixSend(args []string, isFile func(string) bool) ([]string, error) {
	options := []string{"send"}
	var words []string
	for len(args) > 0 {
		arg := args[0]
		switch {
		case arg == "--":
			words, args = append(words, args[1:]...), nil
			continue
		case arg == "-" || !strings.HasPrefix(arg, "-"):
			words, args = append(words, arg), args[1:]
			continue
		}
		more, used, err := posixOption(args, isFile)
		if err != nil {
			return nil, err
		}
		options, args = append(options, more...), args[used:]
	}
	if len(words) == 0 && !slices.Contains(options, "--from-header") {
		return nil, usagef("no recipients")
	}
	return append(append(options, "--"), words...), nil
}

// posixOption reads one word of options, "-s", "-shello", "-is hello", and says how many words it used.
func posixOption(args []string, isFile func(string) bool) (options []string, used int, err error) {
	if name, ok := strings.CutPrefix(args[0], "--"); ok {
		return posixLong(name, args)
	}
	letters := args[0][1:]
	for i := range len(letters) {
		letter := letters[i]
		switch {
		case letter == 'E':
			return append(options, "--skip-empty"), 1 + posixSwallow(args[1:]), nil
		case letter == 't': // s-nail, mailutils: the message has its header
			options = append(options, "--from-header")
			continue
		case letter == 'v':
			options = append(options, "--verbose")
			continue
		case strings.IndexByte("in~dBFN", letter) >= 0: // nothing that matters when the body is not typed in
			continue
		case strings.IndexByte("scbraAS", letter) < 0:
			return nil, 0, usagef("unknown option -%c", letter)
		}
		value, used, err := posixValue(letters[i+1:], args)
		if err != nil {
			return nil, 0, usagef("option -%c needs a value", letter)
		}
		more, err := posixMeaning(letter, value, isFile)
		return append(options, more...), used, err
	}
	return options, 1, nil
}

func posixValue(glued string, args []string) (value string, used int, err error) {
	switch {
	case glued != "":
		return glued, 1, nil
	case len(args) < 2:
		return "", 0, usagef("no value")
	}
	return args[1], 2, nil
}

// posixSwallow drops the word behind -E that older mail(1) took for a command: -E 'set escape'.
func posixSwallow(next []string) int {
	if len(next) > 0 && (strings.HasPrefix(next[0], "set ") || strings.HasPrefix(next[0], "unset ")) {
		return 1
	}
	return 0
}

// posixLong reads the two exact forms of -a and -A, and what GNU mailutils calls the common options.
func posixLong(name string, args []string) (options []string, used int, err error) {
	name, value, glued := strings.Cut(name, "=")
	switch name {
	case "attach", "account", "subject", "cc", "bcc", "from":
	default:
		return nil, 0, usagef("unknown option --%s", name)
	}
	if glued {
		return []string{"--" + name + "=" + value}, 1, nil
	}
	if len(args) < 2 {
		return nil, 0, usagef("option --%s needs a value", name)
	}
	return []string{"--" + name + "=" + args[1]}, 2, nil
}

// posixMeaning says what an option with a value is for send.
func posixMeaning(letter byte, value string, isFile func(string) bool) ([]string, error) {
	switch letter {
	case 's':
		return []string{"--subject=" + value}, nil
	case 'c':
		return []string{"--cc=" + value}, nil
	case 'b':
		return []string{"--bcc=" + value}, nil
	case 'r':
		return []string{"--from=" + value}, nil
	case 'S':
		return posixVariable(value), nil
	default:
		return posixAttach(letter, value, isFile)
	}
}

// posixVariable takes the variables that say something about a message or where it goes; all others are accepted. A mta
// that is a program of this host, as /usr/sbin/sendmail is, means what happens anyway.
func posixVariable(assignment string) []string {
	name, value, _ := strings.Cut(assignment, "=")
	switch {
	case value == "":
	case name == "from":
		return []string{"--from=" + value}
	case name == "smtp", name == "mta" && strings.Contains(value, "://") && !strings.HasPrefix(value, "file://"):
		return []string{"--server=" + value}
	}
	return nil
}

// posixAttach reads -a and -A. bsd-mailx: -a is a header. mailutils: -a is a header, -A a file. s-nail: -a is a file, -A
// an account. What X looks like decides; when it looks like nothing, the error names both readings.
func posixAttach(letter byte, x string, isFile func(string) bool) ([]string, error) {
	switch {
	case letter == 'a' && isHeader(x):
		return []string{"--header=" + x}, nil
	case isFile(x):
		return []string{"--attach=" + x}, nil
	case letter == 'a':
		return nil, usagef("-a %q is neither a header (Name: value) nor a file", x)
	}
	return []string{"--account=" + x}, nil
}

// isHeader reports "Name: value" (RFC 5322 §2.2: printable, no blank in the name).
func isHeader(s string) bool {
	name, value, ok := strings.Cut(s, ":")
	if !ok || name == "" || !(value == "" || value[0] == ' ' || value[0] == '\t') {
		return false
	}
	for i := range len(name) {
		if name[i] <= ' ' || name[i] >= 0x7f {
			return false
		}
	}
	return true
}
