package mailbox

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mailx/pkg/maildir"
	"mailx/pkg/vfs"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newDir(t testing.TB, fsys vfs.FS, name string) *maildir.Dir {
	t.Helper()
	d, err := maildir.Create(fsys, name)
	must(t, err)
	return d
}

func deliver(t testing.TB, d *maildir.Dir, text string) maildir.Message {
	t.Helper()
	w, err := d.Deliver()
	must(t, err)
	_, err = io.WriteString(w, text)
	must(t, err)
	must(t, w.Commit())
	return w.Message()
}

func open(t testing.TB, fsys vfs.FS, d *maildir.Dir) *Box {
	t.Helper()
	b, err := Open(context.Background(), fsys, d)
	must(t, err)
	t.Cleanup(b.Close)
	return b
}

// show is "uid:flags:keywords" of all messages.
func show(b *Box) string {
	var all []string
	for _, m := range b.Messages() {
		all = append(all, fmt.Sprintf("%d:%s:%s", m.UID, m.Flags, strings.Join(m.Keywords, ",")))
	}
	return strings.Join(all, " ")
}

func expect(t testing.TB, b *Box, want string) {
	t.Helper()
	if got := show(b); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

const text = "Subject: x\n\nbody\n"

func TestForeignChanges(t *testing.T) {
	ctx := context.Background()
	fsys := vfs.NewMem()
	d := newDir(t, fsys, "box")
	one, two := deliver(t, d, text), deliver(t, d, text)
	b := open(t, fsys, d)
	expect(t, b, "1:: 2::")
	other := open(t, fsys, d)
	before := b.HighestModSeq()

	_, err := d.SetFlags(one, "FS")
	must(t, err)
	must(t, d.Remove(two))
	deliver(t, d, text)
	must(t, b.Sync(ctx))
	expect(t, b, "1:FS: 3::")
	if b.HighestModSeq() <= before || b.Find(1).ModSeq <= before {
		t.Errorf("modseq %d of the box, %d of the message, was %d", b.HighestModSeq(), b.Find(1).ModSeq, before)
	}
	if !other.Changed() {
		t.Error("another box does not see the change")
	}
	must(t, other.Sync(ctx))
	expect(t, other, "1:FS: 3::")
	expect(t, open(t, fsys, d), "1:FS: 3::")
	if got := open(t, fsys, d).UIDValidity(); got != b.UIDValidity() {
		t.Errorf("UIDVALIDITY %d, was %d", got, b.UIDValidity())
	}
}

func TestChangeAndExpunge(t *testing.T) {
	ctx := context.Background()
	fsys := vfs.NewMem()
	d := newDir(t, fsys, "box")
	for range 3 {
		deliver(t, d, text)
	}
	b := open(t, fsys, d)
	taken, err := b.TakeNew(ctx)
	must(t, err)
	if !slices.Equal(taken, []uint32{1, 2, 3}) {
		t.Errorf("took %v", taken)
	}
	if again, err := open(t, fsys, d).TakeNew(ctx); len(again) != 0 || err != nil {
		t.Errorf("took %v again, %v", again, err)
	}
	must(t, b.Change(ctx, []uint32{1, 2, 9}, Change{Add: "ST", AddKeywords: []string{"$Junk", "blue"}}))
	expect(t, b, "1:ST:$Junk,blue 2:ST:$Junk,blue 3::")
	must(t, b.Change(ctx, []uint32{2}, Change{Remove: "T", RemoveKeywords: []string{"$JUNK"}}))
	must(t, b.Change(ctx, []uint32{3}, Change{Replace: true, Add: "T", AddKeywords: []string{"red"}}))
	expect(t, b, "1:ST:$Junk,blue 2:S:blue 3:T:red")
	expect(t, open(t, fsys, d), "1:ST:$Junk,blue 2:S:blue 3:T:red")
	gone, err := b.Expunge(ctx, func(m *Message) bool { return m.Has('T') && m.UID != 3 })
	must(t, err)
	if !slices.Equal(gone, []uint32{1}) {
		t.Errorf("expunged %v", gone)
	}
	expect(t, open(t, fsys, d), "2:S:blue 3:T:red")
	if err := b.Change(ctx, []uint32{2}, Change{AddKeywords: []string{"two words"}}); err != ErrKeywords {
		t.Errorf("bad keyword: %v", err)
	}
}

// R6: whatever is lost, removed or set back, a pair of UIDVALIDITY and UID is never used again.
func TestNeverReused(t *testing.T) {
	ctx := context.Background()
	fsys := vfs.NewMem()
	clock := time.Unix(1_700_000_000, 0)
	store, err := OpenStore(fsys, "/mail/bob")
	must(t, err)
	store.inbox.Now = func() time.Time { return clock }
	seen := map[[2]uint32]string{}
	look := func(name, what string) *Box {
		t.Helper()
		b, err := store.Open(ctx, name)
		must(t, err)
		t.Cleanup(b.Close)
		for _, m := range b.Messages() {
			key := [2]uint32{b.UIDValidity(), m.UID}
			if old, ok := seen[key]; ok && old != m.Base {
				t.Errorf("%s: %v was %s, is %s", what, key, old, m.Base)
			}
			seen[key] = m.Base
		}
		return b
	}
	put := func(name string) {
		t.Helper()
		d, err := store.dir(name)
		must(t, err)
		deliver(t, d, text)
	}
	must(t, store.Create("A"))
	put("A")
	put("A")
	b := look("A", "first")
	_, err = b.Expunge(ctx, func(m *Message) bool { return m.UID == 2 })
	must(t, err)
	put("A")
	look("A", "after expunge")
	clock = clock.Add(-1000 * time.Hour)
	must(t, store.Delete("A"))
	must(t, store.Create("A"))
	put("A")
	first := look("A", "after delete and create").UIDValidity()
	if err := b.Sync(ctx); err != ErrReset {
		t.Errorf("the open box says %v, want ErrReset", err)
	}
	must(t, fsys.Remove("/mail/bob/.A/mailx-uids"))
	if got := look("A", "after loss of the index").UIDValidity(); got <= first {
		t.Errorf("UIDVALIDITY %d after %d", got, first)
	}
	must(t, fsys.Remove("/mail/bob/mailx-uidvalidity"))
	must(t, fsys.Remove("/mail/bob/.A/mailx-uids.lock"))
	must(t, store.Create("B"))
	put("B")
	look("B", "after loss of the floor")
	must(t, store.Rename(ctx, "B", "C/D"))
	look("C/D", "renamed")
	must(t, store.Create("B"))
	put("B")
	look("B", "made again")
}

// A line that can't be read costs the message its UID, and no other message gets it.
func TestDamagedIndex(t *testing.T) {
	fsys := vfs.NewMem()
	d := newDir(t, fsys, "box")
	for range 4 {
		deliver(t, d, text)
	}
	b := open(t, fsys, d)
	validity := b.UIDValidity()
	data, err := vfs.ReadFile(fsys, "box/"+logName, 1<<20)
	must(t, err)
	lines := strings.SplitAfter(string(data), "\n")
	for name, c := range map[string]struct {
		lines []string
		same  bool
		kept  string // UIDs of those that keep them
	}{
		"middle":       {append([]string{lines[0], lines[1], lines[2], "rubbish" + lines[3]}, lines[4:]...), true, "1 3 4"},
		"last":         {append(slices.Clone(lines[:5]), "x"+lines[5]), true, "1 2 3"},
		"cut":          {append(slices.Clone(lines[:5]), lines[5][:20]), true, "1 2 3"},
		"zeros":        {append(slices.Clone(lines), strings.Repeat("\x00", 300)), true, "1 2 3 4"},
		"first":        {append([]string{"x" + lines[0]}, lines[1:]...), false, ""},
		"empty":        {nil, false, ""},
		"long, no LF":  {[]string{strings.Repeat("x", 100_000)}, false, ""},
		"other format": {append([]string{string(record{'V', validity, 2, "own"}.append(nil))}, lines[1:]...), false, ""},
	} {
		m := fsys.Clone()
		must(t, vfs.WriteFile(m, "box/"+logName, "x", []byte(strings.Join(c.lines, ""))))
		d, err := maildir.Open(m, "box")
		must(t, err)
		damaged := open(t, m, d)
		if len(damaged.Messages()) != 4 {
			t.Errorf("%s: %d messages", name, len(damaged.Messages()))
		}
		if (damaged.UIDValidity() == validity) != c.same {
			t.Errorf("%s: UIDVALIDITY %d, was %d", name, damaged.UIDValidity(), validity)
		}
		var kept []string
		for _, msg := range damaged.Messages() {
			old := b.Find(msg.UID)
			if c.same && old != nil && old.Base != msg.Base && name != "cut" {
				t.Errorf("%s: UID %d used again", name, msg.UID)
			}
			if old != nil && old.Base == msg.Base {
				kept = append(kept, fmt.Sprint(msg.UID))
			}
		}
		if got := strings.Join(kept, " "); c.same && name != "cut" && got != c.kept {
			t.Errorf("%s: kept %q, want %q", name, got, c.kept)
		}
		again := open(t, m, d)
		if show(again) != show(damaged) {
			t.Errorf("%s: next time %q, was %q", name, show(again), show(damaged))
		}
	}
}

func TestTakeOver(t *testing.T) {
	base := []string{"1700000001.A.host", "1700000002.B.host", "1700000003.C.host"}
	for _, c := range []struct {
		name, file, text, want string
		validity               uint32
	}{
		{"dovecot 3", "dovecot-uidlist",
			"3 V1234 N90 Gabc\n7 :" + base[1] + "\n8 S3 W4 :1700000000.X.host\n9 S12 :" + base[0] + ":2,S\n", "7=B 9=A 90=C", 1234},
		{"dovecot 1", "dovecot-uidlist", "1 99 10\n3 " + base[2] + "\n5 " + base[0] + "\n", "3=C 5=A 10=B", 99},
		{"courier", "courierimapuiddb", "1 777 4\n1 " + base[0] + "\n2 " + base[1] + "\n", "1=A 2=B 4=C", 777},
		{"UIDNEXT too low", "courierimapuiddb", "1 777 1\n20 " + base[0] + "\n", "20=A 21=B 22=C", 777},
		{"twice the same UID", "courierimapuiddb", "1 777 9\n2 " + base[0] + "\n2 " + base[1] + "\n", "2=A 9=B 10=C", 777},
		{"rubbish", "dovecot-uidlist", "3 V\nxyz\n", "1=A 2=B 3=C", 0},
		{"UIDs used up", "dovecot-uidlist", "3 V5 N4294967290\n", "1=A 2=B 3=C", 0},
	} {
		fsys := vfs.NewMem()
		d := newDir(t, fsys, "box")
		for _, name := range base {
			f, err := fsys.Create("box/cur/" + name + ":2,")
			must(t, err)
			must(t, f.Close())
		}
		must(t, vfs.WriteFile(fsys, "box/"+c.file, "x", []byte(c.text)))
		b := open(t, fsys, d)
		var got []string
		for _, m := range b.Messages() {
			got = append(got, fmt.Sprintf("%d=%s", m.UID, strings.Split(m.Base, ".")[1]))
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: got %s, want %s", c.name, s, c.want)
		}
		if c.validity != 0 && b.UIDValidity() != c.validity {
			t.Errorf("%s: UIDVALIDITY %d, want %d", c.name, b.UIDValidity(), c.validity)
		}
		// What is there is out of date from now on.
		must(t, fsys.Remove("box/"+logName))
		if again := open(t, fsys, d); again.UIDValidity() <= b.UIDValidity() {
			t.Errorf("%s: UIDVALIDITY %d after %d was lost", c.name, again.UIDValidity(), b.UIDValidity())
		}
	}
}

func TestCompaction(t *testing.T) {
	ctx := context.Background()
	fsys := vfs.NewMem()
	d := newDir(t, fsys, "box")
	deliver(t, d, text)
	b, other := open(t, fsys, d), open(t, fsys, d)
	for i := range 2100 {
		c := Change{AddKeywords: []string{"k"}}
		if i%2 == 1 {
			c = Change{RemoveKeywords: []string{"k"}}
		}
		must(t, b.Change(ctx, []uint32{1}, c))
		must(t, b.Change(ctx, []uint32{1}, Change{AddKeywords: []string{"x"}, RemoveKeywords: []string{fmt.Sprint("n", i)}}))
		must(t, b.Change(ctx, []uint32{1}, Change{RemoveKeywords: []string{"x"}}))
	}
	if b.lines > 4200 {
		t.Errorf("%d lines for one message", b.lines)
	}
	must(t, other.Sync(ctx))
	if show(other) != show(b) || other.HighestModSeq() != b.HighestModSeq() {
		t.Errorf("other %q at %d, want %q at %d", show(other), other.HighestModSeq(), show(b), b.HighestModSeq())
	}
}

// R5: on a full disk old mail can be read and removed; new mail is seen when there is space again.
func TestFullDisk(t *testing.T) {
	ctx := context.Background()
	fsys := vfs.NewMem()
	d := newDir(t, fsys, "box")
	deliver(t, d, text)
	deliver(t, d, text)
	b := open(t, fsys, d)
	must(t, b.Change(ctx, []uint32{1}, Change{Add: "T"}))
	deliver(t, d, text)
	fsys.FailFrom(len(fsys.Calls())+1, syscall.ENOSPC)
	if taken, err := b.TakeNew(ctx); len(taken) != 0 || err != nil {
		t.Errorf("took %v, %v", taken, err)
	}
	expect(t, b, "1:T: 2::")
	if gone, _ := b.Expunge(ctx, func(m *Message) bool { return m.Has('T') }); len(gone) != 1 {
		t.Errorf("expunged %v", gone)
	}
	expect(t, b, "2::")
	if err := b.Change(ctx, []uint32{2}, Change{AddKeywords: []string{"k"}}); err == nil {
		t.Error("a keyword was kept on a full disk")
	}
	fsys.Heal()
	must(t, b.Sync(ctx))
	expect(t, b, "2:: 3::")
}

// Ten at once, each with a Box of its own, as processes would have.
func TestTenAtOnce(t *testing.T) {
	ctx := context.Background()
	fsys := vfs.OS()
	root := t.TempDir() + "/box"
	newDir(t, fsys, root)
	var mu sync.Mutex
	byUID := map[uint32]string{}
	note := func(b *Box, who int) {
		mu.Lock()
		defer mu.Unlock()
		for _, m := range b.Messages() {
			if old, ok := byUID[m.UID]; ok && old != m.Base {
				t.Errorf("%d: UID %d is %s, was %s", who, m.UID, m.Base, old)
			}
			byUID[m.UID] = m.Base
		}
	}
	var wg sync.WaitGroup
	for who := range 10 {
		wg.Go(func() {
			d, err := maildir.Open(fsys, root)
			if err != nil {
				t.Error(err)
				return
			}
			b, err := Open(ctx, fsys, d)
			if err != nil {
				t.Error(err)
				return
			}
			defer b.Close()
			for range 5 {
				in, err := b.Receive(Attributes{Flags: "S"})
				if err == nil {
					io.WriteString(in, text)
					var uids []uint32
					uids, err = b.Adopt(ctx, in)
					// 0: the third one saw the message, and removed it, before this one could ask for its UID.
					if err == nil && (len(uids) != 1 || uids[0] != 0 && b.Find(uids[0]) == nil) {
						t.Errorf("%d: UIDs %v", who, uids)
					}
				}
				if err == nil && who == 3 {
					_, err = b.Expunge(ctx, func(m *Message) bool { return m.UID%7 == 0 })
				}
				if err != nil {
					t.Error(err)
				}
				note(b, who)
			}
		})
	}
	wg.Wait()
	d, err := maildir.Open(fsys, root)
	must(t, err)
	final := open(t, fsys, d)
	note(final, -1)
	if final.UIDNext() != 51 {
		t.Errorf("UIDNEXT %d, want 51", final.UIDNext())
	}
}

func TestStore(t *testing.T) {
	ctx := context.Background()
	fsys := vfs.NewMem()
	s, err := OpenStore(fsys, "/bob")
	must(t, err)
	for _, name := range []string{"", "/", "a/", "/a", "a//b", "..", "../x", "a/..", "a.b", "a\x00b", "a\nb", "inbox/x", "\xff",
		strings.Repeat("x", 300)} {
		if err := s.Create(name); err == nil {
			t.Errorf("created %q", name)
		}
	}
	must(t, s.Create("Entwürfe/R&D"))
	must(t, s.Create("A"))
	if err := s.Create("A"); err != ErrFolderExists {
		t.Errorf("again: %v", err)
	}
	newDir(t, fsys, "/bob/.Gel&APY-scht") // as Dovecot names it
	names, err := s.Folders()
	must(t, err)
	if want := []string{"A", "Entwürfe/R&D", "Gelöscht"}; !slices.Equal(names, want) {
		t.Errorf("folders %q, want %q", names, want)
	}
	if _, err := fsys.Lstat("/bob/.Entwürfe.R&D"); err != nil {
		t.Error(err)
	}
	if err := s.Create("Gelöscht"); err != ErrFolderExists {
		t.Errorf("a second one: %v", err)
	}
	b, err := s.Open(ctx, "Gelöscht")
	must(t, err)
	b.Close()
	must(t, s.Rename(ctx, "A", "B/C"))
	if _, err := s.Open(ctx, "A"); err != ErrNoFolder {
		t.Errorf("old name: %v", err)
	}
	// B is there only in the name of B/C.
	must(t, s.Create("B/D"))
	must(t, s.Create("Top/D"))
	if err := s.Rename(ctx, "B", "Top"); err != ErrFolderExists {
		t.Errorf("onto one that is there: %v", err)
	}
	must(t, s.Rename(ctx, "B", "Over/B"))
	for _, name := range []string{"Over/B/C", "Over/B/D", "Top/D"} {
		if is, err := s.Exists(name); !is || err != nil {
			t.Errorf("%s: %v, %v", name, is, err)
		}
	}
	must(t, s.Delete("Gelöscht"))
	for err, want := range map[error]error{s.Delete("inbox"): ErrInbox, s.Delete("nix"): ErrNoFolder, s.Rename(ctx, "nix", "y"): ErrNoFolder} {
		if err != want {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	must(t, s.Subscribe(ctx, "inbox", true))
	must(t, s.Subscribe(ctx, "not/there", true))
	must(t, s.Subscribe(ctx, "not/there", true))
	must(t, s.Subscribe(ctx, "A", true))
	must(t, s.Subscribe(ctx, "A", false))
	subs, err := s.Subscribed()
	must(t, err)
	if want := []string{"INBOX", "not/there"}; !slices.Equal(subs, want) {
		t.Errorf("subscribed %q, want %q", subs, want)
	}
}

func TestRenameInbox(t *testing.T) {
	ctx := context.Background()
	fsys := vfs.NewMem()
	s, err := OpenStore(fsys, "/bob")
	must(t, err)
	_, err = s.inbox.SetFlags(deliver(t, s.inbox, text), "F")
	must(t, err)
	deliver(t, s.inbox, text)
	must(t, s.Rename(ctx, "INBOX", "old"))
	for name, want := range map[string]string{"INBOX": "", "old": "1:F: 2::"} {
		b, err := s.Open(ctx, name)
		must(t, err)
		expect(t, b, want)
		b.Close()
	}
}

func TestUTF7(t *testing.T) {
	for text, want := range map[string]string{
		"":                   "",
		"INBOX":              "INBOX",
		"R&D":                "R&-D",
		"Entwürfe":           "Entw&APw-rfe",
		"~peter/mail/台北/日本語": "~peter/mail/&U,BTFw-/&ZeVnLIqe-", // RFC 3501 §5.1.3
		"😀":                  "&2D3eAA-",
		"ü&":                 "&APw-&-",
	} {
		if got := EncodeUTF7(text); got != want {
			t.Errorf("EncodeUTF7(%q) = %q, want %q", text, got, want)
		}
		if got, ok := DecodeUTF7(want); !ok || got != text {
			t.Errorf("DecodeUTF7(%q) = %q, %v, want %q", want, got, ok, text)
		}
	}
	for _, bad := range []string{"&", "&x", "&APw", "&AP-", "ü", "a\x00", "&AGE-", "&APw-&APw-", "&2D0-", "&AC8ALgAu-", "&APx-", "&AP=-", "&0\r00-", "&APw\n-"} {
		if got, ok := DecodeUTF7(bad); ok {
			t.Errorf("DecodeUTF7(%q) = %q, want a refusal", bad, got)
		}
	}
}

func FuzzUTF7(f *testing.F) {
	f.Add("R&-D")
	f.Add("&U,BTFw-/&ZeVnLIqe-")
	f.Fuzz(func(t *testing.T, s string) {
		text, ok := DecodeUTF7(s)
		if ok && EncodeUTF7(text) != s {
			t.Errorf("%q decodes to %q, which encodes to %q", s, text, EncodeUTF7(text))
		}
		valid := strings.ToValidUTF8(s, "?")
		if back, ok := DecodeUTF7(EncodeUTF7(valid)); !ok || back != valid {
			t.Errorf("%q comes back as %q, %v", valid, back, ok)
		}
	})
}

func FuzzIndex(f *testing.F) {
	st := state{validity: 7, origin: "own", next: 9, modseq: 12}
	st.msgs = []Message{{UID: 3, ModSeq: 4, Message: maildir.Message{Name: maildir.ParseName("a%\nb,S=1:2,S")}, Keywords: []string{"k"}}}
	st.msgs[0].Base = "a%\nb,S=1"
	f.Add(st.print())
	f.Add(record{'X', 3, 9, ""}.append(st.print()))
	f.Fuzz(func(t *testing.T, data []byte) {
		var s state
		first, ok := s.readFirst(data)
		if !ok {
			return
		}
		_, _, bad := s.read(data[first:])
		s.dropGone()
		s.skip(bad)
		printed := s.print()
		var back state
		first, ok = back.readFirst(printed)
		_, _, bad = back.read(printed[first:])
		if !ok || bad != 0 || string(back.print()) != string(printed) {
			t.Errorf("%q comes back as %q", printed, back.print())
		}
		for i, m := range s.msgs {
			if m.UID == 0 || m.UID >= s.next || i > 0 && s.msgs[i-1].UID >= m.UID {
				t.Errorf("UIDs out of order in %q", printed)
			}
		}
	})
}

func FuzzForeignUIDs(f *testing.F) {
	f.Add([]byte("3 V1234 N90 Gabc\n7 :a\n9 S12 :b:2,S\n"))
	f.Add([]byte("1 777 4\n1 a\n2 b\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, other := range foreign {
			st, ok := other.parse(data)
			for i, m := range st.msgs {
				if !ok || m.UID == 0 || m.UID >= st.next || i > 0 && st.msgs[i-1].UID >= m.UID {
					t.Errorf("%s: %q gives %+v", other.name, data, st)
				}
			}
		}
	})
}

func FuzzFloorAndSubscriptions(f *testing.F) {
	f.Add([]byte("123\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		parseFloor(data)
		for _, name := range parseSubscriptions(string(data)) {
			if _, err := SplitName(name); err != nil {
				t.Errorf("%q gives %q", data, name)
			}
		}
	})
}
