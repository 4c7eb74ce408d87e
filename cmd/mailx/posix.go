package main

import (
	"os"
	"slices"
	"strings"
)

// posixMail turns a command line of mailx(1) into one of `mailx send`: `mail -s subject address ... < body`; or with -e, -H,
// -f or -u into one of `mailx list`. bsd-mailx, GNU mailutils and s-nail disagree about -a and -A; see posixAttach.
func posixMail(args []string) ([]string, error) {
	return posixWords(args, func(name string) bool {
		info, err := os.Stat(name)
		return err == nil && info.Mode().IsRegular()
	})
}

// posixLine is a command line of mailx(1), read.
type posixLine struct {
	isFile    func(string) bool
	send      []string // options of send
	sendsOnly string   // the first option that says something about a message to be sent, "-s"
	words     []string // recipients, or the folder of -f

	about string // --help or --version

	check, summary, folder bool   // -e, -H, -f
	user                   string // -u

	variables map[string]string // of -S, that say where the mail goes; and -f and -F behind --
}

// posixWords is the pure part; isFile says which names are files.
func posixWords(args []string, isFile func(string) bool) ([]string, error) {
	l := &posixLine{isFile: isFile, variables: map[string]string{}}
	for len(args) > 0 {
		arg := args[0]
		switch {
		case arg == "--":
			if err := l.rest(args[1:]); err != nil {
				return nil, err
			}
			args = nil
			continue
		case arg == "-" || !strings.HasPrefix(arg, "-"):
			l.words, args = append(l.words, arg), args[1:]
			continue
		}
		used, err := l.option(args)
		if err != nil {
			return nil, err
		}
		args = args[used:]
	}
	return l.command()
}

// command is what the line is for mailx.
func (l *posixLine) command() ([]string, error) {
	if l.about != "" {
		return []string{l.about}, nil
	}
	if l.check || l.summary || l.folder || l.user != "" {
		return l.list()
	}
	options := slices.Concat([]string{"send"}, l.send, l.way())
	if len(l.words) == 0 && !slices.Contains(options, "--from-header") {
		return nil, usagef("no recipients; to see what has come there are mail -H, mailx list and mailx show")
	}
	for i, word := range l.words {
		if err := checkRecipient(word); err != nil {
			return nil, err
		}
		l.words[i] = posixAddresses(word)
	}
	return append(append(options, "--"), l.words...), nil
}

// checkRecipient refuses what looks like something else that mailx(1) knows or once knew: a file, a folder, a command. To take it
// for the name of somebody would lose the mail.
func checkRecipient(word string) error {
	isAddress := strings.Contains(word, "@")
	switch {
	case strings.HasPrefix(word, "-") && !isAddress:
		return usagef("%s is no address; options of sendmail come last, as in -s subject address -- -f sender", printable(word))
	case strings.HasPrefix(word, "|"), !isAddress && (strings.HasPrefix(word, "+") || strings.Contains(word, "/")):
		return usagef("%s is no address; mail to files and commands is for aliases, and send --save-to keeps a copy", printable(word))
	}
	return nil
}

// rest reads what stands behind "--". Behind recipients s-nail, and once bsd-mailx, hand it to sendmail: mail -s subject
// address -- -f sender. Else, and whatever looks like an address, it is recipients.
func (l *posixLine) rest(args []string) error {
	if len(l.words) == 0 {
		l.words = args
		return nil
	}
	for len(args) > 0 {
		word := args[0]
		if args = args[1:]; len(word) < 2 || word[0] != '-' {
			l.words = append(l.words, word)
			continue
		}
		switch letter := word[1]; {
		case strings.IndexByte("fFr", letter) >= 0:
			value := word[2:]
			if value == "" {
				if len(args) == 0 {
					return usagef("option -%c behind -- needs a value", letter)
				}
				value, args = args[0], args[1:]
			}
			l.variables["-"+strings.Replace(string(letter), "r", "f", 1)] = value
		case strings.Contains(word, "@"):
			l.words = append(l.words, word)
		case strings.IndexByte("oOitv", letter) < 0:
			return usagef("option %s behind --: of those of sendmail there are -f, -F and -r; an address goes in front", printable(word))
		}
	}
	return nil
}

// option reads one word of options, "-s", "-shello", "-is hello", and says how many words it used.
func (l *posixLine) option(args []string) (used int, err error) {
	if name, ok := strings.CutPrefix(args[0], "--"); ok {
		return l.long(name, args)
	}
	letters := args[0][1:]
	for i := range len(letters) {
		letter := letters[i]
		switch {
		case letter == 'E':
			l.send = append(l.send, "--skip-empty")
			return 1 + posixSwallow(args[1:]), nil
		case letter == 'V':
			l.about = "--version"
			return 1, nil
		case l.plain(letter):
			continue
		case strings.IndexByte("scbraASu:CM", letter) < 0:
			return 0, usagef("unknown option -%s", printable(letters[i:i+1]))
		}
		value, used, err := posixValue(letters[i+1:], args)
		if err != nil {
			return 0, usagef("option -%c needs a value", letter)
		}
		return used, l.value(letter, value)
	}
	return 1, nil
}

// plain takes an option without a value. Much of what there is matters only to people who type.
func (l *posixLine) plain(letter byte) bool {
	switch letter {
	case 'e':
		l.check = true
	case 'H':
		l.summary = true
	case 'f':
		l.folder = true
	case 't': // s-nail, mailutils: the message has its header
		l.sending("-t", "--from-header")
	case 'v':
		l.send = append(l.send, "--verbose")
	default:
		return strings.IndexByte("in~dBFNIR#.", letter) >= 0
	}
	return true
}

// sending notes options of send that make no sense when mail is read.
func (l *posixLine) sending(name string, options ...string) {
	if l.sendsOnly == "" {
		l.sendsOnly = name
	}
	l.send = append(l.send, options...)
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

// long reads the two exact forms of -a and -A, and the long options of GNU mailutils that scripts use.
func (l *posixLine) long(name string, args []string) (used int, err error) {
	name, value, glued := strings.Cut(name, "=")
	plain := map[string]byte{"to": 't', "exist": 'e', "headers": 'H', "file": 'f', "ignore": 'i', "norc": 'n', "nosum": 'N', "debug": 'd'}
	valued := map[string]byte{"user": 'u', "append": 'h', "return-address": 'r', "attach": 0, "account": 0, "subject": 's', "cc": 'c', "bcc": 'b',
		"from": 'r'}
	if name == "help" || name == "version" {
		l.about = "--" + name
		return 1, nil
	}
	if letter, known := plain[name]; known && (!glued || name == "file") {
		if l.plain(letter); glued {
			l.words = append(l.words, value)
		}
		return 1, nil
	}
	letter, known := valued[name]
	if !known {
		return 0, usagef("unknown option --%s", printable(name))
	}
	used = 1
	if !glued {
		if len(args) < 2 {
			return 0, usagef("option --%s needs a value", name)
		}
		value, used = args[1], 2
	}
	if letter == 0 {
		l.sending("--"+name, "--"+name+"="+value)
		return used, nil
	}
	return used, l.value(letter, value)
}

// value takes an option with its value. 'h' stands for --append, which is a header whatever it looks like, as -C of s-nail is.
func (l *posixLine) value(letter byte, value string) error {
	names := map[byte]string{'c': "cc", 'b': "bcc", 'r': "from", 'h': "header", 'C': "header"}
	switch letter {
	case 'u':
		if l.user = value; value == "" {
			return usagef("-u needs the name of a user")
		}
	case 's': // scripts encode what is not ASCII themselves, as older mailx did not
		l.sending("-s", "--subject="+decodedWords(value))
	case 'M': // s-nail
		l.sending("-M", "--header=Content-Type: "+value)
	case 'c', 'b':
		l.sending("-"+string(letter), "--"+names[letter]+"="+posixAddresses(value))
	case ':': // s-nail: which of its files it reads
	case 'S':
		return l.variable(value)
	case 'a', 'A':
		option, err := posixAttach(letter, value, l.isFile)
		if err != nil {
			return err
		}
		l.sending("-"+string(letter), option)
	default:
		l.sending("-"+string(letter), "--"+names[letter]+"="+value)
	}
	return nil
}

// posixAddresses puts commas where only blanks are between addresses, as in "$MAILTO". A word with a dot and without @ is a part
// of something else, and so is what has other marks.
func posixAddresses(value string) string {
	words := strings.FieldsFunc(value, func(r rune) bool { return r == ' ' || r == '\t' || r == ',' })
	isOdd := func(word string) bool { return strings.Contains(word, ".") && !strings.Contains(word, "@") }
	if len(words) < 2 || strings.ContainsAny(value, `<>"():;[]\`) || slices.ContainsFunc(words, isOdd) {
		return value
	}
	return strings.Join(words, ", ")
}

// posixAttach reads -a and -A. bsd-mailx: -a is a header. mailutils: -a is a header, -A a file. s-nail: -a is a file, -A
// an account. What X looks like decides; when it looks like nothing, the error names both readings.
func posixAttach(letter byte, x string, isFile func(string) bool) (string, error) {
	switch {
	case letter == 'a' && isHeader(x):
		return "--header=" + x, nil
	case isFile(x):
		return "--attach=" + x, nil
	case letter == 'a':
		return "", usagef("-a %q is neither a header (Name: value) nor a file", x)
	}
	return "--account=" + x, nil
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
