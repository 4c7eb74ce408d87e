package mailtest

import "strings"

// SpecPOP3Messages gives the two messages, in LF form, that the mailbox of bob holds for the dialogue
// testdata/dialogs/spec-pop3.txt: 498 and 912 octets as POP3 counts them (RFC 1939 §11), ending in the three lines that
// the dialogue prints. Two of those begin with a dot, so one dot of each is byte-stuffing and not in the message.
func SpecPOP3Messages() [2]string {
	return [2]string{specMessage(498), specMessage(912)}
}

func specMessage(octets int) string {
	const head = "From: alice@crepes.fr\nTo: bob@hamburger.edu\nSubject: blah\n\n"
	const tail = "(blah blah ...\n................\n.........blah)\n"
	fill := octets - len(head) - len(tail) - strings.Count(head+tail, "\n")
	var b strings.Builder
	b.WriteString(head)
	for fill > 0 {
		n := min(fill, 62)
		if fill-n == 1 {
			n-- // the last line needs at least its line end
		}
		b.WriteString(strings.Repeat("-", n-2) + "\n")
		fill -= n
	}
	b.WriteString(tail)
	return b.String()
}
