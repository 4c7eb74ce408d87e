package queue

import (
	"context"
	"io"
	"testing"

	"mailx/pkg/mail"
)

// telling is a transport that tells of its first result, and again, before it goes on.
type telling struct {
	*fake
	meanwhile func()
}

func (s telling) DeliverTelling(
	ctx context.Context, env *mail.Envelope, msg io.ReaderAt, size int64, tell func([]mail.Result),
) []mail.Result {
	results := s.fake.Deliver(ctx, env, msg, size)
	tell(results[:1])
	tell(results[:1])
	s.meanwhile()
	return results
}

// Who has the message is on disk while others are still being tried, so that a crash sends it to nobody again.
func TestDeliveriesAreRecordedEarly(t *testing.T) {
	for name, test := range map[string]struct {
		to, during, after []string
		meanwhile         func()
	}{
		"one waits": {
			to: []string{"ok@y", "temp@slow"}, during: []string{"new <sender@x.example> ok=delivered temp=pending"},
			after: []string{"deferred <sender@x.example> ok=delivered temp=pending"},
		},
		"all are well":    {to: []string{"ok@y", "ok2@slow"}, during: []string{"new <sender@x.example> ok=delivered ok2=pending"}},
		"a failure waits": {to: []string{"temp@y", "ok@slow"}, during: []string{"new <sender@x.example> temp=pending ok=pending"}, after: []string{"deferred <sender@x.example> temp=pending ok=delivered"}},
		"it panics": {
			to: []string{"ok@y", "ok2@slow"}, during: []string{"new <sender@x.example> ok=delivered ok2=pending"},
			after: []string{"deferred <sender@x.example> ok=delivered ok2=pending"}, meanwhile: func() { panic("oops") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.mail(test.to...)
			transport := telling{w.fake, func() {
				w.wantItems(test.during...)
				if test.meanwhile != nil {
					test.meanwhile()
				}
			}}
			stats, err := w.q.Flush(context.Background(), transport, FlushOptions{Parallel: 1})
			if (err != nil) != (test.meanwhile != nil) {
				t.Error(err)
			}
			if stats.Delivered+stats.Deferred != len(test.to) {
				t.Errorf("each recipient is to be counted once: %+v", stats)
			}
			w.wantItems(test.after...)
		})
	}
}
