package queue

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/vfs"
)

func someRecords() []record {
	at := arrived.Truncate(time.Second)
	return []record{
		{kind: kindTry, tries: 3, at: at},
		{kind: kindOK, addr: addr("a@x.example"), at: at, mta: "mx.x.example", reply: "250 2.0.0 ok", owe: "relayed"},
		{kind: kindTemp, addr: addr("b@x.example"), at: at, status: mail.Status{Class: 4, Subject: 2, Detail: 2}, reply: "full"},
		{kind: kindTemp, addr: addr("b@x.example"), at: at, status: mail.Status{Class: 4, Subject: 7}, reply: "No password",
			cause: "exit status 2: gpg: no key."},
		{kind: kindFail, addr: addr("c d\n@x"), at: at, status: mail.Status{Class: 5, Subject: 1, Detail: 1}, mta: "m",
			reply: "550 no \x1b[1m"},
		{kind: kindTold, addr: addr("c d\n@x")},
		{kind: kindLate, addr: addr("b@x.example")},
	}
}

func TestRecordRoundTrip(t *testing.T) {
	for _, want := range someRecords() {
		line := want.print(nil)
		got, ok := parseRecord(string(bytes.TrimSuffix(line, []byte("\n"))))
		if !ok || got != want {
			t.Errorf("line %q: got %+v, %v, want %+v", line, got, ok, want)
		}
	}
}

// Power may go in the middle of an append: what was whole before stays, what is torn counts as not written, and what
// is appended later is not glued to it.
func TestProgressTorn(t *testing.T) {
	var data []byte
	ends := map[int]int{0: 0}
	for i, r := range someRecords() {
		data = r.print(data)
		ends[len(data)] = i + 1
	}
	whole := 0
	for n := range len(data) + 1 {
		if i, ok := ends[n]; ok {
			whole = i
		}
		want := &progress{exists: true, size: n, torn: n != 0 && data[n-1] != '\n'}
		for _, r := range someRecords()[:whole] {
			want.apply(r)
		}
		if got := parseProgress(data[:n]); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %+v, want %+v", data[:n], got, want)
		}
		zeros := append(bytes.Clone(data[:n]), make([]byte, len(data)-n)...)
		if got := parseProgress(zeros); !reflect.DeepEqual(got.fates, want.fates) || got.tries != want.tries {
			t.Errorf("%q: got %+v, want %+v", zeros, got, want)
		}
	}
}

// An append goes on a new line when the last one was torn.
func TestAppendAfterTorn(t *testing.T) {
	w := newWorld(t)
	write(t, w.mem, "/q/.progress/base", "ok <a@x> .\nok <b@")
	p, err := w.q.loadProgress("base")
	if err != nil || !p.torn {
		t.Fatal(p, err)
	}
	for _, a := range []string{"c@x", "d@x"} {
		if err := w.q.record("base", p, []record{{kind: kindOK, addr: addr(a)}}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := vfs.ReadFile(w.mem, "/q/.progress/base", 1000)
	if want := "ok <a@x> .\nok <b@\nok <c@x> .\nok <d@x> .\n"; string(got) != want || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

// A side file that grew long is written anew, and says the same.
func TestLongProgress(t *testing.T) {
	w := newWorld(t)
	p := &progress{}
	ok := record{kind: kindOK, addr: addr("ok@x")}
	temp := record{kind: kindTemp, addr: addr("temp@x"), reply: strings.Repeat("x", maxReply)}
	for range 2 * longLog / maxReply {
		if err := w.q.record("base", p, []record{ok, temp}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := w.q.loadProgress("base")
	if err != nil || got.size > longLog+2*maxReply || got.of(ok.addr).kind != kindOK || got.of(temp.addr).kind != kindTemp {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestProgressNeverTakesBackADelivery(t *testing.T) {
	p := &progress{}
	a := addr("a@x")
	p.apply(record{kind: kindTemp, addr: a})
	p.apply(record{kind: kindOK, addr: a})
	p.apply(record{kind: kindFail, addr: a})
	if f := p.of(a); f.kind != kindOK {
		t.Errorf("got %q, want ok", f.kind)
	}
}

func FuzzProgress(f *testing.F) {
	var data []byte
	for _, r := range someRecords() {
		data = r.print(data)
	}
	f.Add(data)
	f.Add([]byte("ok <a@x> .\nfail <b@x> status=9.9.9 .\ntry -1 .\n\x00\n .\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		p := parseProgress(in)
		again := parseProgress(p.print())
		if again.tries != p.tries || !reflect.DeepEqual(again.fates, p.fates) {
			t.Fatalf("%q: got %+v, printed and read again %+v", in, p, again)
		}
	})
}
