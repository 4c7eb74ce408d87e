package smtp

import "mailx/pkg/mail"

// expandForUsers is the Expand of the dialogs.
func expandForUsers(p *Peer, a mail.Address) ([]mail.Address, error) {
	bob := mail.Address{Local: "bob", Domain: "hamburger.edu"}
	alice := mail.Address{Local: "alice", Domain: "crepes.fr"}
	lists := map[string][]mail.Address{
		"bob": {bob}, "staff": {bob, alice}, "world": {bob, {Local: "żółw", Domain: "crepes.fr"}}, "everybody": {bob, alice, bob, alice},
	}
	switch members, isKnown := lists[a.Local]; {
	case p.User == "":
		return nil, nil
	case !isKnown:
		return nil, mail.Permanentf(1, 1, "No such user here")
	default:
		return members, nil
	}
}
