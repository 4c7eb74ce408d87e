//go:build interop

package interop

import (
	"os"
	"path/filepath"
	"testing"

	"mailx/pkg/mailtest"
)

// pythonMbox writes an mbox, which is mboxo, with the flags of its messages, or checks one.
const pythonMbox = `
import mailbox, sys
texts = [("one", "From here\n>From there\nGr\u00f6\u00dfe\n", "RO", "F"), ("two", "no more\n", "", ""), ("three", "\n\nx\n\n", "O", "A")]
box = mailbox.mbox(sys.argv[2])
if sys.argv[1] == "write":
    for subject, text, status, xstatus in texts:
        m = mailbox.mboxMessage(("Subject: %s\nContent-Type: text/plain; charset=utf-8\n\n%s" % (subject, text)).encode())
        m.set_flags(status + xstatus)
        m.set_from("a@x.example", True)
        box.add(m)
    box.flush()
else:
    assert len(box) == len(texts), len(box)
    for m, (subject, text, status, xstatus) in zip(box, texts):
        assert m["Subject"] == subject, m["Subject"]
        assert set(m.get_flags()) == set(status + xstatus), m.get_flags()
        got = m.get_payload(decode=True).decode().replace(">From", "From").replace(">From", "From")
        assert got == text.replace(">From", "From"), (got, text)
`

// Python's mailbox module writes what import reads, and reads what export writes.
func TestMboxWithPython(t *testing.T) {
	python, dir := peer(t, "python3"), t.TempDir()
	run := func(args ...string) { t.Helper(); job{args: args, dir: dir, env: mailtest.Env(dir)}.run(t).must(t, 0) }
	run(python, "-c", pythonMbox, "write", "python.mbox")
	run(mailtest.Binary(t), "import", "--mbox", "o", "--to", "./box", "--create", "python.mbox")
	run(mailtest.Binary(t), "export", "--in", "./box", "--mbox", "ours.mbox")
	run(python, "-c", pythonMbox, "check", "ours.mbox")
	if fi, err := os.Stat(filepath.Join(dir, "ours.mbox")); err != nil || fi.Size() == 0 {
		t.Errorf("%v, %v", fi, err)
	}
}
