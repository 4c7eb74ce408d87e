package config

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// world is a directory with the files of a test.
func world(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func variables(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func load(t *testing.T, src Sources) *Config {
	t.Helper()
	c, err := Load(src)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return c
}

func TestNothingAtAllWorks(t *testing.T) {
	c := load(t, Sources{})
	if c.Spool != "/var/spool/mailx" || c.SMTP.MaxSize != 50<<20 || c.SMTP.Timeout != 300*time.Second ||
		c.Queue.Lifetime != 5*day || c.TLS.Policy != "opportunistic" || c.Queue.Step != 400*time.Second {
		t.Errorf("defaults: %+v", c)
	}
	if !strings.Contains(c.Hostname, ".") || !slices.Contains(c.Domains, "localhost") ||
		!slices.Contains(c.Domains, c.Hostname) {
		t.Errorf("hostname %q, domains %q", c.Hostname, c.Domains)
	}
	if c.QueueDir != "/var/spool/mailx/queue" || c.Origin("queue_dir") != "default" || c.IsSet("queue_dir") {
		t.Errorf("queue_dir %q from %q", c.QueueDir, c.Origin("queue_dir"))
	}
}

func TestSpoolDefault(t *testing.T) {
	for _, tt := range []struct {
		name string
		src  Sources
		want string
	}{
		{"root", Sources{Root: true, Getenv: variables("HOME", "/root")}, "/var/spool/mailx"},
		{"user", Sources{Getenv: variables("HOME", "/home/u")}, "/home/u/.local/state/mailx"},
		{"xdg", Sources{Getenv: variables("HOME", "/home/u", "XDG_STATE_HOME", "/s")}, "/s/mailx"},
		{"relative xdg is ignored", Sources{Getenv: variables("HOME", "/h", "XDG_STATE_HOME", "s")}, "/h/.local/state/mailx"},
		{"variable", Sources{Root: true, Getenv: variables("MAILX_SPOOL", "/v")}, "/v"},
		{"empty variable is unset", Sources{Root: true, Getenv: variables("MAILX_SPOOL", "")}, "/var/spool/mailx"},
		{"home", Sources{Getenv: variables("MAILX_SPOOL", "~/m", "HOME", "/h")}, "/h/m"},
		{"flag", Sources{Getenv: variables("MAILX_SPOOL", "/v"), Flags: []Setting{{"spool", []string{"/f"}, "--spool"}}}, "/f"},
	} {
		if c := load(t, tt.src); c.Spool != tt.want || c.MailRoot != tt.want+"/mail" {
			t.Errorf("%s: got %q and %q, want %q", tt.name, c.Spool, c.MailRoot, tt.want)
		}
	}
}

// TestLayers sets one key in more and more layers; each is over the one before.
func TestLayers(t *testing.T) {
	dir := world(t, map[string]string{
		"etc/config.toml":      "\n[smtp]\nmax_rcpts = 1\n",
		"etc/conf.d/10-a.toml": "[smtp]\nmax_rcpts = 2\n",
		"etc/conf.d/20-b.toml": "smtp.max_rcpts = 3\n",
		"etc/conf.d/note.txt":  "not = toml at all",
		"home/config.toml":     "smtp = { max_rcpts = 4 }\n",
		"alone.toml":           "log.level = 'debug'\n",
	})
	in := func(name string) string { return filepath.Join(dir, name) }
	env := variables("MAILX_SMTP_MAX_RCPTS", "5")
	flags := []Setting{{"smtp.max_rcpts", []string{"6", "7"}, "--set"}}
	for _, tt := range []struct {
		name   string
		src    Sources
		want   int
		origin string
	}{
		{"default", Sources{System: in("none.toml")}, 1000, "default"},
		{"conf.d in order", Sources{System: in("etc/config.toml")}, 3, in("etc/conf.d/20-b.toml") + ":1"},
		{"user", Sources{System: in("etc/config.toml"), User: in("home/config.toml")}, 4, in("home/config.toml") + ":1"},
		{"variable", Sources{User: in("home/config.toml"), Getenv: env}, 5, "$MAILX_SMTP_MAX_RCPTS"},
		{"flag", Sources{User: in("home/config.toml"), Getenv: env, Flags: flags}, 7, "--set"},
		{"file replaces files", Sources{User: in("home/config.toml"), File: in("alone.toml")}, 1000, "default"},
	} {
		c := load(t, tt.src)
		if c.SMTP.MaxRcpts != tt.want || c.Origin("smtp.max_rcpts") != tt.origin {
			t.Errorf("%s: got %d from %s, want %d from %s", tt.name, c.SMTP.MaxRcpts, c.Origin("smtp.max_rcpts"),
				tt.want, tt.origin)
		}
	}
}

func TestLists(t *testing.T) {
	dir := world(t, map[string]string{"c.toml": `
domains = ["Example.ORG", "example.net"]
smarthost = ["submission://u@a.example", "smtp://b.example:2525"]
smtp.relay_networks = ["192.0.2.0/24", "2001:db8::1"]
password_command = ["pass", "show", "my mail"]
`})
	file := filepath.Join(dir, "c.toml")
	c := load(t, Sources{File: file})
	if fmt.Sprint(c.Domains, c.Smarthost, c.SMTP.RelayNetworks) !=
		"[example.org example.net] [submission://u@a.example:587 smtp://b.example:2525] "+
			"[192.0.2.0/24 2001:db8::1/128]" || len(c.Password.Command) != 3 {
		t.Errorf("file: %v %v %v %q", c.Domains, c.Smarthost, c.SMTP.RelayNetworks, c.Password.Command)
	}
	c = load(t, Sources{
		Getenv: variables("MAILX_DOMAINS", "a.example, b.example", "MAILX_PASSWORD_COMMAND", "pass show mail"),
		Flags:  []Setting{{"smtp.listen", []string{":25", "[::1]:26,/run/s"}, "--listen"}},
	})
	if fmt.Sprint(c.Domains, c.Password.Command, c.SMTP.Listen) !=
		"[a.example b.example] [pass show mail] [:25 [::1]:26 /run/s]" {
		t.Errorf("texts: %q %q %q", c.Domains, c.Password.Command, c.SMTP.Listen)
	}
}

func TestSmarthostVariables(t *testing.T) {
	for _, tt := range []struct {
		env    []string
		want   string
		origin string
	}{
		{[]string{"SMTPSERVER", "mail.example"}, "[smtp://mail.example:25]", "$SMTPSERVER"},
		{[]string{"SMTPSERVER", "a.example", "MAILX_SMTP", "smtps://u@b.example"}, "[smtps://u@b.example:465]", "$MAILX_SMTP"},
		{[]string{"MAILX_SMTP", "a.example", "MAILX_SMARTHOST", "b.example"}, "[smtp://b.example:25]", "$MAILX_SMARTHOST"},
	} {
		c := load(t, Sources{Getenv: variables(tt.env...)})
		if got := fmt.Sprint(c.Smarthost); got != tt.want || c.Origin("smarthost") != tt.origin {
			t.Errorf("%q: got %s from %s, want %s from %s", tt.env, got, c.Origin("smarthost"), tt.want, tt.origin)
		}
	}
	if c := load(t, Sources{Getenv: variables("EMAIL", "me@example.org")}); c.From != "me@example.org" {
		t.Errorf("EMAIL: got %q", c.From)
	}
}

// TestFrom: the sender may have a name, as in every EMAIL.
func TestFrom(t *testing.T) {
	for _, tt := range []struct{ text, address string }{
		{"me@example.org", "me@example.org"},
		{"root", "root"},
		{"Jörg Me <me@example.org>", "me@example.org"},
		{`"Me, I." <me@example.org>`, "me@example.org"},
		{"<me@example.org>", "me@example.org"},
		{"Me, I. <me@example.org>", ""},
		{"a@x.example <me@example.org>", ""},
		{`"Me <me@example.org>`, ""},
		{"Me <me@a..b>", ""},
		{"Me\x07 <me@example.org>", ""},
		{"Me <me@example.org> x", ""},
		{"a <b> <c@d.example>", ""},
	} {
		c, err := Load(Sources{Getenv: variables("EMAIL", tt.text)})
		if (err != nil) != (tt.address == "") || err == nil && c.FromAddress() != tt.address {
			t.Errorf("%q: got %v, want %q", tt.text, err, tt.address)
		}
	}
}

// TestMistakes: every message names line, key and value, and says what is allowed.
func TestMistakes(t *testing.T) {
	for _, tt := range []struct{ toml, want string }{
		{"\n[smtp]\nmax_sise = 1\n", "c.toml:3: smtp.max_sise: unknown key"},
		{"max_size = '5M'\n", "c.toml:1: max_size: unknown key; did you mean smtp.max_size?"},
		{"[smtp]\nmax-size = 1\n", "c.toml:2: smtp.max-size: unknown key; did you mean smtp.max_size?"},
		{"account.x = 1\n", "c.toml:1: account.x: unknown key"},
		{"# c\nsmtp.max_size = 'fifty'\n", "c.toml:2: smtp.max_size = fifty: a size is octets"},
		{"smtp.max_size = -1\n", "c.toml:1: smtp.max_size = -1: a size is octets"},
		{"smtp.max_size = 1.5\n", "c.toml:1: smtp.max_size: a TOML value of this type"},
		{"smtp.max_size = [1, 2]\n", "c.toml:1: smtp.max_size = 1, 2: one value is allowed"},
		{"smtp.max_rcpts = 0\n", "smtp.max_rcpts = 0: allowed is a whole number of at least 1"},
		{"smtp.timeout = 300\n", "smtp.timeout = 300: a duration is a number with s, m, h, d or w"},
		{"smtp.auth_required = 'maybe'\n", "smtp.auth_required = maybe: allowed are true or yes, false or no"},
		{"smtp.relay_networks = ['192.0.2.1/24']\n", "did you mean 192.0.2.0/24?"},
		{"smtp.listen = ['2525']\n", "smtp.listen = 2525: an address to listen on is host:port"},
		{"tls.policy = 'maybe'\n", "tls.policy = maybe: allowed are none, opportunistic, required"},
		{"tls.cert = '/c'\n", "c.toml:1: tls.cert = /c: tls.cert and tls.key go together"},
		{"smarthost = 'http://x'\n", "smarthost = http://x: allowed are smtp://, smtps://"},
		{"smarthost = 'smtp://u:pw@x'\n", "a password does not belong in the URL"},
		{"hostname = \"a b\"\n", "hostname = a b: a domain is"},
		{"from = \"a@b\\r\\nc\"\n", "control characters are not allowed"},
		{"password_command = 'pass show'\n", "a command is an array"},
		{"recipient_delimiter = 'x'\n", "recipient_delimiter = x: allowed are some of + - = _"},
		{"recipient_delimiter = '+@'\n", "recipient_delimiter = +@: allowed are"},
		{"virtual_domains = ['a b']\n", "virtual_domains = a b: a domain is"},
		{"quota = 'much'\n", "quota = much: a size is octets"},
		{"password_env = 'A'\npassword_file = 'b'\n", "is enough"},
		{"queue.warn_after = '6d'\n", "queue.lifetime = 5d: must be longer than queue.warn_after, 6d"},
		{"[route.x]\nvia = 1.5\n", "c.toml:2: route.x.via: a TOML value of this type (float64) is not allowed here"},
		{"[route.'X.example']\nvia = 'imap://x'\n", "c.toml:2: route.x.example.via = imap://x: allowed are smtp://"},
		{"[route.'a b']\nvia = 'smtp://x'\n", "a route is for a domain"},
		{"[route.x]\nvia = ['exec:/x', 'smtp://x']\n", "a command stands alone"},
		{"[route.x]\nvia = 'exec:x'\n", "a command is exec: and the absolute path"},
		{"[route.x]\nsource = ['192.0.2.1', '::ffff:192.0.2.2']\n", "one address of each family"},
		{"[route.x]\nsource = '0.0.0.0'\n", "allowed are IP addresses of this host"},
		{"[route.x]\nfingerprints = ['sha256//x']\n", "a fingerprint is"},
		{"[route.x]\nmechanism = 'a b'\n", "a mechanism is"},
		{"[route.x]\ntoken_command = ['x']\npassword_env = 'y'\n", "a password or a token_command, not both"},
		{"[route.x]\nclient_key = 'y'\n", "client_cert and client_key go together"},
		{"[tls]\nclient_key = 'y'\n", "tls.client_cert and tls.client_key go together"},
		{"route.x = 1\n", "c.toml:1: route.x: unknown key"},
		{"[account.work]\ndelete = true\n", "account.work.url: an account needs a url"},
		{"[account.work]\nurl = 'smtp://x'\n", "c.toml:2: account.work.url = smtp://x: allowed are pop3://"},
		{"a = 1\nb = \n", "c.toml:2: expected value"},
		{"text = \"\"\"\nspool = 1\n\"\"\"\nx = 1\n", "c.toml:4: x: unknown key"},
	} {
		file := filepath.Join(world(t, map[string]string{"c.toml": tt.toml}), "c.toml")
		_, err := Load(Sources{File: file})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q:\n got %v\nwant %s", tt.toml, err, tt.want)
		}
	}
}

func TestEveryMistakeIsToldAtOnce(t *testing.T) {
	dir := world(t, map[string]string{"c.toml": "a = 1\nsmtp.max_size = 'x'\n"})
	_, err := Load(Sources{
		File:   filepath.Join(dir, "c.toml"),
		Getenv: variables("MAILX_LOG_LEVEL", "loud"),
		Flags:  []Setting{{"b", []string{"1"}, "--set"}, {"password", []string{"hunter2"}, "--set"}},
	})
	var errs Errors
	if !errors.As(err, &errs) || len(errs) != 5 || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %d errors:\n%v", len(errs), err)
	}
}

func TestMissingFile(t *testing.T) {
	if _, err := Load(Sources{File: "/nowhere/c.toml"}); err == nil {
		t.Error("a file that was asked for is missing: no error")
	}
	load(t, Sources{System: "/nowhere/c.toml", User: "/nowhere/u.toml"})
}

func TestInlinePasswordNeedsAPrivateFile(t *testing.T) {
	file := filepath.Join(world(t, map[string]string{"c.toml": "password = 'hunter2'\n"}), "c.toml")
	c := load(t, Sources{File: file})
	if c.Password.Text != "hunter2" {
		t.Errorf("got %q", c.Password.Text)
	}
	for _, shown := range []string{fmt.Sprint(c.Entries()), fmt.Sprintf("%v %+v %#v", c.Password, c.Password, c.Password)} {
		if strings.Contains(shown, "hunter2") {
			t.Errorf("shown: %s", shown)
		}
	}
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	_, err := Load(Sources{File: file})
	if err == nil || !strings.Contains(err.Error(), "chmod 600 "+file) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("mode 0640: got %v", err)
	}
}

func TestSecret(t *testing.T) {
	dir := world(t, map[string]string{"pw": "from file\nrest\n", "open": "x\n", "empty": "\n", "creds/mail": "from creds"})
	os.Chmod(filepath.Join(dir, "open"), 0o644)
	in := func(name string) string { return filepath.Join(dir, name) }
	env := variables("PW", "from env", "CREDENTIALS_DIRECTORY", in("creds"))
	for _, tt := range []struct {
		secret    Secret
		want, err string
	}{
		{Secret{Text: "inline"}, "inline", ""},
		{Secret{File: in("pw")}, "from file", ""},
		{Secret{File: "mail"}, "from creds", ""},
		{Secret{File: in("open")}, "", "chmod 600"},
		{Secret{File: in("empty")}, "", "empty"},
		{Secret{File: in("nope")}, "", "no such file"},
		{Secret{File: in("creds")}, "", "directory"},
		{Secret{Env: "PW"}, "from env", ""},
		{Secret{Env: "NOPE"}, "", "not set"},
		{Secret{Command: []string{"echo", "two  words"}}, "two  words", ""},
		{Secret{Command: []string{"cat"}}, "", "empty"}, // its stdin is /dev/null: it ends at once
		{Secret{Command: []string{"false"}}, "", "exit status 1"},
		{Secret{Command: []string{in("nope")}}, "", "no such file"},
		{Secret{File: in("empty")}, "", "password_file = " + in("empty") + ": the password is empty"},
		{Secret{Command: []string{"true"}}, "", "password_command = true: the password is empty"},
		{shell(`printf '\n\033[1mgpg:\t no key\n' >&2; echo more >&2; exit 2`), "", "sh: exit status 2: [1mgpg:  no key"},
		{shell(`echo s3cret; echo "s3cret is old" >&2; exit 1`), "", "exit status 1: *** is old"},
		{shell(`yes x | tr -d '\n' | head -c 100000 >&2; exit 1`), "", ": " + strings.Repeat("x", maxSaid)},
		{shell(`kill -9 $$`), "", "signal: killed"},
		{Secret{}, "", "none is set"},
	} {
		got, err := tt.secret.Read(context.Background(), env)
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: got %q, %v; want %q, %q", tt.secret, got, err, tt.want, tt.err)
		}
	}
	if _, err := ReadSecret(strings.NewReader(strings.Repeat("x", maxSecret+1))); err == nil {
		t.Error("64 KiB and one octet: no error")
	}
	if got, err := ReadSecret(strings.NewReader(strings.Repeat("x", maxSecret) + "\r\n")); len(got) != maxSecret {
		t.Errorf("64 KiB: got %d octets, %v", len(got), err)
	}
}

func shell(script string) Secret { return Secret{Command: []string{"sh", "-c", script}} }

func TestPasswordCommandIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := (Secret{Command: []string{"sleep", "60"}}).Read(ctx, os.Getenv); err == nil {
		t.Error("no error")
	}
}

func TestCheckSpool(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		mode os.FileMode
		ok   bool
	}{{0o700, true}, {0o755, true}, {0o720, false}, {0o702, false}, {0o777, false}} {
		os.Chmod(dir, tt.mode)
		c := load(t, Sources{Getenv: variables("MAILX_SPOOL", dir)})
		err := c.CheckSpool()
		if (err == nil) != tt.ok || err != nil && !strings.Contains(err.Error(), "chmod go-w "+dir) {
			t.Errorf("%04o: got %v", tt.mode, err)
		}
	}
	for spool, ok := range map[string]bool{filepath.Join(dir, "new"): true, "/dev/null": false} {
		if err := (&Config{Spool: spool}).CheckSpool(); (err == nil) != ok {
			t.Errorf("%s: got %v", spool, err)
		}
	}
}

func TestCheck(t *testing.T) {
	dir := world(t, map[string]string{"c": "no certificate", "k": "no key"})
	c := load(t, Sources{Getenv: variables("MAILX_TLS_CERT", dir+"/c", "MAILX_TLS_KEY", dir+"/k", "MAILX_ALIASES", dir+"/none",
		"MAILX_SPOOL", dir, "MAILX_VIRTUAL", dir+"/none")})
	if errs := c.Check(time.Now()); len(errs) != 3 {
		t.Errorf("got %v", errs)
	}
}

func TestQualify(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		err        error
	}{
		{"mx.Example.org", "mx.example.org", nil},
		{"mx.example.org.", "mx.example.org", nil},
		{"box", "box.localdomain", nil},
		{"", "localhost.localdomain", nil},
		{"bad name", "localhost.localdomain", nil},
		{"box", "localhost.localdomain", errors.New("x")},
	} {
		if got := qualify(tt.name, tt.err); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "1000": 1000, "64K": 64 << 10, "64k": 64 << 10, "50M": 50 << 20, "50MB": 50 << 20, "2GiB": 2 << 30,
		"1T": 1 << 40, "10B": 10, "": -1, "M": -1, "-1": -1, "1.5M": -1, "5MM": -1, "9000000T": -1, "5 M": -1, "K5": -1,
		"8388607T": 8388607 << 40, "8388608T": -1, "i": -1, "B": -1, "5Mi": 5 << 20,
	} {
		got, err := ParseSize(text)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q: got %d, want %d", text, got, want)
		}
		if again, err := ParseSize(FormatSize(max(got, 0))); err != nil || again != max(got, 0) {
			t.Errorf("%q: printed as %q, read as %d, %v", text, FormatSize(got), again, err)
		}
	}
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"300s": 300 * time.Second, "4h": 4 * time.Hour, "5d": 5 * day, "1d12h": 36 * time.Hour, "2w": 14 * day, "1w1d": 8 * day,
		"1h30m": 90 * time.Minute, "0": 0, "0s": 0, "100ms": 100 * time.Millisecond, "": -1, "5": -1, "-5s": -1, "5d-1h": -1,
		"1d2w": -1, "d": -1, "1.5d": -1, "70000d": -1, "9999999h9999999h": -1,
	} {
		got, err := ParseDuration(text)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
		if again, err := ParseDuration(FormatDuration(max(got, 0))); err != nil || again != max(got, 0) {
			t.Errorf("%q: printed as %q, read as %v, %v", text, FormatDuration(got), again, err)
		}
	}
}

func TestServers(t *testing.T) {
	for _, tt := range []struct {
		in, want      string
		implicit, tls bool
	}{
		{"smtp://mail.example", "smtp://mail.example:25", false, false},
		{"mail.example:2525", "smtp://mail.example:2525", false, false},
		{"smtps://me%40x@mail.example", "smtps://me%40x@mail.example:465", true, true},
		{"submission://me@mail.example/", "submission://me@mail.example:587", false, true},
		{"submissions://mail.example", "submissions://mail.example:465", true, true},
		{"lmtp:///run/l.sock", "lmtp:///run/l.sock", false, false},
		{"lmtp://[::1]:24", "lmtp://[::1]:24", false, false},
		{"lmtp:/run/l.sock", "lmtp:///run/l.sock", false, false},
		{"lmtp://mail.example", "lmtp://mail.example:24", false, false},
		{"smtp://MAIL.Example./", "smtp://mail.example:25", false, false},
		{"[2001:db8::1]:2525", "smtp://[2001:db8::1]:2525", false, false},
		{"smtp://me@[::1]", "smtp://me@[::1]:25", false, false},
		{"smtp://", "", false, false},
		{"smtp://-x.example", "", false, false},
		{"smtp://a b", "", false, false},
		{"smtp://h:x", "", false, false},
		{"smtp://h#x", "", false, false},
		{"lmtp://", "", false, false},
		{"lmtp:///run/%00", "", false, false},
		{"smtp:///run/x", "", false, false},
		{"smtp://h:0", "", false, false},
		{"smtp://h:70000", "", false, false},
		{"smtp://h/path", "", false, false},
		{"smtp://h?q", "", false, false},
		{"smtp://u:p@h", "", false, false},
		{"smtp://h%0d%0ax", "", false, false},
		{"smtp://u%0a@h", "", false, false},
		{"imap://h", "", false, false},
	} {
		s, err := ParseSmarthost(tt.in)
		if (err == nil) != (tt.want != "") || err == nil && (s.String() != tt.want || s.ImplicitTLS() != tt.implicit ||
			s.RequiresTLS() != tt.tls) {
			t.Errorf("%q: got %q %+v, %v; want %q", tt.in, s, s, err, tt.want)
		}
		if err != nil {
			if strings.Contains(err.Error(), "u:p") {
				t.Errorf("%q: the error shows the password: %v", tt.in, err)
			}
			continue
		}
		if again, err := ParseSmarthost(s.String()); again != s {
			t.Errorf("%q: printed as %s, read as %+v, %v", tt.in, s, again, err)
		}
	}
	s, err := ParseAccountURL("pop3s://u@h")
	if network, address := s.Network(); err != nil || network != "tcp" || address != "h:995" {
		t.Errorf("got %s %s, %v", network, address, err)
	}
}

// TestPasswordInURL: a password that stands where none may stand is not repeated.
func TestPasswordInURL(t *testing.T) {
	for in, want := range map[string]string{
		"smtp://me:hunter2@h": "smtp://me:***@h", "me:hunter2@h:25": "me:***@h:25", "smtp://me:hunter2@x@h/": "smtp://me:***@h/",
		"smtp://me@h:0": "smtp://me@h:0", "smtp://:hunter2@h": "smtp://:***@h",
	} {
		_, err := Load(Sources{Flags: []Setting{{Key: "smarthost", Values: []string{in}, Origin: "--server"}}})
		if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "smarthost = "+want+": ") {
			t.Errorf("%s: %v, want %s", in, err, want)
		}
	}
}

// TestKeys holds the table together: names and variables are unique, defaults are what their own parser takes.
func TestKeys(t *testing.T) {
	seen := map[string]bool{"MAILX_CONFIG": true, "MAILX_SMTP": true, "MAILX_PAGER": true}
	for _, k := range Keys() {
		if seen[k.Name] || seen[k.Env()] {
			t.Errorf("%s or %s is there twice", k.Name, k.Env())
		}
		seen[k.Name], seen[k.Env()] = true, true
		if k.Doc == "" || k.set == nil || k.get == nil {
			t.Errorf("%s: incomplete row", k.Name)
		}
	}
}

func FuzzTOML(f *testing.F) {
	f.Add("smtp.max_size = '5M'\n[account.a]\nurl='imap://x'\n")
	f.Add("a = \"\"\"\nb = 1\n\"\"\"\n[[x]]\n")
	f.Add("[smtp]\nlisten = ['x']\n\"smtp\".b = {c = 1}\n")
	f.Fuzz(func(t *testing.T, data string) {
		l := &loader{cfg: &Config{Accounts: map[string]*Account{}, Routes: map[string]*Route{}, origins: map[string]string{}}}
		l.keys = l.cfg.keys()
		l.parse("f", data, false)
		for _, e := range l.errs {
			if e.Text == "" || !strings.HasPrefix(e.Origin, "f") {
				t.Errorf("%q: %#v", data, e)
			}
		}
		l.cfg.resolve()
		l.cfg.Entries()
	})
}

func FuzzValues(f *testing.F) {
	f.Add("50M")
	f.Add("1d12h")
	f.Add("smtp://u@h:25")
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := ParseSize(s); err == nil {
			if again, err := ParseSize(FormatSize(n)); again != n || err != nil {
				t.Errorf("size %q: %d, %d, %v", s, n, again, err)
			}
		}
		if d, err := ParseDuration(s); err == nil {
			if again, err := ParseDuration(FormatDuration(d)); again != d || err != nil {
				t.Errorf("duration %q: %v, %v, %v", s, d, again, err)
			}
		}
		if srv, err := ParseSmarthost(s); err == nil {
			if again, err := ParseSmarthost(srv.String()); again != srv || err != nil {
				t.Errorf("server %q: %#v, %#v, %v", s, srv, again, err)
			}
		}
	})
}
