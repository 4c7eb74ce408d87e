package main

import (
	"os"
	"path"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"mailx/pkg/maildir"
	"mailx/pkg/mbox"
)

func newList(e *env) *cli.Command {
	return &cli.Command{
		Name:      "list",
		Usage:     "list the messages of mailboxes",
		ArgsUsage: "[folder | directory | path | - ...]",
		Description: "A word without a slash is a folder, else a file; with one, the path of a Maildir or of a message. \"-\"\n" +
			"reads such words from standard input. Without words it is the inbox.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "user", Usage: "the mailbox of user `NAME`"},
			&cli.StringFlag{Name: "folder", Usage: "its folder `NAME`"},
			&cli.BoolFlag{Name: "new", Usage: "only messages in new/: no program has moved them from there"},
			&cli.BoolFlag{Name: "unseen", Usage: "only messages that were not read"},
			&cli.BoolFlag{Name: "flagged", Usage: "only flagged messages"},
			&cli.StringFlag{Name: "from", Usage: "only those with `TEXT` in From"},
			&cli.StringFlag{Name: "subject", Usage: "only those with `TEXT` in the subject"},
			&cli.StringFlag{Name: "since", Usage: "only those delivered after `WHEN`: a date, or an age such as 3d"},
			&cli.IntFlag{Name: "limit", Usage: "at most `N` messages", DefaultText: "all"},
			&cli.BoolFlag{Name: "reverse", Usage: "the latest first"},
			&cli.BoolFlag{Name: "mark", Usage: "they are not new any more: move them from new/ to cur/"},
			&cli.BoolFlag{Name: "paths", Usage: "print paths and nothing else"},
			&cli.BoolFlag{Name: "null", Aliases: []string{"0"}, Usage: "paths, on standard input too, end in NUL"},
			&cli.StringFlag{Name: "format", Usage: "print each message by the Go `TEMPLATE`"},
			&cli.BoolFlag{Name: "summary", Usage: "print the header summary of mailx(1); exit 1 if there is no mail"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print nothing; exit 1 if there is no such message"},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			l, err := e.newLister(c)
			if err != nil {
				return err
			}
			return l.run(c.Args().Slice())
		},
	}
}

// lister is one run of list.
type lister struct {
	env          *env
	finder       *pathFinder
	failed       failures
	user, folder string
	inboxDir     *maildir.Dir // opened when a folder is asked for
	filter       filter
	limit        int // messages still wanted; negative: all
	reverse      bool
	mark         bool
	marked       map[*maildir.Dir]bool // to be synced
	nul          bool
	out          recordPrinter
	words        *keywordReader
	search       *search    // nil: only the filter decides
	withFolders  bool       // the folders of a Maildir are listed with it
	ahead        []mailFile // messages that were named, for a search to look into several at once
	quiet        bool       // nothing is printed
	mustMatch    bool       // finding nothing is exit 1
	matched      bool       // a message was found
	err          error      // of the output
}

func (e *env) newLister(c *cli.Context) (*lister, error) {
	l := &lister{
		env: e, finder: newPathFinder(), failed: failures{env: e},
		user: c.String("user"), folder: c.String("folder"),
		filter: filter{
			newOnly: c.Bool("new"), unseen: c.Bool("unseen"), flagged: c.Bool("flagged"),
			from: strings.ToLower(c.String("from")), subject: strings.ToLower(c.String("subject")),
		},
		limit: -1, reverse: c.Bool("reverse"), mark: c.Bool("mark"), marked: map[*maildir.Dir]bool{}, nul: c.Bool("null"),
	}
	if c.IsSet("limit") {
		if l.limit = c.Int("limit"); l.limit < 0 {
			return nil, usagef("--limit wants a number of messages, not %d", l.limit)
		}
	}
	if c.IsSet("since") {
		t, err := parseSince(c.String("since"), e.now())
		if err != nil {
			return nil, err
		}
		l.filter.since = t
	}
	l.quiet = c.Bool("quiet")
	if l.mustMatch = c.Bool("quiet") || c.Bool("summary"); c.Bool("quiet") && !c.IsSet("limit") {
		l.limit = 1 // will do
	}
	l.words = newKeywordReader(l.finder.fsys)
	out, err := e.newRecordPrinter(c)
	l.out = out
	return l, err
}

func (l *lister) run(words []string) error {
	if len(words) > 0 && l.folder != "" {
		return usagef("--folder is for the inbox; %q says already what to list", words[0])
	}
	if len(words) == 0 {
		d, err := l.defaultDir()
		switch {
		case err == nil:
			l.list(d)
		case l.search == nil && l.inboxDir == nil && l.mustMatch && isNoMailbox(err):
		default:
			return readError(err)
		}
	}
	err := l.env.eachPath(words, l.nul, func(word string) {
		if l.err == nil && l.limit != 0 {
			l.word(word)
		}
	})
	l.readAhead()
	for d := range l.marked {
		l.failed.add(readError(d.Sync()))
	}
	if ferr := l.out.flush(); l.err == nil {
		l.err = ferr
	}
	if l.err != nil {
		return l.err
	}
	l.failed.add(readError(err))
	if err := l.failed.err(); err != nil || l.matched || !l.mustMatch {
		return err
	}
	return l.out.nothing(l.whose(words))
}

// isNoMailbox reports that nothing has ever been delivered to a user.
func isNoMailbox(err error) bool { return slices.Contains([]int{exNoInput, exNoUser}, exitCode(err)) }

// whose says where mail was looked for.
func (l *lister) whose(words []string) string {
	switch {
	case len(words) > 0:
		return "in " + strings.Join(words, ", ")
	case l.folder != "":
		return "in " + l.folder
	case l.user != "":
		return "for " + l.user
	}
	return "for " + loginName()
}

// defaultDir is the inbox, or its folder.
func (l *lister) defaultDir() (*maildir.Dir, error) {
	if l.inboxDir == nil {
		d, err := l.env.inbox(l.finder, l.user)
		if err != nil {
			return nil, err
		}
		l.inboxDir = d
	}
	return folderOf(l.inboxDir, l.folder)
}

// word lists what a word means.
func (l *lister) word(word string) {
	fi, err := os.Stat(word)
	m := l.finder.find(word)
	isFolder := !strings.Contains(word, "/") && (l.isFolder(word) || err != nil && m.dir == nil)
	if isFolder || err == nil && fi.IsDir() {
		l.readAhead()
	}
	switch {
	case isFolder:
		d, err := l.defaultDir()
		if err == nil {
			d, err = folderOf(d, word)
		}
		if err != nil {
			l.failed.add(readError(err))
			return
		}
		l.list(d)
	case err == nil && fi.IsDir():
		l.listDir(word)
	default:
		if err == nil && m.dir == nil && fi.Mode().IsRegular() && !l.quiet {
			l.noteMbox(word)
		}
		l.ahead = append(l.ahead, m.locate())
		if l.search == nil || len(l.ahead) == loadChunk {
			l.readAhead()
		}
		return
	}
}

// noteMbox says of a file with several messages that only the first one is looked at.
func (l *lister) noteMbox(name string) {
	f, err := os.Open(name)
	if err != nil {
		return
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return
	}
	s := mbox.NewScanner(f, fi.Size(), mbox.RD)
	if _, err := s.Next(); err != nil {
		return
	}
	if _, err := s.Next(); err == nil {
		l.env.note("%s is an mbox: only its first message is here; mailx import %[1]s --to FOLDER --create takes in all", name)
	}
}

// readAhead lists the messages that were named.
func (l *lister) readAhead() {
	files := l.ahead
	l.ahead = nil
	l.records(files, true)
}

func (l *lister) isFolder(word string) bool {
	d, err := l.defaultDir()
	if err == nil {
		_, err = d.Folder(folderElements(word)...)
	}
	return err == nil
}

// listDir lists a Maildir by its path, or one of its parts: DIR/new or DIR/cur.
func (l *lister) listDir(name string) {
	d, err := l.finder.maildir(name)
	if part := path.Base(path.Clean(name)); err != nil && (part == "new" || part == "cur") {
		if whole, werr := l.finder.maildir(path.Dir(path.Clean(name))); werr == nil {
			l.listPart(whole, part)
			return
		}
	}
	if err != nil {
		l.failed.add(readError(err))
		return
	}
	l.list(d)
}

// list lists a Maildir, and its folders if they are wanted.
func (l *lister) list(d *maildir.Dir) {
	l.listPart(d, "")
	if !l.withFolders {
		return
	}
	names, err := d.Folders()
	l.failed.add(readError(err))
	for _, name := range names {
		if l.err != nil || l.limit == 0 {
			return
		}
		f, err := d.Folder(strings.Split(name, ".")...)
		if err != nil {
			if !isGone(err) {
				l.failed.add(readError(err))
			}
			continue
		}
		l.listPart(f, "")
	}
}

// listPart lists a Maildir, or only what is in its part new or cur.
func (l *lister) listPart(d *maildir.Dir, part string) {
	messages, err := d.List()
	if err != nil {
		l.failed.add(readError(err))
		return
	}
	if l.reverse {
		slices.Reverse(messages)
	}
	files := make([]mailFile, 0, len(messages))
	for _, m := range messages {
		if f := (mailFile{dir: d, msg: m}); l.filter.byName(f) && strings.HasPrefix(m.File, part) {
			files = append(files, f)
		}
	}
	l.records(files, false)
}

// records prints messages. One that was named must be there; one that was only seen may have gone again.
func (l *lister) records(files []mailFile, named bool) {
	l.words.look()
	load := loader{need: max(l.filter.need(), l.out.need)}
	if l.limit > 0 {
		load.chunk = min(max(l.limit, loadWorkers), loadChunk)
	}
	if l.search != nil {
		load.look = l.search.looker(load.need)
	}
	if named {
		files = slices.DeleteFunc(files, func(m mailFile) bool { return !l.filter.byName(m) })
		load.need = max(load.need, needTime)
	}
	load.each(files, func(r *record) bool {
		switch {
		case l.limit == 0 || l.err != nil:
			return false
		case r.err != nil && (named || !isGone(r.err)):
			l.failed.add(readError(r.err))
			return true
		case r.err != nil || r.skip || !l.filter.byContent(r):
			return true
		}
		l.limit--
		l.matched = true
		l.moveToCur(r)
		if l.out.words {
			words, err := l.words.of(r.mailFile)
			l.failed.add(readError(err))
			r.keywords = words
		}
		l.err = l.out.print(r)
		return true
	})
}

// moveToCur is --mark: the record has its new path then.
func (l *lister) moveToCur(r *record) {
	if !l.mark || !r.msg.New || r.dir == nil {
		return
	}
	now, err := r.dir.ToCur(r.msg)
	if err != nil && !isGone(err) {
		l.failed.add(readError(err))
	}
	if err == nil {
		r.msg = now
		l.marked[r.dir] = true
	}
}
