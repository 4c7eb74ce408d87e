package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mailx/pkg/mail"
	"mailx/pkg/mailtest"
	"mailx/pkg/queue"
	"mailx/pkg/vfs"
)

// silentPeer takes connections and says nothing; count gives how many it has taken.
func silentPeer(t *testing.T) (addr string, count *atomic.Int32) {
	l := mailtest.Listen(t)
	count = &atomic.Int32{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			count.Add(1)
			go func() { io.Copy(io.Discard, nc); nc.Close() }()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String(), count
}

// Hundreds of destinations that say nothing, and come first, do not hold up the others.
func TestFlushPastSilent(t *testing.T) {
	const silent, answering = 240, 10
	peer, asked := silentPeer(t)
	sink := mailtest.StartSink(t, mailtest.SinkOptions{})
	home := t.TempDir()
	var config strings.Builder
	fmt.Fprintf(&config, "spool = %q\n[tls]\npolicy = \"none\"\n", filepath.Join(home, "spool"))
	for i := range silent {
		fmt.Fprintf(&config, "[route.\"s%d.test\"]\nvia = [\"smtp://%s\"]\n", i, peer)
	}
	fmt.Fprintf(&config, "[route.\"answers.test\"]\nvia = [\"smtp://%s\"]\n", sink.Addr)
	file := filepath.Join(home, "config.toml")
	if err := os.WriteFile(file, []byte(config.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	q, err := queue.Create(vfs.OS(), filepath.Join(home, "spool/queue"), queue.Options{})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	put := func(domain string) {
		env := &mail.Envelope{Rcpts: []mail.Recipient{{Address: mail.Address{Local: "a", Domain: domain}}}, Arrived: began}
		if err := submitTo(q)(t.Context(), env, bytes.NewReader([]byte("Subject: x\n\nhi\n"))); err != nil {
			t.Fatal(err)
		}
	}
	for i := range silent {
		put(fmt.Sprintf("s%d.test", i))
	}
	for range answering {
		put("answers.test")
	}
	flush := mailtest.Command{Bin: mailtest.Binary(t), Home: home, Args: []string{"queue", "flush", "--config", file, "--log-level", "error"}}.Start(t)
	defer flush.Stop()
	for deadline := time.Now().Add(time.Minute); len(sink.Messages()) < answering; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d messages have come; %d silent ones were asked", len(sink.Messages()), answering, asked.Load())
		}
	}
	if n := asked.Load(); n < 200 {
		t.Errorf("only %d of %d silent ones were asked", n, silent)
	}
}

func TestMessagesAtOnce(t *testing.T) {
	for in, want := range map[[2]int]int{
		{0, 20}: 1, {64, 20}: 16, {1024, 20}: 256, {3999, 20}: 999, {4000, 20}: 1000, {1 << 20, 20}: 1000, {1 << 20, 3000}: 3000, {4096, 3000}: 1024,
	} {
		if got := messagesAtOnce(uint64(in[0]), in[1]); got != want {
			t.Errorf("%v: got %d, want %d", in, got, want)
		}
	}
}
