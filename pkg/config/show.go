package config

import (
	"maps"
	"slices"
)

// Entry is a key with its value, for people.
type Entry struct {
	Key    string
	Values []string // "(secret)" for a password; empty: not set
	Origin string
}

// Entries lists every key, fixed ones in the order of Keys, then the routes and the accounts by name.
func (c *Config) Entries() []Entry {
	keys := c.keys()
	for _, name := range slices.Sorted(maps.Keys(c.Routes)) {
		keys = append(keys, c.Routes[name].keys("route."+name+".")...)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Accounts)) {
		keys = append(keys, c.Accounts[name].keys("account."+name+".")...)
	}
	entries := make([]Entry, len(keys))
	for i, k := range keys {
		entries[i] = Entry{Key: k.Name, Values: k.get(), Origin: c.Origin(k.Name)}
		if k.Secret && len(entries[i].Values) > 0 {
			entries[i].Values = []string{"(secret)"}
		}
	}
	return entries
}
