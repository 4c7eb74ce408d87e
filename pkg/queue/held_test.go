package queue

import (
	"io"
	"testing"

	"mailx/pkg/mail"
)

// A message that is enqueued held waits for a person: no flush looks at it before it is released.
func TestEnqueueHeld(t *testing.T) {
	w := newWorld(t)
	e, err := w.q.EnqueueHeld(&mail.Envelope{ID: "m1", Sender: addr("s@x"), Rcpts: rcpts("ok@y")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(e, ketchup); err != nil {
		t.Fatal(err)
	}
	w.wantItems()
	if err := e.Commit(); err != nil {
		t.Fatal(err)
	}
	w.wantItems("held <s@x> ok=pending")
	w.flush(FlushOptions{All: true})
	w.wantItems("held <s@x> ok=pending")
	if err := w.q.Release(e.ID()); err != nil {
		t.Fatal(err)
	}
	w.flush(FlushOptions{})
	w.wantItems()
	if w.fake.got["ok@y m1"] != 1 {
		t.Errorf("delivered %v", w.fake.got)
	}
}
