package main

import (
	"context"
	"io"

	"mailx/pkg/mail"
	"mailx/pkg/queue"
)

// submitTo gives a function that puts a message, in local form, into the queue durably.
func submitTo(q *queue.Queue) func(ctx context.Context, env *mail.Envelope, msg io.Reader) error {
	return func(_ context.Context, env *mail.Envelope, msg io.Reader) error {
		entry, err := q.Enqueue(env)
		if err != nil {
			return err
		}
		if _, err := io.Copy(entry, msg); err != nil {
			entry.Abort()
			return err
		}
		return entry.Commit()
	}
}
