package main

import (
	"io/fs"
	"syscall"
	"time"

	"mailx/pkg/vfs"
)

// unchanged is a file system in which nothing can be changed.
type unchanged struct{ vfs.FS }

func refused(op, name string) error { return &fs.PathError{Op: op, Path: name, Err: syscall.EROFS} }

func (unchanged) Create(name string) (vfs.File, error)     { return nil, refused("create", name) }
func (unchanged) OpenAppend(name string) (vfs.File, error) { return nil, refused("open", name) }
func (unchanged) Link(_, name string) error                { return refused("link", name) }
func (unchanged) Rename(name, _ string) error              { return refused("rename", name) }
func (unchanged) Move(name, _ string) error                { return refused("rename", name) }
func (unchanged) Remove(name string) error                 { return refused("remove", name) }
func (unchanged) Mkdir(name string) error                  { return refused("mkdir", name) }
func (unchanged) Chtimes(name string, _ time.Time) error   { return refused("chtimes", name) }
