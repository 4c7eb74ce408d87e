package message

import (
	"bufio"
	"bytes"
	"io"
	"slices"

	"mailx/pkg/mail"
)

// Masquerade makes another the author of a message, for servers that take nothing from others: the address in From is
// replaced, the name stays, and Sender goes. Who was the author is in Reply-To, if that says nothing yet. It gives the new
// header with its empty line, and where in msg the body begins; nil if one of the authors is one whom has reports, and then
// nothing has to change. A message without an author gets one.
func Masquerade(msg io.Reader, as mail.Address, has func(mail.Address) bool) (header []byte, body int64, err error) {
	counter := &countedReader{r: msg}
	br := bufio.NewReaderSize(counter, 4<<10)
	h, err := ReadHeader(br, Limits{})
	if err != nil {
		return nil, 0, err
	}
	body = counter.n - int64(br.Buffered())
	authors, _ := ParseMailboxes(h.Get("From")) // what can't be read is nobody
	if slices.ContainsFunc(authors, func(m Mailbox) bool { return has(m.Address) }) {
		return nil, body, nil
	}
	draft := Draft{From: []Mailbox{{Address: as}}}
	if len(authors) > 0 {
		draft.From[0].Name = authors[0].Name
	}
	if !h.Has("Reply-To") { // without a domain they can't be answered from elsewhere
		draft.ReplyTo = slices.DeleteFunc(authors, func(m Mailbox) bool { return m.Address.Domain == "" })
	}
	fields, err := draft.only("From", "Reply-To")
	if err != nil {
		return nil, 0, err
	}
	out := bytes.NewBuffer(fields)
	for _, f := range h.Fields() {
		if !f.Is("From") && !f.Is("Sender") {
			out.Write(f.Raw())
		}
	}
	out.WriteByte('\n')
	return out.Bytes(), body, nil
}

// BccField prints a Bcc field, for a copy of a message that its sender keeps; nothing for nobody.
func BccField(list []Mailbox) ([]byte, error) {
	if len(list) == 0 {
		return nil, nil
	}
	draft := Draft{From: list[:1], Bcc: list, KeepBcc: true}
	return draft.only("Bcc")
}

// only prints these fields of a draft.
func (d *Draft) only(names ...string) ([]byte, error) {
	var all bytes.Buffer
	if err := d.Write(&all); err != nil {
		return nil, err
	}
	h, err := ReadHeader(bufio.NewReader(&all), Limits{})
	if err != nil {
		return nil, err
	}
	var fields []byte
	for _, f := range h.Fields() {
		if slices.ContainsFunc(names, f.Is) {
			fields = append(fields, f.Raw()...)
		}
	}
	return fields, nil
}

type countedReader struct {
	r io.Reader
	n int64
}

func (c *countedReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
