package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/term"

	"mailx/pkg/auth"
)

// newPassword gets a password that somebody is to have from now on: a line of the descriptor fd, if that is not
// negative; typed twice, where there is a person to ask; else a line of stdin. A bad one is exit 65.
func (e *env) newPassword(name string, fd int) (password string, err error) {
	switch {
	case fd >= 0:
		f := os.NewFile(uintptr(fd), fmt.Sprintf("descriptor %d", fd))
		if f == nil {
			return "", usagef("--password-fd wants a descriptor, not %d", fd)
		}
		password, err = passwordLine(f)
		f.Close()
	case e.mayPrompt():
		password, err = e.askTwice(name)
	default:
		password, err = passwordLine(e.stdin)
	}
	if err != nil {
		return "", err
	}
	if err := auth.CheckPassword(password); err != nil {
		return "", exitWith(exDataErr, err)
	}
	return password, nil
}

// passwordLine reads one line, with or without its end, and not more than a buffer.
func passwordLine(r io.Reader) (string, error) {
	line, err := bufio.NewReaderSize(r, 4*auth.MaxPassword).ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull): // CheckPassword says that it is too long
	case err == io.EOF && len(line) == 0:
		return "", exitWith(exDataErr, errors.New("no password given"))
	case err != nil && err != io.EOF:
		return "", exitWith(exNoInput, fmt.Errorf("the password can't be read: %w", err))
	}
	return strings.TrimRight(string(line), "\r\n"), nil
}

func (e *env) askTwice(name string) (string, error) {
	first, err := e.ask("New password for " + name)
	if err != nil {
		return "", err
	}
	second, err := e.ask("The same again")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", exitWith(exDataErr, errors.New("the two passwords differ; nothing was changed"))
	}
	return first, nil
}

// ask reads from the terminal without echo, which comes back whatever ends the question.
func (e *env) ask(question string) (string, error) {
	fd := int(e.stdin.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, endings(syscall.SIGHUP)...)
	defer signal.Stop(interrupted)
	answered := make(chan struct{})
	var answer []byte
	fmt.Fprintf(e.stderr, "%s: ", escapeControl(question))
	go func() {
		answer, err = term.ReadPassword(fd)
		close(answered)
	}()
	select {
	case <-interrupted:
		term.Restore(fd, before)
		fmt.Fprintln(e.stderr)
		return "", exitWith(exTempFail, errors.New("interrupted; nothing was changed"))
	case <-answered:
	}
	fmt.Fprintln(e.stderr)
	if err == io.EOF {
		return "", exitWith(exDataErr, errors.New("no password given"))
	}
	return string(answer), err
}
