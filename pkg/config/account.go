package config

import (
	"errors"
	"maps"
	"slices"
	"strings"
)

// Address is the first address of From that stands for itself; "" if there is none.
func (a *Account) Address() string {
	_, address := cutName(a.Mailbox())
	return address
}

// Mailbox is the same with its name, if it has one.
func (a *Account) Mailbox() string {
	for _, text := range a.From {
		if standsForItself(text) {
			return text
		}
	}
	return ""
}

// standsForItself reports an address, perhaps with a name, that is no pattern.
func standsForItself(text string) bool {
	_, address := cutName(text)
	return strings.Contains(address, "@") && !strings.Contains(address, "*")
}

// FromAddress is that of From without its name; "" if there is none.
func (c *Config) FromAddress() string {
	_, address := cutName(c.From)
	return address
}

// AccountAddresses are the addresses of the user, some with his name, that the accounts have: what stands for itself in From, and what a mailbox is
// logged into with, where that is an address.
func (c *Config) AccountAddresses() (all []string) {
	for _, name := range slices.Sorted(maps.Keys(c.Accounts)) {
		a := c.Accounts[name]
		for _, text := range append(slices.Clone(a.From), a.URL.User) {
			if standsForItself(text) {
				all = append(all, text)
			}
		}
	}
	return all
}

// Takes reports that mail of a sender goes by this account.
func (a *Account) Takes(sender string) bool { return a.closeness(sender) > 0 }

// closeness says how much of a sender the best pattern names: all of it, or so many characters beside its asterisks; 0 if
// none fits.
func (a *Account) closeness(sender string) int {
	best := 0
	sender = strings.ToLower(sender)
	for _, pattern := range a.From {
		_, pattern = cutName(strings.ToLower(pattern))
		switch {
		case pattern == sender:
			return len(sender) + 1
		case matchStars(pattern, sender):
			best = max(best, 1+len(strings.ReplaceAll(pattern, "*", "")))
		}
	}
	return best
}

// matchStars reports that text is pattern, in which each * stands for any text.
func matchStars(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	first, last := parts[0], parts[len(parts)-1]
	if len(parts) == 1 {
		return pattern == text
	}
	if !strings.HasPrefix(text, first) || !strings.HasSuffix(text[len(first):], last) {
		return false
	}
	text = text[len(first) : len(text)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		_, after, found := strings.Cut(text, part)
		if !found {
			return false
		}
		text = after
	}
	return true
}

// AccountOf names the account by which mail of a sender goes: the one that names it most closely, the first by name of
// several; "" for none.
func (c *Config) AccountOf(sender string) string {
	best, found := 0, ""
	for _, name := range slices.Sorted(maps.Keys(c.Accounts)) {
		if n := c.Accounts[name].closeness(sender); n > best && len(c.Accounts[name].Smarthost) > 0 {
			best, found = n, name
		}
	}
	return found
}

// Senders names the accounts that mail can go by.
func (c *Config) Senders() []string {
	return c.accountsWith(func(a *Account) bool { return len(a.Smarthost) > 0 })
}

// Mailboxes names the accounts that mail can be fetched from.
func (c *Config) Mailboxes() []string {
	return c.accountsWith(func(a *Account) bool { return !a.URL.IsZero() })
}

func (c *Config) accountsWith(has func(*Account) bool) []string {
	names := slices.Sorted(maps.Keys(c.Accounts))
	return slices.DeleteFunc(names, func(name string) bool { return !has(c.Accounts[name]) })
}

// checkPattern takes an address with a domain, in which * may stand, or a name and an address in which none does.
func checkPattern(s string) error {
	if name, address := cutName(s); name != "" {
		if strings.Contains(address, "*") || !strings.Contains(address, "@") {
			return errors.New("behind a name stands an address in angle brackets, without *")
		}
		return checkMailbox(s)
	}
	at := strings.LastIndexByte(s, '@')
	if at <= 0 || at == len(s)-1 {
		return errors.New("senders are addresses such as me@example.org or *@example.org")
	}
	return checkAddress(strings.ReplaceAll(s, "*", "x"))
}
