package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// spool looks at the directory itself, and reports whether there is one to look into.
func (d *doctor) spool() bool {
	fi, err := os.Stat(d.cfg.Spool)
	f := finding{severity: severityError, check: "spool", path: d.cfg.Spool, code: exNoPerm}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.severity, f.text = severityNote, "there is none at "+d.cfg.Spool+" yet; the first message makes it"
		d.add(f)
		return false
	case err != nil || !fi.IsDir():
		return false // config.Check has said it
	}
	if me := os.Geteuid(); me != 0 && me != d.uid {
		f.text = fmt.Sprintf("%s belongs to %s, and this is %s", d.cfg.Spool, nameOfUser(d.uid), nameOfUser(me))
		f.fix = "sudo -u " + shellWord(nameOfUser(d.uid)) + " " + d.command("doctor")
		d.add(f)
		return false
	}
	d.servingUser()
	d.usersOwner()
	d.space()
	return true
}

// servingUser is who the servers run as.
func (d *doctor) servingUser() {
	f := finding{severity: severityError, check: "spool", path: d.cfg.Spool, code: exNoPerm}
	if d.cfg.RunAs == "" {
		return
	}
	u, err := lookUpUser(d.cfg.RunAs)
	switch {
	case err != nil:
		f.code, f.text, f.fix = exConfig, "run_as: "+err.Error(), "useradd --system "+shellWord(d.cfg.RunAs)
	case u.uid != d.uid:
		f.text = fmt.Sprintf("%s belongs to %s, and servers run as %s", d.cfg.Spool, nameOfUser(d.uid), d.cfg.RunAs)
		f.fix = "chown -R " + shellWord(d.cfg.RunAs) + ": " + shellWord(d.cfg.Spool)
	default:
		return
	}
	d.add(f)
}

// usersOwner is for a user file that files does not see, as it is elsewhere: servers read it after they have become another
// user, and it is for its owner alone.
func (d *doctor) usersOwner() {
	fi, err := os.Stat(d.cfg.Users)
	if err != nil || isBelow(realPath(d.cfg.Users), realPath(d.cfg.Spool)) {
		return
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok && int(st.Uid) != d.uid {
		owner := nameOfUser(d.uid)
		d.add(finding{severity: severityError, check: "users", path: d.cfg.Users, code: exNoPerm,
			text: fmt.Sprintf("%s belongs to %s, and %s, who the spool belongs to, can't read it", d.cfg.Users, nameOfUser(int(st.Uid)), owner),
			fix:  "chown " + shellWord(owner) + ": " + shellWord(d.cfg.Users)})
	}
}

// nameOfUser is the name of a user, or the number where there is none.
func nameOfUser(uid int) string {
	text := strconv.Itoa(uid)
	if u, err := user.LookupId(text); err == nil {
		return u.Username
	}
	return text
}

// space is what the file system has left for mail.
func (d *doctor) space() {
	const little = 64 << 20
	free, err := d.fs.Free(d.cfg.Spool)
	f := finding{severity: severityError, check: "spool", path: d.cfg.Spool, code: exTempFail, fix: "df -h " + shellWord(d.cfg.Spool)}
	switch {
	case err != nil:
		f.code, f.text = exIOErr, err.Error()
	case free < uint64(d.cfg.Reserve):
		f.text = fmt.Sprintf("%d MB are free, and reserve keeps %d MB: no mail is taken", free>>20, d.cfg.Reserve>>20)
	case free < little:
		f.severity, f.text = severityWarning, fmt.Sprintf("%d MB are free", free>>20)
	default:
		return
	}
	d.add(f)
}
