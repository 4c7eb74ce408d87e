package delivery

import "mailx/pkg/mail"

// member is recipient r as one of the addresses that an alias stands for (RFC 3461 §5.2.7). The sender's wishes go along,
// and with them the address that was given, so that reports name the one the sender knows (§5.2.1 (d)). Of several members
// none reports success: the sender hears that the alias was expanded.
func member(r mail.Recipient, to mail.Address, isOneOfMany bool) mail.Recipient {
	if to != r.Address && r.Orig == "" && r.Domain != "" && r.IsASCII() {
		r.Orig = "rfc822;" + r.Address.String()
	}
	r.Address = to
	if isOneOfMany {
		r.Notify = withoutSuccess(r.Notify)
	}
	return r
}

// withoutSuccess keeps a set that becomes empty from meaning that the sender said nothing.
func withoutSuccess(n mail.Notify) mail.Notify {
	if n&mail.NotifySuccess == 0 {
		return n
	}
	if n &^= mail.NotifySuccess; n == 0 {
		n = mail.NotifyNever
	}
	return n
}
