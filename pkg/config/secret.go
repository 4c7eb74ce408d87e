package config

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Secret says where a password comes from. At most one field is set. It has no String that shows the password.
type Secret struct {
	Text    string   // the password itself
	File    string   // path; a name without "/" is looked for in $CREDENTIALS_DIRECTORY first
	Command []string // argv; the first line that it prints is the password
	Env     string   // name of a variable
}

// secretTime is how long a password command may take.
const secretTime = 30 * time.Second

// maxSecret is the most octets of a password; OAuth tokens are long.
const maxSecret = 64 << 10

// String never shows the password.
func (s Secret) String() string {
	switch {
	case s.Text != "":
		return "(secret)"
	case s.File != "":
		return "file " + s.File
	case len(s.Command) > 0:
		return "command " + s.Command[0]
	case s.Env != "":
		return "variable " + s.Env
	}
	return "none"
}

// GoString keeps the password out of %#v.
func (s Secret) GoString() string { return s.String() }

// IsSet reports that there is a password to be read.
func (s Secret) IsSet() bool { return s.sources() > 0 }

func (s Secret) sources() int {
	n := 0
	for _, set := range []bool{s.Text != "", s.File != "", len(s.Command) > 0, s.Env != ""} {
		if set {
			n++
		}
	}
	return n
}

// Read gets the password, without its line end. A file that others can read is refused with the fix, a command runs
// without a shell, with no standard input, for at most 30 seconds. Errors never contain what was read.
func (s Secret) Read(ctx context.Context, getenv func(string) string) (string, error) {
	switch {
	case s.Text != "":
		return s.Text, nil
	case s.File != "":
		return readSecretFile(s.File, getenv)
	case len(s.Command) > 0:
		return runSecretCommand(ctx, s.Command)
	case s.Env != "":
		if text := getenv(s.Env); text != "" {
			return text, nil
		}
		return "", &Error{Key: "password_env", Value: s.Env, Origin: "password", Text: "the variable is not set"}
	}
	return "", &Error{Key: "password", Origin: "password", Text: "none is set; use password_file or password_command"}
}

func readSecretFile(name string, getenv func(string) string) (string, error) {
	if dir := getenv("CREDENTIALS_DIRECTORY"); dir != "" && !strings.Contains(name, "/") {
		if path := filepath.Join(dir, name); isFile(path) {
			name = path
		}
	}
	f, err := os.Open(name)
	if err != nil {
		return "", secretError("password_file", name, reason(err))
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return "", secretError("password_file", name, reason(err))
	case info.Mode().Type() == fs.ModeDir:
		return "", secretError("password_file", name, "is a directory")
	case info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0:
		return "", secretError("password_file", name, "other people can read it; fix: chmod 600 "+name)
	}
	password, err := ReadSecret(f)
	return secretFrom("password_file", name, password, err)
}

// secretFrom says where a password comes from that is not right.
func secretFrom(key, value, password string, err error) (string, error) {
	if err != nil {
		err = secretError(key, value, err.Error())
	}
	return password, err
}

func secretError(key, value, text string) error {
	return &Error{Key: key, Value: value, Origin: "password", Text: text}
}

// ReadSecret reads the first line of r, for --password-fd. It is at most 64 KiB long and not empty.
func ReadSecret(r io.Reader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxSecret+1))
	if err != nil {
		return "", fmt.Errorf("reading the password: %w", err)
	}
	return firstLine(b)
}

func firstLine(b []byte) (string, error) {
	line, _, _ := bytes.Cut(b, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	switch {
	case len(line) > maxSecret:
		return "", errors.New("the password is longer than 64 KiB")
	case len(line) == 0:
		return "", errors.New("the password is empty")
	}
	return string(line), nil
}

func runSecretCommand(ctx context.Context, argv []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, secretTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var out bytes.Buffer
	said := &head{}
	cmd.Stdout = &out
	cmd.Stderr = io.MultiWriter(said, os.Stderr)
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return "", secretError("password_command", argv[0], "took longer than 30s or was interrupted")
	case err != nil:
		return "", secretError("password_command", argv[0], err.Error()+said.reason(out.Bytes()))
	}
	password, err := firstLine(out.Bytes())
	return secretFrom("password_command", argv[0], password, err)
}

// maxSaid is how much is kept of what a command says on standard error, in octets.
const maxSaid = 200

// head keeps the start of what is written to it.
type head struct{ text []byte }

// Write never fails.
func (h *head) Write(p []byte) (int, error) {
	h.text = append(h.text, p[:min(len(p), maxSaid-len(h.text))]...)
	return len(p), nil
}

// reason is the first line with anything in it, as the end of an error: one line, printable, and without what the command printed
// as the password, if it complains of that.
func (h *head) reason(printed []byte) string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(h.text), []byte("\n"))
	if secret, _ := firstLine(printed); secret != "" {
		line = bytes.ReplaceAll(line, []byte(secret), []byte("***"))
	}
	text := strings.TrimSpace(strings.Map(func(r rune) rune {
		if isControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(string(line), "?")))
	if text == "" {
		return ""
	}
	return ": " + text
}
