package fetch

import (
	"errors"
	"io"
	"log/slog"

	"mailx/pkg/mail"
)

// maxTroubles is how many temporary failures of a Target in a row end a run: it is out of order, and downloading the rest
// of the mailbox for nothing helps nobody.
const maxTroubles = 3

// take gives one message to the Target, and makes durable that it has it.
func (f *fetcher) take(it Item, text io.Reader) error {
	in := &boundedText{r: text, left: mostOf(it)}
	err := f.Target.Take(f.ctx, it, in)
	var bad *mail.Error
	switch {
	case in.err != nil && errors.As(in.err, &bad):
		return &messageError{in.err}
	case in.err != nil:
		return in.err // whatever the target has said, it has not got the whole of it
	case f.ctx.Err() != nil:
		return f.ctx.Err()
	case err != nil:
		return f.refused(err)
	}
	f.puts = 0
	f.state.done(it.ID, f.now())
	if err := f.state.sync(); err != nil {
		return err
	}
	f.result.Fetched++
	f.result.Octets += in.octets
	f.log(slog.LevelInfo, "fetch: message handed on", it, nil)
	return nil
}

func (f *fetcher) refused(err error) error {
	if mail.StatusOf(err).IsPermanent() {
		return &messageError{err}
	}
	if f.puts++; f.puts >= maxTroubles {
		f.result.Failed++
		return err
	}
	return &messageError{err}
}

// boundedText remembers what was wrong with the text.
type boundedText struct {
	r            io.Reader
	octets, left int64
	err          error
}

func (t *boundedText) Read(p []byte) (int, error) {
	if t.err != nil {
		return 0, t.err
	}
	n, err := t.r.Read(p)
	t.octets += int64(n)
	if t.left -= int64(n); t.left < 0 {
		err = errFlood
	}
	if err != nil && err != io.EOF {
		t.err = err
		return 0, err
	}
	return n, err
}
