//go:build interop

package interop

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailx/pkg/mailtest"
)

// rooted is a file system root of its own, with mailx as its /usr/sbin/sendmail, for programs that call that path and no
// other. Their processes have a mount and a process space of their own, and end with the command: no daemon stays behind.
type rooted struct {
	t   *testing.T
	dir string
}

// rootedSetup makes the root from inside its mount space. What comes from this host can only be read.
const rootedSetup = `set -e
root=$1 command=$2
for dir in bin lib lib32 lib64 libx32 share; do
	if [ -d /usr/$dir ]; then
		mkdir -p $root/usr/$dir
		mount --bind /usr/$dir $root/usr/$dir
		mount -o remount,bind,ro $root/usr/$dir
		ln -sfn usr/$dir $root/$dir
	fi
done
mount -t proc proc $root/proc
mount -t tmpfs tmpfs $root/dev
mknod $root/dev/null c 1 3; mknod $root/dev/zero c 1 5; mknod $root/dev/urandom c 1 9
chmod 666 $root/dev/*
ln -s /proc/self/fd $root/dev/fd
cp /etc/ld.so.cache $root/etc/
exec chroot $root /bin/sh -c "$command"
`

// newRooted makes a root where root is a user with a mailbox, and a few programs are in /usr/sbin.
func newRooted(t *testing.T, programs ...string) *rooted {
	t.Helper()
	r := &rooted{t: t, dir: t.TempDir()}
	if out := (job{args: []string{peer(t, "unshare"), "-mpf", "true"}, dir: r.dir}).run(t); os.Getuid() != 0 || out.code != 0 {
		t.Skipf("no mount space of our own: %v", out)
	}
	for _, name := range []string{"usr/sbin", "etc/pam.d", "etc/mailx", "etc/cron.d", "proc", "dev", "run", "tmp", "root", "var/spool", "var/log"} {
		if err := os.MkdirAll(filepath.Join(r.dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"tmp", "var/tmp"} {
		os.Mkdir(filepath.Join(r.dir, name), 0o777)
		if err := os.Chmod(filepath.Join(r.dir, name), 0o1777); err != nil {
			t.Fatal(err)
		}
	}
	r.program(mailtest.Binary(t), "mailx")
	for _, name := range []string{"sendmail", "mailq", "newaliases"} {
		r.link("mailx", "usr/sbin/"+name)
	}
	r.link("usr/sbin", "sbin")
	r.link("../run", "var/run")
	for _, name := range programs {
		r.program(peer(t, name), name)
	}
	r.files(map[string]string{
		"etc/passwd":            "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
		"etc/group":             "root:x:0:\ndaemon:x:1:\nnogroup:x:65534:\n",
		"etc/mailx/config.toml": "hostname = \"" + host + "\"\nspool = \"/var/spool/mailx\"\nusers = \"/etc/mailx/users\"\naliases = \"/etc/aliases\"\n",
		"etc/mailx/users":       user + ":{PLAIN}" + secret + "\n",
		"etc/aliases":           "root: " + user + "\n",
		"etc/pam.d/other":       "auth required pam_permit.so\naccount required pam_permit.so\nsession required pam_permit.so\n",
	})
	if err := os.Chmod(filepath.Join(r.dir, "etc/mailx/users"), 0o600); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rooted) program(path, name string) {
	r.t.Helper()
	data, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(filepath.Join(r.dir, "usr/sbin", name), data, 0o755)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rooted) link(to, name string) {
	r.t.Helper()
	if err := os.Symlink(to, filepath.Join(r.dir, name)); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rooted) files(texts map[string]string) {
	r.t.Helper()
	for name, text := range texts {
		path := filepath.Join(r.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			r.t.Fatal(err)
		}
	}
}

// run runs a command of the shell as root in there.
func (r *rooted) run(command string) result {
	r.t.Helper()
	args := []string{peer(r.t, "unshare"), "-mpf", "--kill-child", "/bin/sh", "-c", rootedSetup, "rooted", r.dir, command}
	env := []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "HOME=/root", "TZ=UTC"}
	return job{args: args, env: env, dir: r.dir}.run(r.t)
}

// untilMail is shell that waits until something is in the mailbox, and gives up after a while.
const untilMail = `n=0; until ls /var/spool/mailx/mail/bob/new/* >/dev/null 2>&1 || [ $n = 400 ]; do n=$((n + 1)); sleep 0.05; done`

// checkMail runs a command and wants one message for root, who is bob, with those texts in it.
func (r *rooted) checkMail(command string, wants ...string) {
	r.t.Helper()
	r.run(command).must(r.t, 0)
	text := takeOne(r.t, filepath.Join(r.dir, "var/spool/mailx/mail", user))
	for _, want := range wants {
		if !strings.Contains(text, want) {
			r.t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// TestCron is cron of Debian (T01), which runs what is to be run when it starts.
func TestCron(t *testing.T) {
	r := newRooted(t, "cron")
	r.files(map[string]string{"etc/cron.d/job": "MAILTO=root\n@reboot root printf 'hello\\n.\\nGr\\303\\274\\303\\237e\\n'\n", "var/spool/cron/crontabs/.keep": ""})
	r.checkMail("LC_ALL=C.UTF-8 cron -f & "+untilMail, "Return-Path: <root@"+host+">\n", "\nFrom: root (Cron Daemon)\n", "\nTo: root\n", "\nSubject: Cron <root@",
		"\nX-Cron-Env: <MAILTO=root>\n", "\nDate: ", "\nMessage-ID: <", "\n\nhello\n.\nGrüße\n")
}

// TestAnacron is anacron (T04), once.
func TestAnacron(t *testing.T) {
	r := newRooted(t, "anacron")
	r.files(map[string]string{"etc/anacrontab": "MAILTO=root\n1 0 job echo from anacron\n", "var/spool/anacron/.keep": ""})
	r.checkMail("anacron -f -n -d 2>/dev/null", "Return-Path: <root@"+host+">\n", "\nFrom: Anacron <root>\n", "\nSubject: Anacron job 'job' on ", "\n\nfrom anacron")
}

// TestAt is at and its daemon (T05), once.
func TestAt(t *testing.T) {
	r := newRooted(t, "at", "atd")
	r.files(map[string]string{"etc/at.deny": ""})
	r.checkMail(`set -e; cd /var/spool; mkdir -p cron/atjobs cron/atspool; : >cron/atjobs/.SEQ; chmod 1770 cron/atjobs cron/atspool; chmod 600 cron/atjobs/.SEQ
		chown -R daemon:daemon cron/atjobs cron/atspool; echo 'echo from at' | at -m now 2>/dev/null; atd -s; `+untilMail,
		"Return-Path: <root@"+host+">\n", "\nSubject: Output from your job", "\nFrom: root@"+host+"\n", "\n\nfrom at\n")
}

// TestMdadm has the monitor of mdadm send its test message, with a sender of its own (T09) and without (T08).
func TestMdadm(t *testing.T) {
	r := newRooted(t, "mdadm")
	const run = "mdadm --monitor --test --oneshot --scan --config=/etc/mdadm.conf"
	array := "ARRAY /dev/md7 UUID=00000000:00000000:00000000:00000001\nMAILADDR root\n"
	r.files(map[string]string{"etc/mdadm.conf": array})
	r.checkMail(run, "Return-Path: <root@"+host+">\n", "\nFrom: mdadm monitoring <root", "\nSubject: TestMessage event on /dev/md7", "\nThis is an automatically generated mail message")
	r.files(map[string]string{"etc/mdadm.conf": array + "MAILFROM md@example.net\n"})
	r.checkMail(run, "\nFrom: md@example.net\n", "\nSubject: TestMessage event on /dev/md7")
}

// TestLogwatch mails a report about disks, which there always is.
func TestLogwatch(t *testing.T) {
	r := newRooted(t, "logwatch", "perl", "df")
	r.files(map[string]string{"var/cache/logwatch/.keep": "", "etc/logwatch/conf/.keep": ""})
	r.checkMail("logwatch --output mail --mailto root --service zz-sys --range today", "Return-Path: <root@"+host+">\n", "\nSubject: Logwatch for ",
		"\nMIME-Version: 1.0\n", "\n ################### Logwatch ")
}

// TestBSDMailx is the mailx that Debian has by default. It hands its message to /usr/sbin/sendmail.
func TestBSDMailx(t *testing.T) {
	r := newRooted(t, "bsd-mailx")
	r.checkMail(`printf 'hello\n.\nGr\303\274\303\237e\n' | bsd-mailx -s 'disk full' -a 'X-Job: 7' root`, "Return-Path: <root@"+host+">\n", "\nTo: root\n",
		"\nSubject: disk full\n", "\nX-Job: 7\n", "\nDate: ", "\n\nhello\n.\nGrüße\n")
}
