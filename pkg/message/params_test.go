package message

import (
	"strings"
	"testing"
)

// TestForeignParams: names that are percent-encoded in any charset, whole or in pieces (RFC 2231 §3, §4).
func TestForeignParams(t *testing.T) {
	for in, want := range map[string]string{
		"filename*=iso-8859-1''%FC.csv":                                       "ü.csv",
		"filename*=ISO-8859-1'de'%FC.csv":                                     "ü.csv",
		"filename=u.csv; filename*=windows-1252''%80.csv":                     "€.csv",
		"filename*0*=iso-8859-1''%FC; filename*1=%41; filename*2*=%e4":        "ü%41ä",
		"filename*0*=iso-8859-1''%FC; filename*2*=%e4":                        "ü",
		"filename*=iso-2022-jp''%1B$B%46%7C%4B%5C%1B(B.txt":                   "日本.txt",
		"filename*0*=iso-2022-jp''%1B$B%46%7C; filename*1*=%4B%5C%1B%28B.txt": "日本.txt",
		"filename*=\"iso-8859-1''%FC.csv\"":                                   "ü.csv",
		"filename*=utf8''%C3%BC.csv":                                          "ü.csv",
		"filename*=utf-8''%C3%BC.csv":                                         "ü.csv",
		"filename*=x-klingon''%C3%BC.csv":                                     "ü.csv",
		"filename*=iso-8859-1''100%; x=y":                                     "100%",
		"filename=a.txt; x*0*=iso-8859-1":                                     "a.txt",
		"filename=a.txt; **=iso-8859-1''x":                                    "a.txt",
		"filename*=iso-8859-1''" + strings.Repeat("%FC", 100):                 strings.Repeat("ü", 100),
	} {
		value, params := parseParams("Attachment; " + in)
		if value != "attachment" || params["filename"] != want {
			t.Errorf("%s: got %q %q, want %q", in, value, params, want)
		}
	}
	msg := "Content-Type: text/csv\nContent-Disposition: attachment; filename*=iso-8859-1''%0a%1b..%2f%fc.csv\n\nx\n"
	if list := parse(t, msg).Attachments(); len(list) != 1 || list[0].Name != "ü.csv" {
		t.Errorf("got %v", list)
	}
}

// FuzzParams: no field is too much for the reader, and what it gives is text.
func FuzzParams(f *testing.F) {
	for _, s := range []string{"a; b=c", "a; b*=iso-8859-1''%FC", "a; b*0*=x''%; b*1=\"\\\"\"", "a; b*0*=iso-2022-jp''%1B$B; b*1*=%4B%5C"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if _, params := parseParams(s); len(params) > len(s) {
			t.Errorf("%q: got %q", s, params)
		}
	})
}

func TestExtension(t *testing.T) {
	for in, want := range map[string]string{"text/calendar": ".ics", "text/csv": ".csv", "image/jpeg": ".jpg", "message/global": ".eml",
		"message/rfc822": ".eml", "text/plain": ".txt", "application/octet-stream": ".bin", "": ".bin"} {
		if got := extension(in); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}
