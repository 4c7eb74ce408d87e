package imap

import (
	"strconv"

	"mailx/pkg/mailbox"
)

// appendEnvelope prints RFC 3501 §7.4.2, ENVELOPE.
func appendEnvelope(b []byte, e *mailbox.Envelope) []byte {
	if e == nil {
		e = &mailbox.Envelope{}
	}
	b = appendNString(append(b, '('), e.Date)
	b = appendNString(append(b, ' '), e.Subject)
	for _, list := range [][]mailbox.Contact{e.From, e.Sender, e.ReplyTo, e.To, e.Cc, e.Bcc} {
		b = appendContacts(append(b, ' '), list)
	}
	b = appendNString(append(b, ' '), e.InReplyTo)
	b = appendNString(append(b, ' '), e.MessageID)
	return append(b, ')')
}

func appendContacts(b []byte, list []mailbox.Contact) []byte {
	if len(list) == 0 {
		return append(b, "NIL"...)
	}
	b = append(b, '(')
	for _, c := range list {
		b = appendNString(append(b, '('), c.Name)
		b = appendNString(append(b, ' '), c.Route)
		b = appendNString(append(b, ' '), c.Local)
		b = append(appendNString(append(b, ' '), c.Host), ')')
	}
	return append(b, ')')
}

// appendStructure prints RFC 3501 §7.4.2, BODY, or with extension data BODYSTRUCTURE. Parts are at most
// message.MaxDepth deep.
func appendStructure(b []byte, e *mailbox.Entity, extended bool) []byte {
	if e.Type == "multipart" {
		return appendMultipart(b, e, extended)
	}
	b = appendString(append(b, '('), e.Type)
	b = appendString(append(b, ' '), e.Subtype)
	b = appendParams(append(b, ' '), e.Params)
	b = appendNString(append(b, ' '), e.ID)
	b = appendNString(append(b, ' '), e.Description)
	b = appendString(append(b, ' '), e.Encoding)
	b = strconv.AppendInt(append(b, ' '), e.Size, 10)
	inner := innerMessage(e)
	switch {
	case inner != nil && e.Subtype == "rfc822":
		b = appendEnvelope(append(b, ' '), inner.Envelope)
		b = appendStructure(append(b, ' '), inner, extended)
		b = strconv.AppendInt(append(b, ' '), e.Lines, 10)
	case e.Type == "message" && e.Subtype == "rfc822": // too deep to be opened
		b = appendEnvelope(append(b, ' '), nil)
		b = append(b, ` ("text" "plain" NIL NIL NIL "7bit" 0 0)`...)
		b = strconv.AppendInt(append(b, ' '), e.Lines, 10)
	case e.Type == "text":
		b = strconv.AppendInt(append(b, ' '), e.Lines, 10)
	}
	if extended {
		b = appendNString(append(b, ' '), e.MD5)
		b = appendExtension(b, e)
	}
	return append(b, ')')
}

func appendMultipart(b []byte, e *mailbox.Entity, extended bool) []byte {
	b = append(b, '(')
	for _, p := range e.Parts {
		b = appendStructure(b, p, extended)
	}
	if len(e.Parts) == 0 { // the grammar wants one
		b = append(b, `("text" "plain" NIL NIL NIL "7bit" 0 0)`...)
	}
	b = appendString(append(b, ' '), e.Subtype)
	if extended {
		b = appendParams(append(b, ' '), e.Params)
		b = appendExtension(b, e)
	}
	return append(b, ')')
}

// appendExtension prints disposition, languages and location.
func appendExtension(b []byte, e *mailbox.Entity) []byte {
	b = append(b, ' ')
	if e.Disposition == "" {
		b = append(b, "NIL"...)
	} else {
		b = appendString(append(b, '('), e.Disposition)
		b = append(appendParams(append(b, ' '), e.DispParams), ')')
	}
	b = append(b, ' ')
	switch len(e.Language) {
	case 0:
		b = append(b, "NIL"...)
	default:
		b = append(b, '(')
		for i, l := range e.Language {
			if i > 0 {
				b = append(b, ' ')
			}
			b = appendString(b, l)
		}
		b = append(b, ')')
	}
	return appendNString(append(b, ' '), e.Location)
}

func appendParams(b []byte, params [][2]string) []byte {
	if len(params) == 0 {
		return append(b, "NIL"...)
	}
	sep := byte('(')
	for _, p := range params {
		b = appendString(append(b, sep), p[0])
		b = appendString(append(b, ' '), p[1])
		sep = ' '
	}
	return append(b, ')')
}
