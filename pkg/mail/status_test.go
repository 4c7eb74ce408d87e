package mail

import (
	"errors"
	"fmt"
	"io"
	"testing"
)

func TestStatusOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
		text string
	}{
		{nil, "2.0.0", ""},
		{io.EOF, "4.0.0", "Internal trouble, try again later"},
		{Permanentf(1, 1, "No such user"), "5.1.1", "No such user"},
		{fmt.Errorf("rcpt: %w", Temporaryf(2, 2, "Mailbox full")), "4.2.2", "Mailbox full"},
		{errors.Join(io.EOF, Permanentf(7, 1, "No")), "5.7.1", "No"},
		{Temporaryf(3, 0, "Storage trouble on %s: %w", "disk", io.ErrShortWrite), "4.3.0", "Storage trouble on disk"},
	} {
		if got := StatusOf(c.err).String(); got != c.want {
			t.Errorf("%v: status %s, want %s", c.err, got, c.want)
		}
		if c.err != nil && TextOf(c.err) != c.text {
			t.Errorf("%v: text %q, want %q", c.err, TextOf(c.err), c.text)
		}
	}
	if err := Temporaryf(3, 0, "Storage trouble: %w", io.ErrShortWrite); !errors.Is(err, io.ErrShortWrite) {
		t.Error("the cause is lost")
	}
}

func TestParseStatus(t *testing.T) {
	for _, s := range []string{"2.0.0", "5.1.1", "4.999.999"} {
		if got, ok := ParseStatus(s); !ok || got.String() != s {
			t.Errorf("ParseStatus(%q) = %v, %v", s, got, ok)
		}
	}
	for _, s := range []string{"", "5", "5.1", "5.1.1.1", "3.0.0", "5.1000.0", "5.01.1", "5.-1.1", "5. 1.1", "55.1.1"} {
		if got, ok := ParseStatus(s); ok {
			t.Errorf("ParseStatus(%q) = %v, want refusal", s, got)
		}
	}
}

func TestNotifyWants(t *testing.T) {
	for _, c := range []struct {
		set, event Notify
		want       bool
	}{
		{0, NotifyFailure, true}, {0, NotifyDelay, true}, {0, NotifySuccess, false},
		{NotifyNever, NotifyFailure, false}, {NotifySuccess, NotifySuccess, true}, {NotifySuccess, NotifyFailure, false},
		{NotifySuccess | NotifyFailure, NotifyFailure, true}, {NotifyFailure, NotifyDelay, false},
	} {
		if got := c.set.Wants(c.event); got != c.want {
			t.Errorf("%b wants %b: %v, want %v", c.set, c.event, got, c.want)
		}
	}
}
