//go:build interop

package interop

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMarkedAndMoved: mblaze and mutt see what the verbs that change Maildirs did, and these find what mblaze did.
func TestMarkedAndMoved(t *testing.T) {
	w := newWorld(t)
	box := makeMaildir(t, filepath.Join(w.home, "Maildir"))
	for _, n := range []string{"1", "2", "3"} {
		writeFile(t, filepath.Join(box, "new"), n+".M1P1.host", "From: a@example.net\nSubject: number "+n+"\n\ntext\n")
	}
	lines := func(s string) int { return strings.Count(s, "\n") }
	paths := w.mustMailx("", "list", "--paths")
	w.mustMailx(w.mustMailx(paths, "flag", "--seen", "-"), "move", "--to", "Archive", "--create", "-q", "-")
	archive := filepath.Join(box, ".Archive")

	t.Run("mblaze", func(t *testing.T) {
		mlist, mflag, mrefile, mdirs := peer(t, "mlist"), peer(t, "mflag"), peer(t, "mrefile"), peer(t, "mdirs")
		run := func(args ...string) string {
			return job{args: args, dir: w.home, env: peerEnv(w.home)}.run(t).must(t, 0)
		}
		if got := run(mlist, "-S", archive); lines(got) != 3 {
			t.Errorf("mlist: %q", got)
		}
		if got := run(mdirs, box); !strings.Contains(got, archive) {
			t.Errorf("mdirs: %q", got)
		}
		old := strings.Fields(w.mustMailx("", "list", "Archive", "--paths"))
		run(mflag, "-F", old[0])
		if got := w.mustMailx("", "flag", "--json", "--replied", old[0]); !strings.Contains(got, `["flagged","replied","seen"]`) {
			t.Errorf("after mflag: %q", got)
		}
		run(mrefile, old[1], box)
		w.mustMailx(w.mustMailx("", "list", "--paths"), "move", "-q", "--to", "Archive", "-")
		if got := run(mlist, archive); lines(got) != 3 {
			t.Errorf("after mrefile: %q", got)
		}
	})
	t.Run("mutt", func(t *testing.T) {
		mutt, script := peer(t, "mutt"), peer(t, "script")
		out := makeMaildir(t, filepath.Join(w.home, "out"))
		rc := writeFile(t, w.home, "muttrc", "set mbox_type=Maildir confirmappend=no confirmcreate=no quit=yes wait_key=no folder="+w.home+
			"\npush \"<tag-pattern>~R<enter><tag-prefix><copy-message>"+out+"<enter><quit>\"\n")
		job{args: []string{"sh", "-c", script + " -qec '" + mutt + " -n -F " + rc + " -R -f " + archive + "' /dev/null </dev/null"}, dir: w.home,
			env: append(peerEnv(w.home), "TERM=xterm")}.run(t).must(t, 0)
		if got := messages(t, out); len(got) != 3 {
			t.Errorf("mutt saw %q", got)
		}
	})
	w.mustMailx(w.mustMailx("", "list", "Archive", "--paths"), "remove", "-")
	w.mustMailx("", "folder", "delete", "Archive")
	if _, err := os.Lstat(archive); err == nil {
		t.Error("the folder is still there")
	}
}
