package main

import (
	"strconv"
	"strings"
	"time"
)

// parseSince reads --since.
func parseSince(s string, now time.Time) (time.Time, error) { return parseMoment("since", s, now) }

// parseMoment reads a moment: an age ("90s", "30m", "12h", "3d", "2w"), "today", "yesterday", a date, a date with a time,
// both in the zone of now, or RFC 3339.
func parseMoment(option, s string, now time.Time) (time.Time, error) {
	if age, ok := parseAge(s); ok {
		return now.Add(-age), nil
	}
	midnight := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, now.Location())
	switch s {
	case "today":
		return midnight, nil
	case "yesterday":
		return midnight.AddDate(0, 0, -1), nil
	}
	for _, layout := range []string{time.DateOnly, "2006-01-02 15:04", "2006-01-02T15:04", time.DateTime, time.RFC3339} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usagef("--%s %q is neither a date such as 2026-01-31 nor an age such as 3d", option, s)
}

// parseAge reads a whole number and a unit, s, m, h, d or w.
func parseAge(s string) (time.Duration, bool) {
	if s == "" {
		return 0, false
	}
	unit, ok := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour,
		'w': 7 * 24 * time.Hour}[s[len(s)-1]]
	n, err := strconv.ParseInt(s[:len(s)-1], 10, 64)
	if !ok || err != nil || strings.HasPrefix(s, "+") || n < 0 || n > int64(200*365*24*time.Hour/unit) {
		return 0, false
	}
	return time.Duration(n) * unit, true
}
