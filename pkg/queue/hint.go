package queue

import (
	"strings"

	"mailx/pkg/mail"
	"mailx/pkg/maildir"
)

// The name of an entry says where it goes, if that is one domain: "1796033569.M99P13R7a.host,S=1436,W=1463,D=example.org". So people see
// it with ls, a flush that has heard that a destination is silent need not open what else there is for it, and who asks for one domain
// gets that without a look at all others. Nothing is sent by it, as anybody may rename a file.

const domainKey = 'D'

// hintDomain puts the domain of all recipients into the name of an entry.
func hintDomain(d *maildir.Delivery, rcpts []mail.Recipient) {
	domain := strings.ToLower(rcpts[0].Domain)
	for _, r := range rcpts[1:] {
		if !strings.EqualFold(r.Domain, domain) {
			return
		}
	}
	d.Hint(domainKey, domain)
}

// domainIn gives the domain in the name of an entry; "": it says none.
func domainIn(name string) string { return maildir.HintIn(name, domainKey) }
