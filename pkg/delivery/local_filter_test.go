package delivery

import (
	"context"
	"io"
	"slices"
	"strings"
	"testing"

	"mailx/pkg/mail"
)

// filteredText is a text that notes that it was closed.
type filteredText struct {
	*strings.Reader
	closed *int
}

func (f filteredText) Close() error {
	*f.closed++
	return nil
}

// The filter is asked once for a message, about those who would get it, and what it says is the fate of these only.
func TestLocalFilter(t *testing.T) {
	for _, c := range []struct {
		name    string
		discard bool
		err     error
		results string
		text    []string
	}{
		{"changed", false, nil, "2.0.0 5.1.1 2.0.0", []string{"Return-Path: <me@x.example>\nA: b\n\nnew\n"}},
		{"refused", false, mail.Permanentf(7, 1, "no"), "5.7.1 5.1.1 5.7.1", nil},
		{"put off", false, io.ErrUnexpectedEOF, "4.0.0 5.1.1 4.0.0", nil},
		{"discarded", true, nil, "2.0.0 5.1.1 2.0.0", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, mem := testLocal(t, testRouter(t))
			var asked []string
			closed := 0
			l.Filter = func(_ context.Context, env *mail.Envelope, msg io.ReaderAt, size int64) (Text, bool, error) {
				got := make([]byte, size)
				if _, err := msg.ReadAt(got, 0); err != nil || string(got) != text {
					t.Errorf("asked about %q, %v", got, err)
				}
				for _, r := range env.Rcpts {
					asked = append(asked, r.String())
				}
				if c.discard || c.err != nil {
					return nil, c.discard, c.err
				}
				return filteredText{strings.NewReader("A: b\n\nnew\n"), &closed}, false, nil
			}
			env := envelope(t, "me@x.example", "alice@here.example", "nobody@here.example", "bob@here.example")
			if got := deliver(t, l, env); got != c.results {
				t.Errorf("got %s, want %s", got, c.results)
			}
			if want := []string{"alice@here.example", "bob@here.example"}; !slices.Equal(asked, want) {
				t.Errorf("asked about %q, want %q", asked, want)
			}
			for _, user := range []string{"alice", "bob"} {
				if got := messages(t, mem, user); !slices.Equal(got, c.text) {
					t.Errorf("%s has %q, want %q", user, got, c.text)
				}
			}
			if closed != len(c.text) {
				t.Errorf("closed %d times", closed)
			}
			closed = 0
			deliver(t, l, envelope(t, "", "nobody@here.example"))
			if len(asked) != 2 {
				t.Error("asked about a message that nobody gets")
			}
		})
	}
}
