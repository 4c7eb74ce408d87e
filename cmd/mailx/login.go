package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"mailx/pkg/auth"
	"mailx/pkg/config"
	"mailx/pkg/delivery"
)

// loginFresh is how long a password or token that was read is good without being read again: connections that are opened at the
// same time run one command, and an OAuth token is not used for long after it was made.
const loginFresh = time.Minute

// logins reads a password or token when a server asks for it, and then again: commands that print them are run only with mail
// to send, tokens don't expire while we wait, and a changed password needs no restart. What was read before this process gave
// up its rights is used on where it can't be read again.
type logins struct {
	secret config.Secret
	token  []string       // argv
	given  *config.Secret // by the command line, before all others; nil: none

	mu    sync.Mutex
	known map[string]knownLogin // by server
}

type knownLogin struct {
	auth.Credentials
	at time.Time
}

// ask is for delivery.Route. Errors are config.Errors: somebody has to mend something.
func (l *logins) ask(ctx context.Context, server delivery.Server) (auth.Credentials, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := l.known[server.String()]
	if !last.at.IsZero() && time.Since(last.at) < loginFresh {
		return last.Credentials, nil
	}
	cred, err := l.read(ctx, server)
	switch {
	case err != nil && last.Password != "":
		return last.Credentials, nil
	case err != nil:
		return cred, err
	case l.known == nil:
		l.known = map[string]knownLogin{}
	}
	l.known[server.String()] = knownLogin{cred, time.Now()}
	return cred, nil
}

func (l *logins) read(ctx context.Context, server delivery.Server) (cred auth.Credentials, err error) {
	switch {
	case l.given != nil:
		cred.Password, err = l.given.Read(ctx, os.Getenv)
	case len(l.token) > 0:
		cred.Token, err = config.Secret{Command: l.token}.Read(ctx, os.Getenv)
	case l.secret.IsSet():
		cred.Password, err = l.secret.Read(ctx, os.Getenv)
	default:
		cred.Password, err = netrcPassword(server.Host, server.User)
		if err == nil && cred.Password == "" {
			err = &config.Error{Key: "password", Origin: server.String(),
				Text: "none is set; use password_command or password_file, or make an entry in ~/.netrc"}
		}
	}
	return cred, err
}

// netrcPassword is for a user who has no password in the configuration; "" if there is none either.
func netrcPassword(host, user string) (string, error) {
	return config.NetrcPassword(config.NetrcFile(os.Getenv), host, user)
}

// readSecretFrom reads the password that a caller has put behind a descriptor.
func readSecretFrom(fd int) (string, error) {
	f := os.NewFile(uintptr(fd), "password")
	if f == nil {
		return "", usagef("--password-fd wants a descriptor, not %d", fd)
	}
	defer f.Close()
	password, err := config.ReadSecret(f)
	if err != nil {
		return "", exitWith(exNoInput, fmt.Errorf("--password-fd %d: %w", fd, unwrapPath(err)))
	}
	return password, nil
}
