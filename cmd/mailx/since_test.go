package main

import (
	"testing"
	"time"
)

func TestParseSince(t *testing.T) {
	zone := time.FixedZone("CET", 3600)
	now := time.Date(2026, 3, 1, 12, 30, 0, 0, zone)
	for _, tt := range []struct {
		in, want string // "" is a usage error
	}{
		{"90s", "2026-03-01T12:28:30+01:00"},
		{"30m", "2026-03-01T12:00:00+01:00"},
		{"12h", "2026-03-01T00:30:00+01:00"},
		{"1d", "2026-02-28T12:30:00+01:00"},
		{"2w", "2026-02-15T12:30:00+01:00"},
		{"0d", "2026-03-01T12:30:00+01:00"},
		{"today", "2026-03-01T00:00:00+01:00"},
		{"yesterday", "2026-02-28T00:00:00+01:00"},
		{"2026-01-31", "2026-01-31T00:00:00+01:00"},
		{"2026-01-31 18:00", "2026-01-31T18:00:00+01:00"},
		{"2026-01-31T18:00", "2026-01-31T18:00:00+01:00"},
		{"2026-01-31 18:00:07", "2026-01-31T18:00:07+01:00"},
		{"2026-01-31T18:00:00Z", "2026-01-31T18:00:00Z"},
		{"", ""}, {"d", ""}, {"3", ""}, {"-3d", ""}, {"+3d", ""}, {"3y", ""}, {"1.5h", ""}, {"99999999999w", ""},
		{"9223372036854775807s", ""}, {"tomorrow", ""}, {"2026-02-30", ""}, {"31.01.2026", ""}, {"3d ", ""},
	} {
		got, err := parseSince(tt.in, now)
		if tt.want == "" {
			if exitCode(err) != exUsage {
				t.Errorf("%q: got %v, %v; want a usage error", tt.in, got, err)
			}
			continue
		}
		if err != nil || got.Format(time.RFC3339) != tt.want {
			t.Errorf("%q: got %v, %v; want %s", tt.in, got.Format(time.RFC3339), err, tt.want)
		}
	}
}
