package main

import "strings"

// localeCharset is the charset that this user's programs write and terminals show, as setlocale(3) finds it; "" if the
// environment names none. getenv is os.Getenv.
func localeCharset(getenv func(string) string) string {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if locale := getenv(name); locale != "" {
			_, charset, _ := strings.Cut(locale, ".")
			charset, _, _ = strings.Cut(charset, "@")
			return charset
		}
	}
	return ""
}
