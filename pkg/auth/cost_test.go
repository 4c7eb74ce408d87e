package auth

import (
	"strings"
	"testing"
	"time"
)

// Where wrong passwords are not the same work for all names, they are all answered after the same time.
func TestMixedSecretsAreRefusedAlike(t *testing.T) {
	const (
		argon  = "a:$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4\n"
		argon2 = "b:$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHR4$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4\n"
		dear   = "c:$argon2id$v=19$m=256,t=3,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4\n"
		named  = "d:{ARGON2ID}$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4\n"
		plain  = "e:{PLAIN}secret\n"
		base64 = "f:{PLAIN.B64}c2VjcmV0\n"
	)
	for text, isMixed := range map[string]bool{
		"": false, argon: false, argon + argon2: false, argon + named: false, argon + dear: true, plain + argon: true,
		plain + base64: false, argon + "x:\n": false, argon + "x:{BAD}y\n": false,
	} {
		_, users := newMem(t, text)
		waits := 0
		users.after = func(d time.Duration) <-chan time.Time {
			if waits++; d <= 0 || d > refusalTime {
				t.Errorf("waits %v", d)
			}
			return atOnce(d)
		}
		for _, name := range []string{"a", "e", "nobody"} {
			if _, err := users.Authenticate(t.Context(), name, "wrong"); statusOf(err) != "5.7.8" {
				t.Errorf("%s: %v", name, err)
			}
		}
		if want := 3; (waits == want) != isMixed || !isMixed && waits > 0 {
			t.Errorf("%d of 3 refusals waited, mixed %v:\n%s", waits, isMixed, strings.TrimSpace(text))
		}
	}
}

// atOnce is time.After without the time.
func atOnce(time.Duration) <-chan time.Time {
	c := make(chan time.Time, 1)
	c <- time.Time{}
	return c
}
