package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"mailx/pkg/config"
	"mailx/pkg/message"
	"mailx/pkg/smtp"
	"mailx/pkg/wire"
)

// defaults are the values of keys that nobody has set.
func defaults(t *testing.T) (*config.Config, map[string]string) {
	t.Helper()
	cfg, err := config.Load(config.Sources{})
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	for _, e := range cfg.Entries() {
		values[e.Key] = strings.Join(e.Values, ",")
	}
	return cfg, values
}

// The manual has every limit as it is.
func TestLimitsInManual(t *testing.T) {
	_, values := defaults(t)
	page, err := os.ReadFile("../../man/mailx-serve-smtp.1")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "\nLimit|Default|Key in smtp|Reply\n_\n")
	table, _, _ = strings.Cut(table, "\n.TE\n")
	rows := strings.Split(table, "\n")
	if len(rows) < 20 {
		t.Fatalf("%d rows", len(rows))
	}
	for _, row := range rows {
		cell := strings.Split(row, "|")
		if len(cell) != 4 {
			t.Fatalf("row %q", row)
		}
		if cell[2] == "" {
			continue
		}
		got, isKey := values["smtp."+cell[2]]
		if got == "0" {
			got = "none"
		}
		if d, err := time.ParseDuration(got); err == nil && got != "0" {
			if e, err := time.ParseDuration(cell[1]); err == nil && d == e {
				continue // 5m is 300s
			}
		}
		if !isKey || got != cell[1] {
			t.Errorf("%s: the manual has %q, smtp.%s is %q", cell[0], cell[1], cell[2], got)
		}
	}
}

// A server that is not told its limits has those of the configuration, which are the ones that mailx promises.
func TestDefaultLimitsAgree(t *testing.T) {
	cfg, _ := defaults(t)
	s := cfg.SMTP
	for _, c := range []struct {
		name                string
		promised, set, used int64
	}{
		{"octets of a message", 50 << 20, s.MaxSize, smtp.DefaultMaxSize},
		{"recipients", 1000, int64(s.MaxRcpts), smtp.DefaultMaxRcpts},
		{"messages", 100, int64(s.MaxMessages), smtp.DefaultMaxMessages},
		{"bad commands", 20, int64(s.MaxBadCommands), smtp.DefaultMistakes},
		{"seconds for a command", 300, int64(s.Timeout / time.Second), int64(smtp.DefaultTimeout / time.Second)},
		{"seconds for data", 600, int64(s.DataTimeout / time.Second), int64(smtp.DefaultDataTimeout / time.Second)},
		{"octets a second", 100, int64(s.MinRate), smtp.DefaultMinRate},
		{"connections", 1000, int64(s.MaxConnections), 1000},
		{"connections of an address", 50, int64(s.MaxPerAddress), 50},
		{"octets of a text line", 4096, wire.DefaultMaxText, wire.DefaultMaxText},
		{"octets of a reply line", 512, smtp.MaxReplyLine, smtp.MaxReplyLine},
		{"Received fields", 50, message.MaxReceived, message.MaxReceived},
	} {
		if c.promised != c.set || c.set != c.used {
			t.Errorf("%s: %d are promised, %d configured, %d used", c.name, c.promised, c.set, c.used)
		}
	}
}
