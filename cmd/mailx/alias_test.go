package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"mailx/pkg/mail"
	"mailx/pkg/maildir"
	"mailx/pkg/mailtest"
)

// TestServerSeesFiles: a server that is running goes by the files as they are, whichever of them changes.
func TestServerSeesFiles(t *testing.T) {
	home := t.TempDir()
	in := func(name string) string { return filepath.Join(home, name) }
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(in(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("users", "bob:{PLAIN}b\n")
	write("aliases", "list: :include:"+in("list")+"\n")
	write("list", "bob\n")
	write("virtual", "v.test x\n")
	command := mailtest.Command{Bin: mailtest.Binary(t), Home: home, Ready: "listening", Args: []string{"serve-smtp",
		"--listen", "127.0.0.1:0", "--hostname", "mx.test", "--set", "domains=mx.test", "--set", "users=" + in("users"),
		"--set", "aliases=" + in("aliases"), "--set", "virtual=" + in("virtual"), "--log-level", "error"}}
	server := command.Start(t)
	conn, err := net.Dial("tcp", server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	replies := bufio.NewReader(conn)
	read := func() (code string) {
		for {
			line, err := replies.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if line[3] == ' ' {
				return line[:3]
			}
		}
	}
	say := func(line string) string {
		fmt.Fprintf(conn, "%s\r\n", line)
		return read()
	}
	read()
	say("HELO x")
	say("MAIL FROM:<a@far.test>")
	rcpt := func(name, want string) {
		t.Helper()
		if got := say("RCPT TO:<" + name + ">"); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	rcpt("list@mx.test", "250")
	rcpt("info@v.test", "550")
	rcpt("new@mx.test", "550")
	write("list", "eve\n")
	write("virtual", "v.test x\ninfo@v.test bob\n")
	rcpt("list@mx.test", "550")
	rcpt("info@v.test", "250")
	write("aliases", "new: bob\n")
	rcpt("list@mx.test", "550")
	rcpt("new@mx.test", "250")
	write("users", "eve:{PLAIN}b\n")
	rcpt("new@mx.test", "550")
	write("virtual", "")
	rcpt("info@v.test", "550")
	if err := os.Remove(in("virtual")); err != nil {
		t.Fatal(err)
	}
	rcpt("info@v.test", "451")
}

func TestQuotaWaits(t *testing.T) {
	for err, want := range map[error]int{nil: exOK, mail.Permanentf(2, 3, "too large"): exTempFail, mail.Temporaryf(2, 2, "full"): exTempFail,
		mail.Permanentf(7, 8, "no"): exNoPerm} {
		if got := exitCode(quotaWaits(err)); got != want {
			t.Errorf("%v: got %d, want %d", err, got, want)
		}
	}
}

func TestQuotaOfFields(t *testing.T) {
	for _, tt := range []struct {
		fields map[string]string
		want   maildir.Quota
		ok     bool
	}{
		{nil, maildir.Quota{}, false},
		{map[string]string{"quota": "1k,2C"}, maildir.Quota{Size: 1024, Count: 2}, true},
		{map[string]string{"quota": "0"}, maildir.Quota{}, true},
		{map[string]string{"quota": "much"}, maildir.Quota{}, false},
		{map[string]string{"userdb_quota_rule": "*", "storage": "1G"}, maildir.Quota{Size: 1 << 30}, true},
		{map[string]string{"userdb_quota_rule": "*", "messages": "7"}, maildir.Quota{Count: 7}, true},
		{map[string]string{"userdb_quota_rule": "*", "storage": "1X"}, maildir.Quota{}, false},
		{map[string]string{"userdb_quota_rule": "*", "messages": "x"}, maildir.Quota{}, false},
		{map[string]string{"userdb_quota_rule": "Trash", "storage": "1G"}, maildir.Quota{}, false},
		{map[string]string{"storage": "1G"}, maildir.Quota{}, false},
	} {
		if q, ok := quotaOfFields(tt.fields); q != tt.want || ok != tt.ok {
			t.Errorf("%v: got %v %v, want %v %v", tt.fields, q, ok, tt.want, tt.ok)
		}
	}
}
