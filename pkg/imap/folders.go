package imap

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"mailx/pkg/mail"
	"mailx/pkg/mailbox"
	"mailx/pkg/wire"
)

// isLost reports that a mailbox was removed or replaced while it was open.
func isLost(err error) bool {
	return errors.Is(err, mailbox.ErrReset) || errors.Is(err, fs.ErrNotExist)
}

// folder reads the name of a mailbox. What is not modified UTF-7 is nobody's name.
func (p *parser) folder() string {
	name, ok := mailbox.DecodeUTF7(p.astring())
	if p.err == nil && !ok {
		return "." // refused everywhere with the error that fits
	}
	if strings.EqualFold(name, mailbox.Inbox) {
		return mailbox.Inbox
	}
	return name
}

// oneFolder parses a command with one mailbox as its argument.
func (d *dialog) oneFolder() (string, error) {
	p := d.args()
	name := p.folder()
	return name, p.end()
}

// selectBox is "SELECT" SP mailbox (RFC 3501 §6.3.1).
func (d *dialog) selectBox(ctx context.Context, _ *wire.Args) error { return d.open(ctx, false) }

// examine is "EXAMINE" SP mailbox (RFC 3501 §6.3.2).
func (d *dialog) examine(ctx context.Context, _ *wire.Args) error { return d.open(ctx, true) }

func (d *dialog) open(ctx context.Context, readOnly bool) error {
	name, err := d.oneFolder()
	if err != nil {
		return err
	}
	d.leave() // also if the next one can't be opened: RFC 3501 §6.3.1
	box, err := d.store.Open(ctx, name)
	if err != nil {
		return err
	}
	d.sel = &selected{box: box, readOnly: readOnly, recent: map[uint32]bool{}}
	if !readOnly {
		taken, err := box.TakeNew(ctx)
		if err != nil {
			d.leave()
			return err
		}
		for _, uid := range taken {
			d.sel.recent[uid] = true
		}
	}
	for _, m := range box.Messages() {
		d.sel.view = append(d.sel.view, known{m.UID, m.ModSeq})
	}
	d.sel.told = box.HighestModSeq()
	d.state = stateSelected
	return d.describe()
}

// describe sends what RFC 3501 §6.3.1 wants to be known of a mailbox.
func (d *dialog) describe() error {
	s := d.sel
	flags := strings.Join(append([]string{`\Answered \Flagged \Deleted \Seen \Draft`}, s.keywordsInUse()...), " ")
	permanent := flags + ` \*`
	if s.readOnly {
		permanent = ""
	}
	lines := []string{
		"FLAGS (" + flags + ")",
		"OK [PERMANENTFLAGS (" + permanent + ")] Flags permitted",
		fmt.Sprintf("%d EXISTS", len(s.view)),
		fmt.Sprintf("%d RECENT", s.countRecent()),
		fmt.Sprintf("OK [UIDVALIDITY %d] UIDs valid", s.box.UIDValidity()),
		fmt.Sprintf("OK [UIDNEXT %d] Predicted next UID", s.box.UIDNext()),
	}
	if i := slices.IndexFunc(s.box.Messages(), func(m mailbox.Message) bool { return !m.Has('S') }); i >= 0 {
		lines = append(lines, fmt.Sprintf("OK [UNSEEN %d] First unseen", i+1))
	}
	for _, line := range lines {
		if err := d.line("* " + line); err != nil {
			return err
		}
	}
	if s.readOnly {
		return d.say("READ-ONLY", "EXAMINE completed")
	}
	return d.say("READ-WRITE", "SELECT completed")
}

func (s *selected) keywordsInUse() []string {
	words := []string{"$Forwarded"}
	for _, m := range s.box.Messages() {
		for _, k := range m.Keywords {
			if !slices.Contains(words, k) && len(words) < 100 {
				words = append(words, k)
			}
		}
	}
	slices.Sort(words)
	return words
}

// closeBox is RFC 3501 §6.4.2: what is marked as deleted goes, and nobody is told.
func (d *dialog) closeBox(ctx context.Context, _ *wire.Args) error {
	if d.sel.readOnly {
		d.leave()
		return nil
	}
	_, err := d.sel.box.Expunge(ctx, d.sel.isDeleted)
	d.leave()
	return err
}

// isDeleted is for what the client knows of only.
func (s *selected) isDeleted(m *mailbox.Message) bool {
	i := s.indexOf(m.UID)
	return m.Has('T') && i < len(s.view) && s.view[i].uid == m.UID
}

// unselect is RFC 3691.
func (d *dialog) unselect(context.Context, *wire.Args) error {
	d.leave()
	return nil
}

// create is "CREATE" SP mailbox (RFC 3501 §6.3.3). A "/" at the end says that folders will follow below.
func (d *dialog) create(_ context.Context, _ *wire.Args) error {
	name, err := d.oneFolder()
	if err != nil {
		return err
	}
	return d.store.Create(strings.TrimSuffix(name, "/"))
}

// deleteBox is "DELETE" SP mailbox (RFC 3501 §6.3.4).
func (d *dialog) deleteBox(_ context.Context, _ *wire.Args) error {
	name, err := d.oneFolder()
	if err != nil {
		return err
	}
	return d.store.Delete(name)
}

// rename is "RENAME" SP mailbox SP mailbox (RFC 3501 §6.3.5).
func (d *dialog) rename(ctx context.Context, _ *wire.Args) error {
	p := d.args()
	old := p.folder()
	p.sp()
	name := p.folder()
	if err := p.end(); err != nil {
		return err
	}
	return d.store.Rename(ctx, old, strings.TrimSuffix(name, "/"))
}

// subscribe is "SUBSCRIBE" SP mailbox (RFC 3501 §6.3.6).
func (d *dialog) subscribe(ctx context.Context, _ *wire.Args) error {
	return d.subscription(ctx, true)
}

// unsubscribe is "UNSUBSCRIBE" SP mailbox (RFC 3501 §6.3.7).
func (d *dialog) unsubscribe(ctx context.Context, _ *wire.Args) error {
	return d.subscription(ctx, false)
}

func (d *dialog) subscription(ctx context.Context, on bool) error {
	name, err := d.oneFolder()
	if err != nil {
		return err
	}
	return d.store.Subscribe(ctx, strings.TrimSuffix(name, "/"), on)
}

// namespace is RFC 2342.
func (d *dialog) namespace(context.Context, *wire.Args) error {
	return d.line(`* NAMESPACE (("" "/")) NIL NIL`)
}

// pattern parses SP reference SP list-mailbox.
func (d *dialog) pattern() (pattern string, isRoot bool, err error) {
	p := d.args()
	reference := p.astring()
	p.sp()
	name := ""
	if p.at('"') || p.at('{') {
		name = p.string()
	} else if name = p.while(func(b byte) bool { return isAstringChar(b) || b == '%' || b == '*' }); name == "" {
		p.fail("pattern")
	}
	if len(reference)+len(name) > maxPatterns {
		p.fail("shorter pattern")
	}
	return reference + name, name == "", p.end()
}

// list is "LIST" SP mailbox SP list-mailbox (RFC 3501 §6.3.8).
func (d *dialog) list(_ context.Context, _ *wire.Args) error {
	pattern, isRoot, err := d.pattern()
	if err != nil {
		return err
	}
	if isRoot {
		return d.line(`* LIST (\Noselect) "/" ""`)
	}
	folders, err := d.store.Folders()
	if err != nil {
		return err
	}
	for _, f := range withParents(append([]string{mailbox.Inbox}, folders...)) {
		if !matchName(pattern, f.name) {
			continue
		}
		if err := d.line("* LIST (" + f.attributes() + `) "/" ` + quoteName(f.name)); err != nil {
			return err
		}
	}
	return nil
}

// lsub is "LSUB" SP mailbox SP list-mailbox (RFC 3501 §6.3.9). A name that only stands above a subscribed one is
// \Noselect.
func (d *dialog) lsub(_ context.Context, _ *wire.Args) error {
	pattern, isRoot, err := d.pattern()
	if err != nil {
		return err
	}
	if isRoot {
		return d.line(`* LSUB (\Noselect) "/" ""`)
	}
	names, err := d.store.Subscribed()
	if err != nil {
		return err
	}
	for _, f := range withParents(names) {
		if !matchName(pattern, f.name) || f.isImplied && !strings.Contains(pattern, "%") {
			continue
		}
		attributes := ""
		if f.isImplied {
			attributes = `\Noselect`
		}
		if err := d.line("* LSUB (" + attributes + `) "/" ` + quoteName(f.name)); err != nil {
			return err
		}
	}
	return nil
}

// listed is one name in a listing.
type listed struct {
	name        string
	isImplied   bool // it is not there itself, but something below it is
	hasChildren bool
}

func (l listed) attributes() string {
	a := `\HasNoChildren` // RFC 3348
	if l.hasChildren {
		a = `\HasChildren`
	}
	if l.isImplied {
		a = `\Noselect ` + a
	}
	return a
}

// withParents adds the levels above each name, sorted with the inbox first.
func withParents(names []string) []listed {
	byName := map[string]*listed{}
	for _, name := range names {
		byName[name] = &listed{name: name}
	}
	for _, name := range names {
		for i := strings.LastIndexByte(name, '/'); i >= 0; i = strings.LastIndexByte(name[:i], '/') {
			parent := name[:i]
			if byName[parent] == nil {
				byName[parent] = &listed{name: parent, isImplied: true}
			}
			byName[parent].hasChildren = true
		}
	}
	list := make([]listed, 0, len(byName))
	for _, l := range byName {
		list = append(list, *l)
	}
	slices.SortFunc(list, func(a, b listed) int {
		if (a.name == mailbox.Inbox) != (b.name == mailbox.Inbox) {
			if a.name == mailbox.Inbox {
				return -1
			}
			return 1
		}
		return strings.Compare(a.name, b.name)
	})
	return list
}

// matchName compares a name with a pattern in modified UTF-7: "*" is anything, "%" anything without "/". The inbox
// matches in any letter case.
func matchName(pattern, name string) bool {
	if name == mailbox.Inbox {
		pattern = strings.ToUpper(pattern)
	}
	return match(pattern, mailbox.EncodeUTF7(name))
}

// match takes time in proportion to both lengths: reached[i] says that the pattern up to here can end at name[:i].
func match(pattern, name string) bool {
	reached := make([]bool, len(name)+1)
	reached[0] = true
	for i := 0; i < len(pattern); i++ {
		c := pattern[i]
		if c == '*' || c == '%' {
			for j := 1; j <= len(name); j++ {
				reached[j] = reached[j] || reached[j-1] && (c == '*' || name[j-1] != '/')
			}
			continue
		}
		for j := len(name); j > 0; j-- {
			reached[j] = reached[j-1] && name[j-1] == c
		}
		reached[0] = false
	}
	return reached[len(name)]
}

// status is "STATUS" SP mailbox SP "(" status-att *(SP status-att) ")" (RFC 3501 §6.3.10).
func (d *dialog) status(ctx context.Context, _ *wire.Args) error {
	p := d.args()
	name := p.folder()
	p.sp()
	var items []string
	p.list(20, false, func() { items = append(items, p.word()) })
	if err := p.end(); err != nil {
		return err
	}
	for _, item := range items {
		if !slices.Contains([]string{"MESSAGES", "RECENT", "UIDNEXT", "UIDVALIDITY", "UNSEEN"}, item) {
			return mail.Permanentf(5, 4, "Unknown status item")
		}
	}
	box, err := d.store.Open(ctx, name)
	if err != nil {
		return err
	}
	defer box.Close()
	return d.line("* STATUS " + quoteName(name) + " (" + statusOf(box, items) + ")")
}

func statusOf(box *mailbox.Box, items []string) string {
	unseen, fresh := 0, 0
	for _, m := range box.Messages() {
		if !m.Has('S') {
			unseen++
		}
		if m.New {
			fresh++
		}
	}
	var parts []string
	for _, item := range items {
		n := uint64(0)
		switch item {
		case "MESSAGES":
			n = uint64(len(box.Messages()))
		case "RECENT":
			n = uint64(fresh)
		case "UIDNEXT":
			n = uint64(box.UIDNext())
		case "UIDVALIDITY":
			n = uint64(box.UIDValidity())
		case "UNSEEN":
			n = uint64(unseen)
		}
		parts = append(parts, fmt.Sprintf("%s %d", item, n))
	}
	return strings.Join(parts, " ")
}
