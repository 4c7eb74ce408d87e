// Package maillog writes down what becomes of mail: one event, one line, with the same keys everywhere, over log/slog.
//
//	time=2026-11-23T04:10:40.123Z level=INFO msg=delivered id=4f1c from=<a@example.org> to=<b@example.org> size=1234
//
// Lines are logfmt or JSON. Under journald they start with a priority, <6>, and have no time of their own. Whatever a
// peer puts into a value stays on its line and never reaches a terminal as a control character: in text it is quoted
// as in Go, in JSON escaped. Values are cut at 1000 octets.
//
// A nil *Logger is one that is switched off. It costs a comparison, and no memory.
package maillog

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// maxValue is the longest text in a value, in octets.
const maxValue = 1000

// Kind is what happened.
type Kind uint8

// The events.
const (
	Connect   Kind = iota // a client has connected
	Auth                  // it has shown credentials; with Err they were wrong
	Accepted              // a message is in our hands, durable
	Queued                // it waits in the queue
	Delivered             // a recipient has it
	Deferred              // a recipient will be tried again
	Bounced               // a recipient was given up, and the sender told
	Rejected              // a command or a message was refused
	Removed               // a message has left the queue
	kinds
)

// String is the word in the log.
func (k Kind) String() string {
	switch k {
	case Connect:
		return "connect"
	case Auth:
		return "auth"
	case Accepted:
		return "accepted"
	case Queued:
		return "queued"
	case Delivered:
		return "delivered"
	case Deferred:
		return "deferred"
	case Bounced:
		return "bounced"
	case Rejected:
		return "rejected"
	case Removed:
		return "removed"
	default:
		return "kind" + strconv.Itoa(int(k))
	}
}

// Event is one line. Zero fields are left out. Nothing in it may be a secret.
type Event struct {
	Kind   Kind
	ID     string        // id: of the message on this host
	Queue  string        // queue_id: what it is called in the queue, where that is something else
	MsgID  string        // msgid: its Message-ID
	From   string        // from: the reverse-path in angle brackets, so that the null one is seen
	To     string        // to: the forward-path in angle brackets
	Relay  string        // relay: the server that took or refused it
	Status string        // status: RFC 3463 code
	Delay  time.Duration // delay: since it arrived; written in seconds
	Size   int64         // size: in octets
	TLS    string        // tls: version and cipher
	User   string        // user: who has logged in, or tried
	Peer   netip.Addr    // peer: of the connection
	Text   string        // text: what else there is to say, such as the reply of a server
	Err    error         // error: the cause
}

// level is a warning where a person may want to look.
func (e *Event) level() slog.Level {
	if e.Kind == Deferred || e.Kind == Bounced || e.Err != nil {
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

func (e *Event) record(now time.Time) slog.Record {
	r := slog.NewRecord(now, e.level(), e.Kind.String(), 0)
	text := func(key, value string) {
		if value != "" {
			r.AddAttrs(slog.String(key, value))
		}
	}
	text("id", e.ID)
	if e.Queue != e.ID {
		text("queue_id", e.Queue)
	}
	text("msgid", e.MsgID)
	text("from", e.From)
	text("to", e.To)
	text("relay", e.Relay)
	text("status", e.Status)
	if e.Delay != 0 {
		r.AddAttrs(slog.Float64("delay", float64(e.Delay.Milliseconds())/1000))
	}
	if e.Size != 0 {
		r.AddAttrs(slog.Int64("size", e.Size))
	}
	text("tls", e.TLS)
	text("user", e.User)
	if e.Peer.IsValid() {
		text("peer", e.Peer.String())
	}
	text("text", e.Text)
	if e.Err != nil {
		text("error", e.Err.Error())
	}
	return r
}

// Options say how a log looks.
type Options struct {
	JSON     bool
	Level    slog.Level       // the least that is written; the zero value is Info
	Priority bool             // "<6>" before each line, and no time: for journald
	Now      func() time.Time // of events; time.Now if nil
}

// Logger writes lines, each with one Write. It is safe for concurrent use, and so is a nil one, which writes nothing.
type Logger struct {
	handler *handler
	now     func() time.Time
}

// New makes a Logger that writes to w. Errors of w are dropped: mail goes on without a log.
func New(w io.Writer, opt Options) *Logger {
	s := &sink{out: w, json: opt.JSON, priority: opt.Priority}
	format := slog.HandlerOptions{Level: opt.Level, ReplaceAttr: s.replace}
	h := &handler{sink: s}
	if opt.JSON {
		h.format = slog.NewJSONHandler(&s.line, &format)
	} else {
		h.format = slog.NewTextHandler(&s.line, &format)
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	return &Logger{h, opt.Now}
}

// Stderr makes a Logger for standard error, with priorities if that is the journal.
func Stderr(opt Options) *Logger {
	opt.Priority = opt.Priority || IsJournal(os.Getenv("JOURNAL_STREAM"), os.Stderr)
	return New(os.Stderr, opt)
}

// IsJournal reports that f is the stream "device:inode" that systemd names in JOURNAL_STREAM. The variable alone proves
// nothing: children inherit it and have their output elsewhere.
func IsJournal(stream string, f *os.File) bool {
	if stream == "" {
		return false
	}
	fi, err := f.Stat()
	if err != nil {
		return false
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && stream == strconv.FormatUint(uint64(st.Dev), 10)+":"+strconv.FormatUint(st.Ino, 10)
}

// Enabled reports that events are written: ask before making texts for one.
func (l *Logger) Enabled() bool { return l.enabled(slog.LevelWarn) }

func (l *Logger) enabled(level slog.Level) bool {
	return l != nil && l.handler.format.Enabled(context.Background(), level)
}

// Log writes an event.
func (l *Logger) Log(e *Event) {
	if !l.enabled(e.level()) {
		return
	}
	l.handler.Handle(context.Background(), e.record(l.now()))
}

// Slog gives a logger for everything that is not the fate of mail, into the same lines.
func (l *Logger) Slog() *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(l.handler)
}

// handler formats with one of slog's handlers into the buffer of the sink.
type handler struct {
	format slog.Handler
	sink   *sink
}

// Enabled is part of slog.Handler.
func (h *handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.format.Enabled(ctx, level)
}

// Handle is part of slog.Handler.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	h.sink.mu.Lock()
	defer h.sink.mu.Unlock()
	h.sink.line.Reset()
	if err := h.format.Handle(ctx, r); err != nil {
		return err
	}
	return h.sink.write(r.Level)
}

// WithAttrs is part of slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &handler{h.format.WithAttrs(attrs), h.sink}
}

// WithGroup is part of slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{h.format.WithGroup(name), h.sink}
}

// sink is where the lines of a Logger and of all that come from it go.
type sink struct {
	out            io.Writer
	json, priority bool

	mu   sync.Mutex
	line bytes.Buffer
}

// replace cuts long texts, and drops the time where the journal has its own.
func (s *sink) replace(groups []string, a slog.Attr) slog.Attr {
	if s.priority && a.Key == slog.TimeKey && len(groups) == 0 {
		return slog.Attr{}
	}
	switch v := a.Value.Any().(type) {
	case string:
		a.Value = slog.StringValue(cut(v))
	case error:
		a.Value = slog.StringValue(cut(v.Error()))
	}
	return a
}

// cut shortens at a whole character.
func cut(s string) string {
	if len(s) <= maxValue {
		return s
	}
	end := maxValue
	for end > maxValue-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "..."
}

func (s *sink) write(level slog.Level) error {
	line := s.line.Bytes()
	if s.json {
		line = escape(line)
	} else {
		line = bytes.ReplaceAll(line, []byte("\x7f"), []byte(`\x7f`)) // slog leaves a DEL bare
	}
	if s.priority {
		line = append([]byte{'<', priority(level), '>'}, line...)
	}
	_, err := s.out.Write(line)
	return err
}

// priority is the syslog severity: error, warning, info, debug.
func priority(level slog.Level) byte {
	switch {
	case level >= slog.LevelError:
		return '3'
	case level >= slog.LevelWarn:
		return '4'
	case level >= slog.LevelInfo:
		return '6'
	default:
		return '7'
	}
}

// escape writes the characters that a terminal may obey (DEL, C1, direction changes) as JSON escapes; slog does that
// for the ASCII ones only. They can stand nowhere but in strings.
func escape(line []byte) []byte {
	text := string(line)
	if strings.IndexFunc(text, isUnsafe) < 0 {
		return line
	}
	out := make([]byte, 0, len(line)+16)
	for _, r := range text {
		if !isUnsafe(r) {
			out = utf8.AppendRune(out, r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			out = append(out, `\u`...)
			out = append(out, hex4(unit)...)
		}
	}
	return out
}

func isUnsafe(r rune) bool { return r >= 0x7f && !unicode.IsPrint(r) }

func hex4(u uint16) string {
	s := strconv.FormatUint(uint64(u), 16)
	return "0000"[len(s):] + s
}
