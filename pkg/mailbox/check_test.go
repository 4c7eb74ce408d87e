package mailbox

import (
	"context"
	"strings"
	"testing"

	"mailx/pkg/maildir"
	"mailx/pkg/vfs"
)

// checkIndexes is Check for Maildirs that may not be there.
func checkIndexes(fsys vfs.FS, names ...string) (all []maildir.Problem) {
	for _, name := range names {
		if d, err := maildir.Open(fsys, name); err == nil {
			all = append(all, Check(fsys, d)...)
		}
	}
	return all
}

// Check finds what is wrong with an index, and nothing else.
func TestCheck(t *testing.T) {
	line := func(kind byte, uid uint32, modseq uint64, text string) string {
		return string(record{kind, uid, modseq, text}.append(nil))
	}
	first := line('V', 7, version, "own")
	one := line('U', 1, 1, "S 1.a") + line('U', 2, 2, "- 2.b")
	for _, c := range []struct{ name, index, want string }{
		{"well", first + one + line('N', 9, 9, "") + line('F', 1, 3, "FS") + line('K', 2, 4, "k") + line('X', 1, 5, "") + line('U', 9, 6, "- 1.a"), ""},
		{"a line without end", first + one + "0123456", ""},
		{"empty", "", "mailx-uids: line 1: is not the first of an index"},
		{"another version", line('V', 7, version+1, "own"), "mailx-uids: line 1: is not the first of an index"},
		{"damaged", first + one + strings.Replace(line('F', 1, 3, "S"), "S", "T", 1), "mailx-uids: line 4: can't be read"},
		{"given twice", first + one + line('U', 1, 3, "- 3.c"), "mailx-uids: line 4: UID 1 is given again, or to no message"},
		{"without a name", first + one + line('U', 3, 3, "-"), "mailx-uids: line 4: UID 3 is given again, or to no message"},
		{"unknown", first + one + line('F', 3, 3, "S"), "mailx-uids: line 4: is about UID 3, which was not given"},
		{"one name twice", first + one + line('U', 3, 3, "S 1.a"), "mailx-uids: UIDs 1 and 3 are one message: 1.a"},
	} {
		mem := vfs.NewMem()
		d, err := maildir.Create(mem, "box")
		must(t, err)
		must(t, vfs.WriteFile(mem, "box/"+logName, "x", []byte(c.index)))
		got := ""
		for _, p := range Check(mem, d) {
			got += p.String()
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	mem := vfs.NewMem()
	d, err := maildir.Create(mem, "box")
	must(t, err)
	if got := Check(mem, d); got != nil {
		t.Errorf("no index: %v", got)
	}
}

// Whatever becomes of an index, it is one again when it has been written to.
func TestCheckMended(t *testing.T) {
	base := vfs.NewMem()
	d, err := maildir.Create(base, "box")
	must(t, err)
	deliver(t, d, "one")
	run := func(fsys vfs.FS) error {
		b, err := openMem(fsys)
		if err != nil {
			return err
		}
		defer b.Close()
		return b.Change(context.Background(), []uint32{1}, Change{Add: "F"})
	}
	for trial := range vfs.Trials(base, run) {
		after := []*vfs.Mem{trial.Mem}
		if trial.Killed {
			for _, c := range trial.Mem.Choices() {
				after = append(after, trial.Mem.After(c))
			}
		}
		for _, mem := range after {
			must(t, run(mem))
			for _, p := range checkIndexes(mem, "box") {
				t.Errorf("%s: %s", p, trial)
			}
		}
	}
}
