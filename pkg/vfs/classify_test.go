package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"mailx/pkg/mail"
)

func TestClassify(t *testing.T) {
	tests := []struct {
		err  error
		want string
	}{
		{nil, "2.0.0"},
		{syscall.ENOSPC, "4.3.1"},
		{syscall.EDQUOT, "4.3.1"},
		{syscall.EMFILE, "4.3.2"},
		{syscall.ENFILE, "4.3.2"},
		{syscall.ENOMEM, "4.3.2"},
		{syscall.EIO, "4.3.0"},
		{syscall.EACCES, "4.3.0"},
		{syscall.EROFS, "4.3.0"},
		{fs.ErrNotExist, "4.3.0"},
		{fs.ErrExist, "4.3.0"},
		{ErrLocked, "4.3.0"},
		{errors.New("anything"), "4.3.0"},
		{mail.Permanentf(1, 1, "No such user"), "5.1.1"},
		{fmt.Errorf("around: %w", mail.Temporaryf(7, 1, "Not now")), "4.7.1"},
	}
	for _, tt := range tests {
		err := tt.err
		if err != nil && mail.StatusOf(err).Subject == 0 {
			err = pathError("open", "/secret/path", err)
		}
		got := Classify(err)
		if s := mail.StatusOf(got).String(); s != tt.want || !errors.Is(got, tt.err) {
			t.Errorf("%v: got %s (%v), want %s", tt.err, s, got, tt.want)
		}
		if text := mail.TextOf(got); err != nil && len(text) > 40 {
			t.Errorf("%v: text for the peer says too much: %q", tt.err, text)
		}
	}
}

func TestMkdirAllTrials(t *testing.T) {
	base := memWithDir(t)
	for trial := range Trials(base, func(fsys FS) error { return MkdirAll(fsys, "top/a/b") }) {
		fi, err := trial.Mem.Lstat("top/a/b")
		if trial.Err == nil && (err != nil || !fi.IsDir()) {
			t.Errorf("directory is lost: %v: %s", err, trial)
		}
		if err := MkdirAll(trial.Mem, "top/a/b"); err != nil {
			t.Errorf("again: %v: %s", err, trial)
		}
	}
}
