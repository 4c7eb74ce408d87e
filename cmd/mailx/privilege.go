package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path"
	"strconv"
	"syscall"
)

// becomeUser makes this process that of run_as, for good, once it has listened and read its keys. Where run_as is not set
// nothing happens, but that root does not serve from the spool of somebody else: what it made there the owner could neither
// read nor remove.
func (s *system) becomeUser() error {
	name := s.cfg.RunAs
	if name == "" {
		return s.checkOwner()
	}
	u, err := lookUpUser(name)
	if err != nil {
		return s.badKey("run_as", name, err.Error())
	}
	if os.Geteuid() == u.uid && os.Getuid() == u.uid {
		return nil
	}
	if os.Geteuid() != 0 {
		return s.badKey("run_as", name, "only root can become another user")
	}
	if err := s.giveSpool(u); err != nil {
		return err
	}
	if err := u.become(); err != nil {
		return fmt.Errorf("run_as %s: %w", name, err)
	}
	return nil
}

// checkOwner looks for root in a spool that is not root's.
func (s *system) checkOwner() error {
	if os.Geteuid() != 0 {
		return nil
	}
	fi, err := os.Stat(s.cfg.Spool)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	uid := fi.Sys().(*syscall.Stat_t).Uid
	if uid == 0 {
		return nil
	}
	owner := strconv.Itoa(int(uid))
	if u, err := user.LookupId(owner); err == nil {
		owner = u.Username
	}
	return s.badKey("spool", s.cfg.Spool, fmt.Sprintf("belongs to %s, and root would leave files there that %s can't read; run with --run-as %s",
		owner, owner, owner))
}

// giveSpool makes a spool that is not there yet, which the user may not be allowed to.
func (s *system) giveSpool(u *account) error {
	err := os.Mkdir(s.cfg.Spool, 0o700)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil
	case errors.Is(err, fs.ErrNotExist):
		if err = os.MkdirAll(path.Dir(s.cfg.Spool), 0o755); err == nil {
			err = os.Mkdir(s.cfg.Spool, 0o700)
		}
	}
	if err != nil {
		return err
	}
	return os.Lchown(s.cfg.Spool, u.uid, u.gid)
}

// account is a user of this host.
type account struct {
	uid, gid int
	groups   []int
}

// lookUpUser takes a name or a number.
func lookUpUser(name string) (*account, error) {
	u, err := user.Lookup(name)
	if _, nerr := strconv.Atoi(name); err != nil && nerr == nil {
		u, err = user.LookupId(name)
	}
	if err != nil {
		return nil, err
	}
	groups, err := u.GroupIds()
	if err != nil {
		return nil, err
	}
	a := &account{}
	if a.uid, err = strconv.Atoi(u.Uid); err != nil {
		return nil, err
	}
	if a.gid, err = strconv.Atoi(u.Gid); err != nil {
		return nil, err
	}
	for _, text := range groups {
		gid, err := strconv.Atoi(text)
		if err != nil {
			return nil, err
		}
		a.groups = append(a.groups, gid)
	}
	return a, nil
}

// become changes all threads, groups first, and makes sure that there is no way back.
func (a *account) become() error {
	if err := syscall.Setgroups(a.groups); err != nil {
		return err
	}
	if err := syscall.Setgid(a.gid); err != nil {
		return err
	}
	if err := syscall.Setuid(a.uid); err != nil {
		return err
	}
	if a.uid != 0 && syscall.Setuid(0) == nil {
		return errors.New("the rights of root are still there")
	}
	return nil
}
