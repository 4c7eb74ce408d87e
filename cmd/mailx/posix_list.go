package main

import "strings"

// list is the command line of `mailx list` for a mailx(1) that reads: -e says by its exit code whether there is mail, and
// all else is a header summary, for nobody types commands here.
func (l *posixLine) list() ([]string, error) {
	if l.sendsOnly != "" {
		return nil, usagef("%s is for sending, and -e, -H, -f and -u are for reading", l.sendsOnly)
	}
	options := []string{"list", "--summary"}
	if l.check {
		options[1] = "--quiet"
	}
	if l.user != "" {
		options = append(options, "--user="+l.user)
	}
	switch {
	case len(l.words) == 0:
		return options, nil
	case !l.folder:
		return nil, usagef("%s: a mailbox is named by -f, that of a user by -u; nothing is sent with -e or -H", printable(l.words[0]))
	case len(l.words) > 1:
		return nil, usagef("-f: one folder, not %s too", printable(l.words[1]))
	}
	more, err := posixFolder(l.words[0])
	return append(options, more...), err
}

// posixFolder reads the name of a folder as mailx(1) has it: % is the inbox, %user that of a user, +name a folder.
func posixFolder(name string) ([]string, error) {
	scheme, rest, isURL := strings.Cut(name, "://")
	switch {
	case isURL && (scheme == "maildir" || scheme == "file"):
		return []string{"--", rest}, nil
	case isURL:
		return nil, usagef("-f %s: mailx fetch collects mail from other hosts", printable(name))
	case name == "%", name == "&":
		return nil, nil
	case strings.HasPrefix(name, "%"):
		return []string{"--user=" + name[1:]}, nil
	case strings.HasPrefix(name, "+") && len(name) > 1:
		return []string{"--folder=" + name[1:]}, nil
	}
	return []string{"--", name}, nil
}
