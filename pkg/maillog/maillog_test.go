package maillog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

func noon() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }

func full() *Event {
	return &Event{
		Kind: Deferred, ID: "4f1c", MsgID: "<x@y>", From: "<>", To: "<b@example.org>", Relay: "mx.example.org", Status: "4.4.1",
		Delay: 1234567 * time.Microsecond, Size: 99, TLS: "TLS1.3", User: "joe", Peer: netip.MustParseAddr("192.0.2.1"),
		Text: "no answer", Err: errors.New("connect: refused"),
	}
}

func TestLines(t *testing.T) {
	for _, tt := range []struct {
		opt   Options
		event *Event
		want  string
	}{
		{Options{}, full(), `time=2026-11-23T12:00:00.000Z level=WARN msg=deferred id=4f1c msgid=<x@y> from=<> to=<b@example.org> ` +
			`relay=mx.example.org status=4.4.1 delay=1.234 size=99 tls=TLS1.3 user=joe peer=192.0.2.1 text="no answer" error="connect: refused"`},
		{Options{Priority: true}, full(), `<4>level=WARN msg=deferred id=4f1c msgid=<x@y> from=<> to=<b@example.org> ` +
			`relay=mx.example.org status=4.4.1 delay=1.234 size=99 tls=TLS1.3 user=joe peer=192.0.2.1 text="no answer" error="connect: refused"`},
		{Options{Priority: true}, &Event{}, `<6>level=INFO msg=connect`},
		{Options{JSON: true, Priority: true}, &Event{Kind: Accepted, Size: 7}, `<6>{"level":"INFO","msg":"accepted","size":7}`},
		{Options{JSON: true}, &Event{Kind: Queued, ID: "a"}, `{"time":"2026-11-23T12:00:00Z","level":"INFO","msg":"queued","id":"a"}`},
		{Options{Priority: true}, &Event{Kind: Queued, ID: "a", Queue: "b", From: "<>"}, `<6>level=INFO msg=queued id=a queue_id=b from=<>`},
		{Options{Priority: true}, &Event{Kind: Queued, ID: "a", Queue: "a", From: "<>"}, `<6>level=INFO msg=queued id=a from=<>`},
		{Options{Level: slog.LevelWarn}, &Event{Kind: Delivered}, ""},
		{Options{Level: slog.LevelWarn, Priority: true}, &Event{Kind: Auth, Err: errors.New("x")}, "<4>level=WARN msg=auth error=x"},
		{Options{Priority: true}, &Event{Kind: Rejected, Text: "a\r\nb\x1b[31m\u009b\u202e=\""},
			`<6>level=INFO msg=rejected text="a\r\nb\x1b[31m\u009b\u202e=\""`},
		{Options{Priority: true}, &Event{From: "a\x7f", Text: "a\x7f b"}, `<6>level=INFO msg=connect from=a\x7f text="a\x7f b"`},
		{Options{JSON: true, Priority: true}, &Event{Kind: Rejected, Text: "a\r\nb\x1b\x7f\u009b\u202e\U000e0001ü\xff"},
			`<6>{"level":"INFO","msg":"rejected","text":"a\r\nb\u001b\u007f\u009b\u202e\udb40\udc01ü\ufffd"}`},
	} {
		var b bytes.Buffer
		tt.opt.Now = noon
		New(&b, tt.opt).Log(tt.event)
		if got := strings.TrimSuffix(b.String(), "\n"); got != tt.want {
			t.Errorf("%+v\n got %s\nwant %s", tt.event, got, tt.want)
		}
	}
}

func TestKinds(t *testing.T) {
	seen := map[string]bool{}
	for k := range kinds {
		if s := k.String(); seen[s] || strings.HasPrefix(s, "kind") {
			t.Errorf("kind %d is %q", k, s)
		}
		seen[k.String()] = true
		want := slog.LevelInfo
		if k == Deferred || k == Bounced {
			want = slog.LevelWarn
		}
		if got := (&Event{Kind: k}).level(); got != want {
			t.Errorf("%v: level %v, want %v", k, got, want)
		}
	}
	if got := kinds.String(); got != fmt.Sprintf("kind%d", len(seen)) {
		t.Errorf("no kind: %q", got)
	}
}

func TestLongValues(t *testing.T) {
	for _, tt := range []struct {
		n    int
		want string
	}{{maxValue - 1, strings.Repeat("x", maxValue-1)}, {maxValue, strings.Repeat("x", maxValue)}, {maxValue + 1, strings.Repeat("x", maxValue) + "..."}} {
		var b bytes.Buffer
		New(&b, Options{Priority: true}).Log(&Event{Text: strings.Repeat("x", tt.n)})
		if got := b.String(); got != "<6>level=INFO msg=connect text="+tt.want+"\n" {
			t.Errorf("%d octets: got %s", tt.n, got)
		}
	}
	if got := cut(strings.Repeat("x", maxValue-1) + "ü"); got != strings.Repeat("x", maxValue-1)+"..." {
		t.Errorf("cut within a character: %q", got[maxValue-4:])
	}
	if got := cut(strings.Repeat("\x80", 2*maxValue)); len(got) > maxValue+3 {
		t.Errorf("cut of what is no UTF-8: %d octets", len(got))
	}
}

func TestSlog(t *testing.T) {
	var b bytes.Buffer
	log := New(&b, Options{Priority: true, Level: slog.LevelDebug}).Slog()
	log.With("unit", "smtp").WithGroup("g").Error("panic", "err", errors.New("a\nb"), "time", "x")
	log.Debug("d")
	log.Warn(strings.Repeat("x", maxValue+1))
	want := "<3>level=ERROR msg=panic unit=smtp g.err=\"a\\nb\" g.time=x\n<7>level=DEBUG msg=d\n<4>level=WARN msg=" +
		strings.Repeat("x", maxValue) + "...\n"
	if got := b.String(); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	var off *Logger
	off.Slog().Error("nobody hears it")
}

// Switched off, an event costs no memory.
func TestDisabledIsFree(t *testing.T) {
	var nobody *Logger
	quiet := New(os.Stderr, Options{Level: slog.LevelError})
	for name, l := range map[string]*Logger{"nil": nobody, "level": quiet} {
		if l.Enabled() {
			t.Errorf("%s: enabled", name)
		}
		err := errors.New("x")
		if n := testing.AllocsPerRun(100, func() {
			l.Log(&Event{Kind: Delivered, ID: "x", Size: 5, Peer: netip.IPv4Unspecified(), Err: err})
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	if l := New(os.Stderr, Options{Level: slog.LevelWarn}); !l.Enabled() {
		t.Error("warnings are written, so Enabled must say so")
	}
}

// lineWriter wants whole lines, one a Write.
type lineWriter struct {
	t     *testing.T
	lines int
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.lines++
	if !bytes.HasPrefix(p, []byte("<6>level")) || bytes.Count(p, []byte("\n")) != 1 || p[len(p)-1] != '\n' {
		w.t.Errorf("a write of %q", p)
	}
	return len(p), nil
}

func TestConcurrentLines(t *testing.T) {
	w := &lineWriter{t: t}
	l := New(w, Options{Priority: true})
	var c Counters
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			for range 50 {
				e := &Event{Kind: Accepted, Size: 3}
				l.Log(e)
				l.Slog().Info("x")
				c.Add(e)
			}
		})
	}
	wg.Wait()
	if w.lines != 1000 {
		t.Errorf("%d lines", w.lines)
	}
	for _, n := range c.Snapshot() {
		want := Count{Kind: n.Kind}
		if n.Kind == Accepted {
			want = Count{Accepted, 500, 1500}
		}
		if n != want {
			t.Errorf("got %+v, want %+v", n, want)
		}
	}
}

func TestCountersOddEvents(t *testing.T) {
	var none *Counters
	none.Add(full())
	if none.Snapshot() != nil {
		t.Error("nil counts")
	}
	var c Counters
	c.Add(&Event{Kind: kinds})
	c.Add(&Event{Kind: 255, Size: -1})
	c.Add(&Event{Kind: Removed, Size: -1})
	if got := c.Snapshot()[Removed]; got != (Count{Removed, 1, 0}) {
		t.Errorf("got %+v", got)
	}
}

func TestIsJournal(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "x"))
	if err != nil {
		t.Fatal(err)
	}
	fi, _ := f.Stat()
	st := fi.Sys().(*syscall.Stat_t)
	name := fmt.Sprintf("%d:%d", st.Dev, st.Ino)
	for stream, want := range map[string]bool{name: true, "": false, name + "1": false, "1" + name: false, ":": false} {
		if got := IsJournal(stream, f); got != want {
			t.Errorf("IsJournal(%q) = %v", stream, got)
		}
	}
	f.Close()
	if IsJournal(name, f) {
		t.Error("a closed file is the journal")
	}
}

// Whatever a peer says, a line is one line, with nothing in it that a terminal obeys, and JSON gives it back.
func FuzzLine(f *testing.F) {
	f.Add("x", "a\r\nb\x1b]0;\a")
	f.Add("\x7f", "a\x7f b")
	f.Add("\u2028\u009b", "\xff\xc0\x00\U000e0001")
	f.Fuzz(func(t *testing.T, from, text string) {
		for _, asJSON := range []bool{false, true} {
			var b bytes.Buffer
			New(&b, Options{JSON: asJSON, Now: noon}).Log(&Event{Kind: Rejected, From: from, Text: text})
			line, ok := strings.CutSuffix(b.String(), "\n")
			if !ok || strings.IndexFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) >= 0 {
				t.Fatalf("%q %q: %q", from, text, line)
			}
			var back struct{ Text string }
			if !asJSON || !utf8.ValidString(text) || len(text) > maxValue {
				continue
			}
			if err := json.Unmarshal([]byte(line), &back); err != nil || back.Text != text {
				t.Fatalf("%q comes back as %q, %v", text, back.Text, err)
			}
		}
	})
}
