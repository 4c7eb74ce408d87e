package mailtest

import (
	"crypto/tls"
	"maps"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// DefaultTimeout bounds every read, write and handshake of the test kit that is given no time of its own.
const DefaultTimeout = 10 * time.Second

// Dialer opens a connection to the server under test and fails the test if it can't.
type Dialer func(t testing.TB) net.Conn

// Options says how transcripts are run. The zero value runs them in clear, without variables.
type Options struct {
	// Vars are the variables that the file may use (host, user, date, …).
	Vars map[string]string
	// TLS is used by @tls, and inside TLS from the first octet. Without a ServerName, only the chain up to RootCAs is
	// verified, not the name.
	TLS *tls.Config
	// DialTLS opens a TCP connection to a listener that expects TLS from the first octet. If it is set, and TLS too,
	// files are run a second time inside TLS.
	DialTLS Dialer
	// Setup runs before each mode, with a fresh copy of Vars that it may add to. A file that changes the state of the
	// server needs it: to start a server anew, or to fill a mailbox.
	Setup func(t testing.TB, vars map[string]string)
	// Timeout bounds each read, write and handshake; 0 is DefaultTimeout.
	Timeout time.Duration
}

func (o *Options) timeout() time.Duration {
	if o.Timeout == 0 {
		return DefaultTimeout
	}
	return o.Timeout
}

// mode is one way of cutting what the client says into writes.
type mode struct {
	name  string
	octet bool // every octet its own write
	batch bool // everything up to the next sync point in one write
	tls   bool
}

// RunTranscript runs one file in each of its modes as a subtest of its own, with connections of its own:
//
//	line      every C line is one write, sent after the replies before it have come
//	octet     the same, every octet its own write
//	onewrite  from the first C line of a connection on, all C lines up to the next sync point are one write:
//	          the end of the file, @sync, @tls, >>>, <<<, S= EOF, or a C line that uses a variable which a reply
//	          before it sets
//	tls-…     the same three inside TLS
//
// Files with @lockstep leave out onewrite, files with @plain or @tls leave out tls-….
func RunTranscript(t *testing.T, path string, dial Dialer, opt Options) {
	t.Helper()
	script, err := parseTranscript(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range modesOf(script, &opt) {
		t.Run(m.name, func(t *testing.T) {
			if err := play(t, script, m, dial, opt); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// RunTranscripts runs every file that matches a pattern of filepath.Glob, each as a subtest with its base name. No
// match at all is a failure.
func RunTranscripts(t *testing.T, pattern string, dial Dialer, opt Options) {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no transcripts match %s (%v)", pattern, err)
	}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
		t.Run(name, func(t *testing.T) { RunTranscript(t, path, dial, opt) })
	}
}

func modesOf(script *transcript, opt *Options) []mode {
	modes := []mode{{name: "line"}, {name: "octet", octet: true}}
	if !script.lockstep {
		modes = append(modes, mode{name: "onewrite", batch: true})
	}
	if opt.TLS == nil || opt.DialTLS == nil || script.plain || script.usesTLS() {
		return modes
	}
	for _, m := range modes {
		m.name, m.tls = "tls-"+m.name, true
		modes = append(modes, m)
	}
	return modes
}

// play runs one mode. The error is the whole report.
func play(t testing.TB, script *transcript, m mode, dial Dialer, opt Options) error {
	p := &player{
		script: script,
		mode:   m,
		opt:    &opt,
		vars:   maps.Clone(opt.Vars),
		conns:  make(map[string]*lineConn),
	}
	if p.vars == nil {
		p.vars = make(map[string]string)
	}
	if opt.Setup != nil {
		opt.Setup(t, p.vars)
	}
	if m.tls {
		dial = opt.DialTLS
	}
	p.dial = func() net.Conn { return dial(t) }
	defer p.closeAll()
	return p.play()
}
