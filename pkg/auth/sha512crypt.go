package auth

import (
	"bytes"
	"crypto/sha512"
	"hash"
	"strconv"
	"strings"
)

// crypt64 is the alphabet of crypt(3), least significant bits first.
const crypt64 = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// parseSHA512Crypt reads what follows "$6$": "[rounds=n$]salt$hash".
func parseSHA512Crypt(rest string) (func(string) bool, error) {
	rounds := 5000
	if after, ok := strings.CutPrefix(rest, "rounds="); ok {
		number, tail, _ := strings.Cut(after, "$")
		n, err := strconv.Atoi(number)
		if err != nil || n < 1000 || n > maxRounds {
			return nil, errSecret
		}
		rounds, rest = n, tail
	}
	salt, sum, ok := strings.Cut(rest, "$")
	if !ok || len(salt) > 16 || len(sum) != 86 || strings.Trim(sum, crypt64) != "" {
		return nil, errSecret
	}
	return func(password string) bool {
		return equal([]byte(sha512Crypt([]byte(password), []byte(salt), rounds)), []byte(sum))
	}, nil
}

// sha512Crypt is the hash part of crypt(3)'s method 6, as Ulrich Drepper specified it in 2007.
func sha512Crypt(password, salt []byte, rounds int) string {
	b := digest(password, salt, password)
	h := sha512.New()
	h.Write(password)
	h.Write(salt)
	writeRepeated(h, b, len(password))
	for n := len(password); n > 0; n >>= 1 {
		if n&1 != 0 {
			h.Write(b)
		} else {
			h.Write(password)
		}
	}
	a := h.Sum(nil)
	p := spread(digest(bytes.Repeat(password, len(password))), len(password))
	s := spread(digest(bytes.Repeat(salt, 16+int(a[0]))), len(salt))
	for i := range rounds {
		a = cryptRound(i, a, p, s)
	}
	return cryptEncode(a)
}

func cryptRound(i int, a, p, s []byte) []byte {
	h := sha512.New()
	first, last := a, p
	if i%2 != 0 {
		first, last = p, a
	}
	h.Write(first)
	if i%3 != 0 {
		h.Write(s)
	}
	if i%7 != 0 {
		h.Write(p)
	}
	h.Write(last)
	return h.Sum(nil)
}

func digest(parts ...[]byte) []byte {
	h := sha512.New()
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

// writeRepeated writes the first n octets of sum repeated without end.
func writeRepeated(h hash.Hash, sum []byte, n int) { h.Write(spread(sum, n)) }

func spread(sum []byte, n int) []byte {
	return bytes.Repeat(sum, n/len(sum)+1)[:n]
}

// cryptEncode writes three octets as four letters; the octets of each triple stand 21 apart and rotate.
func cryptEncode(sum []byte) string {
	out := make([]byte, 0, 86)
	put := func(v uint, letters int) {
		for range letters {
			out = append(out, crypt64[v&63])
			v >>= 6
		}
	}
	for i := range 21 {
		t := [3]int{i, i + 21, i + 42}
		a, b, c := t[i%3], t[(i+1)%3], t[(i+2)%3]
		put(uint(sum[a])<<16|uint(sum[b])<<8|uint(sum[c]), 4)
	}
	put(uint(sum[63]), 2)
	return string(out)
}
