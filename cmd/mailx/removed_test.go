package main

import (
	netsmtp "net/smtp"
	"os"
	"path/filepath"
	"testing"
	"time"

	"mailx/pkg/mailtest"
)

// TestQueueRemoved: a server whose queue somebody has removed makes it again, as it was made, and a runner hears of what comes.
// Where the spool is another directory, as that below the mount point of a disk that has gone, nothing is taken.
func TestQueueRemoved(t *testing.T) {
	sink := mailtest.StartSink(t, mailtest.SinkOptions{})
	home, bin := t.TempDir(), mailtest.Binary(t)
	spool := filepath.Join(home, "spool")
	server := mailtest.Command{Bin: bin, Home: home, Ready: "listening",
		Args: []string{"serve-smtp", "--set", "smtp.listen=127.0.0.1:0", "--set", "smtp.relay_networks=127.0.0.0/8"}}.Start(t)
	mailtest.Command{Bin: bin, Home: home, Args: []string{"queue", "run", "--set", "smarthost=smtp://" + sink.Addr}}.Start(t)
	give := func() error {
		return netsmtp.SendMail(server.Addrs[0], nil, "a@a.example", []string{"b@b.example"}, []byte("Subject: x\r\n\r\nhello\r\n"))
	}
	for n := range 3 {
		if n > 0 {
			if err := os.RemoveAll(spool + "/queue"); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		if err := give(); err != nil {
			t.Fatal(err)
		}
		await(t, "a message", func() bool { return len(sink.Messages()) == n+1 })
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("nothing was heard of the message for %v", took)
		}
	}
	for _, dir := range []string{"", "/new", "/cur", "/tmp", "/.Hold", "/.progress"} {
		if fi, err := os.Lstat(spool + "/queue" + dir); err != nil || fi.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", dir, fi, err)
		}
	}
	if err := os.Rename(spool, home+"/disk"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(spool, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := give(); err == nil {
		t.Error("mail is taken without the disk")
	}
	if names, err := os.ReadDir(spool); err != nil || len(names) > 0 {
		t.Errorf("without the disk: %v, %v", names, err)
	}
	if err := os.Remove(spool); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(home+"/disk", spool); err != nil {
		t.Fatal(err)
	}
	if err := give(); err != nil {
		t.Error(err)
	}
	await(t, "the last message", func() bool { return len(sink.Messages()) == 4 })
}
