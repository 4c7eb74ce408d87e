package maildir

import (
	"strings"
	"testing"
	"time"
)

func TestParseName(t *testing.T) {
	tests := []struct {
		file, base string
		size, wire int64
		flags      string
	}{
		{"1700000000.M123456P7R0a.host,S=12,W=13:2,FS", "1700000000.M123456P7R0a.host,S=12,W=13", 12, 13, "FS"},
		{"1700000000.M123456P7R0a.host,S=12,W=13", "1700000000.M123456P7R0a.host,S=12,W=13", 12, 13, ""},
		{"1382096582_0.13402.host,U=1,FMD5=9e33:2,S", "1382096582_0.13402.host,U=1,FMD5=9e33", -1, -1, "S"},       // offlineimap
		{"1700000000.R1234567.host:2,", "1700000000.R1234567.host", -1, -1, ""},                                   // mutt
		{"1700000000.1234.host", "1700000000.1234.host", -1, -1, ""},                                              // qmail
		{"1700000000.M1P2V00FD01I0003_0.host,S=99:2,RS", "1700000000.M1P2V00FD01I0003_0.host,S=99", 99, -1, "RS"}, // courier
		{"1.a.h,W=5,S=4:2,Sab", "1.a.h,W=5,S=4", 4, 5, "Sab"},                                                     // dovecot keywords
		{"1.a.h,S=4,S=5:2,S", "1.a.h,S=4,S=5", 4, -1, "S"},
		{"1.a.h,S=4:2,ST,more", "1.a.h,S=4", 4, -1, "ST"},
		{"1.a.h,S=:2,S", "1.a.h,S=", -1, -1, "S"},
		{"1.a.h,S=-4,W=+4", "1.a.h,S=-4,W=+4", -1, -1, ""},
		{"1.a.h,S=99999999999999999999", "1.a.h,S=99999999999999999999", -1, -1, ""},
		{"1.a.h,S=9223372036854775807", "1.a.h,S=9223372036854775807", 1<<63 - 1, -1, ""},
		{"1.a.h:1,experimental", "1.a.h:1,experimental", -1, -1, ""},
		{"1.a.h:2,S:2,T", "1.a.h", -1, -1, "S:2"},
		{"S=4", "S=4", -1, -1, ""},
		{"", "", -1, -1, ""},
		{":2,", "", -1, -1, ""},
	}
	for _, tt := range tests {
		n := ParseName(tt.file)
		if n.Base != tt.base || n.Size != tt.size || n.Wire != tt.wire || n.Flags != tt.flags {
			t.Errorf("%q: got %+v, want %+v", tt.file, n, tt)
		}
		if n.String() != tt.file {
			t.Errorf("%q: printed as %q", tt.file, n)
		}
	}
}

func TestWithFlags(t *testing.T) {
	tests := []struct{ file, add, remove, want string }{
		{"1.a.h", "", "", "1.a.h:2,"},
		{"1.a.h", "S", "", "1.a.h:2,S"},
		{"1.a.h:2,S", "FS", "", "1.a.h:2,FS"},
		{"1.a.h:2,TSb", "", "", "1.a.h:2,TSb"}, // as it stands
		{"1.a.h:2,TSb", "R", "", "1.a.h:2,RSTb"},
		{"1.a.h:2,RSTb", "", "ST", "1.a.h:2,Rb"},
		{"1.a.h:2,S", "S", "S", "1.a.h:2,"},
		{"1.a.h:2,S,more", "F", "", "1.a.h:2,FS,more"},
		{"1.a.h:2,\xff", "F", "", "1.a.h:2,F\xff"},
	}
	for _, tt := range tests {
		n := ParseName(tt.file)
		if got := n.withFlags(without(n.Flags+tt.add, tt.remove)).String(); got != tt.want {
			t.Errorf("%q + %q - %q: got %q, want %q", tt.file, tt.add, tt.remove, got, tt.want)
		}
	}
}

func FuzzName(f *testing.F) {
	for _, seed := range []string{"1700000000.M123456P7R0a.host,S=12,W=13:2,FS", "1.a.h", ":2,", "x:2,,S=1", "a,S=1,W=2,:2,é"} {
		f.Add(seed, "S")
	}
	f.Fuzz(func(t *testing.T, file, flags string) {
		n := ParseName(file)
		if n.String() != file {
			t.Fatalf("%q printed as %q", file, n)
		}
		if again := ParseName(n.String()); again != n {
			t.Fatalf("%q: got %+v, then %+v", file, n, again)
		}
		if !wellFormed(flags) {
			return
		}
		marked := n.withFlags(n.Flags + flags)
		if got := ParseName(marked.String()); got != marked || got.Base != n.Base || got.tail != n.tail {
			t.Fatalf("%q + %q: got %+v, want %+v", file, flags, got, marked)
		}
		for i := 0; i < len(flags); i++ {
			if !marked.Has(flags[i]) {
				t.Fatalf("%q + %q: %q lacks a flag", file, flags, marked)
			}
		}
		arrivalOf(file)
	})
}

func TestUnique(t *testing.T) {
	stopped := time.Unix(1700000000, 123456789) // a clock that stands still
	seen := map[string]bool{}
	for range 1000 {
		name := unique(stopped, "host")
		if seen[name] {
			t.Fatalf("twice: %q", name)
		}
		seen[name] = true
		if !strings.HasPrefix(name, "1700000000.M123456P") || !strings.HasSuffix(name, ".host") {
			t.Fatalf("got %q", name)
		}
	}
}

func TestEscapeHost(t *testing.T) {
	tests := []struct{ host, want string }{
		{"mail.example.org", "mail.example.org"},
		{"a/b:c,d", `a\057b\072c\054d`},
		{"a b\x00\nc\\", `a\040b\000\012c\134`},
		{"", "localhost"},
	}
	for _, tt := range tests {
		if got := escapeHost(tt.host); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.host, got, tt.want)
		}
	}
	longest := unique(time.Unix(1<<33, 999999000), escapeHost(strings.Repeat("/", 300))) +
		",S=9223372036854775807,W=9223372036854775807:2,DFPRSTabcdefghijklmnopqrstuvwxyz"
	if len(longest) > 255 {
		t.Errorf("a name of %d octets: %s", len(longest), longest)
	}
}

func TestArrivalOf(t *testing.T) {
	tests := []struct {
		base string
		want arrival
	}{
		{"1700000000.M123456P7R0a.host", arrival{1700000000, 123456}},
		{"1700000000.V1I2M42P7.host", arrival{1700000000, 42}},
		{"1700000000.1234_5.Mhost", arrival{1700000000, 0}},
		{"1700000000_3.55.host", arrival{1700000000, 0}},
		{"17", arrival{17, 0}},
		{"123456789012345678901.M1.h", arrival{123456789012345678, 0}},
		{"new message", arrival{noArrival, 0}},
		{"", arrival{noArrival, 0}},
	}
	for _, tt := range tests {
		if got := arrivalOf(tt.base); got != tt.want {
			t.Errorf("%q: got %v, want %v", tt.base, got, tt.want)
		}
	}
}
