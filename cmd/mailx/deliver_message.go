package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"mailx/pkg/mail"
	"mailx/pkg/mbox"
	"mailx/pkg/message"
)

// fillDelivery copies the message, with its Return-Path, as its own lines say what they are.
func fillDelivery(w io.Writer, from io.Reader, trace []byte) error {
	br := bufio.NewReaderSize(from, 64<<10)
	if err := dropEnvelopeLines(br, len(trace) > 0); err != nil {
		return err
	}
	if _, err := br.Peek(1); err == io.EOF {
		return mail.Permanentf(6, 0, "There is no message on standard input")
	}
	var in message.Intake
	last := &lastOctet{w: w}
	in.Reset(last, trace)
	if _, err := io.Copy(&in, br); err != nil {
		return err
	}
	if err := in.Close(); err != nil || last.octet == '\n' {
		return err
	}
	_, err := io.WriteString(w, "\n") // every line of a message ends, on each wire it will go over
	return err
}

// lastOctet remembers the last octet written.
type lastOctet struct {
	w     io.Writer
	octet byte
}

func (l *lastOctet) Write(p []byte) (int, error) {
	if len(p) > 0 {
		l.octet = p[len(p)-1]
	}
	return l.w.Write(p)
}

// dropAbove takes away what is no part of a message that was handed over alone: see mbox.Above.
func dropAbove(br *bufio.Reader) error {
	head, err := br.Peek(len(">From "))
	if err == nil && mbox.MayBeAbove(head) {
		head, err = br.Peek(mbox.MaxAbove)
	}
	if err != nil && err != io.EOF {
		return err
	}
	_, err = br.Discard(mbox.Above(head))
	return err
}

// dropEnvelopeLines takes away what MTAs put above a message for an MDA: the line of an mbox and, if we write one ourselves,
// the Return-Path.
func dropEnvelopeLines(br *bufio.Reader, returnPath bool) error {
	if err := dropAbove(br); err != nil {
		return err
	}
	const field = "Return-Path:"
	if b, _ := br.Peek(len(field)); !returnPath || !bytes.EqualFold(b, []byte(field)) {
		return nil
	}
	for {
		if err := dropLine(br); err != nil {
			return err
		}
		if b, _ := br.Peek(1); len(b) == 0 || b[0] != ' ' && b[0] != '\t' {
			return nil
		}
	}
}

func dropLine(br *bufio.Reader) error {
	for {
		_, err := br.ReadSlice('\n')
		switch {
		case err == nil, err == io.EOF:
			return nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
	}
}

// limited gives at most max octets of r, and an error, 5.3.4, if there are more.
func limited(r io.Reader, max int64) io.Reader { return &limitedReader{r: r, left: max, max: max} }

type limitedReader struct {
	r         io.Reader
	left, max int64
}

func (l *limitedReader) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, mail.Permanentf(3, 4, "Message is larger than %d octets", l.max)
	}
	return n, err
}
