package fetch

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pipeServer speaks as much IMAP as waiting takes, on a pipe, and notes each command with the minutes that it took.
func pipeServer(nc net.Conn, caps string, silent bool) (said *[]string, ended chan struct{}) {
	said, ended = new([]string), make(chan struct{})
	go func() {
		defer close(ended)
		defer nc.Close()
		io.WriteString(nc, "* OK [CAPABILITY IMAP4rev1 "+caps+"] x\r\n")
		lines := bufio.NewScanner(nc)
		for lines.Scan() {
			tag, command, _ := strings.Cut(lines.Text(), " ")
			start := time.Now()
			switch {
			case command == "IDLE" && silent:
				io.Copy(io.Discard, nc)
				return
			case command == "IDLE":
				io.WriteString(nc, "+ idling\r\n* OK Still here\r\n")
				lines.Scan() // DONE
			case command == "CAPABILITY":
				io.WriteString(nc, "* CAPABILITY IMAP4rev1 "+caps+"\r\n")
			}
			*said = append(*said, fmt.Sprintf("%.7s %.0f", command, time.Since(start).Minutes()))
			io.WriteString(nc, tag+" OK x\r\n")
		}
	}()
	return said, ended
}

func pipeSession(t *testing.T, nc net.Conn) *IMAPSession {
	t.Helper()
	p := clearIMAP("pipe:143")
	p.Dial = func(context.Context, string, string) (net.Conn, error) { return nc, nil }
	s, err := p.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestWaitTimes: IDLE is given again before servers hang up, and without it a server is asked at the end.
func TestWaitTimes(t *testing.T) {
	login := []string{"CAPABIL 0", "LOGIN \" 0", "CAPABIL 0", "EXAMINE 0"}
	for caps, want := range map[string][]string{"IDLE": {"IDLE 25", "IDLE 25", "IDLE 10"}, "X": {"NOOP 0"}} {
		synctest.Test(t, func(t *testing.T) {
			ours, theirs := net.Pipe()
			said, ended := pipeServer(theirs, caps, false)
			s := pipeSession(t, ours)
			start := time.Now()
			err := s.Wait(t.Context(), "INBOX", time.Hour)
			took := time.Since(start)
			s.Close()
			<-ended
			if err != nil || took != time.Hour || !slices.Equal(*said, append(slices.Clone(login), want...)) {
				t.Errorf("%s: %v after %v, %q", caps, err, took, *said)
			}
		})
	}
}

// TestWaitDead: a server that has gone without a word is noticed, at the latest when IDLE is to end.
func TestWaitDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		_, ended := pipeServer(theirs, "IDLE", true)
		s := pipeSession(t, ours)
		start := time.Now()
		err := s.Wait(t.Context(), "INBOX", time.Hour)
		if took := time.Since(start); err == nil || s.Err() == nil || took > 30*time.Minute {
			t.Errorf("%v after %v", err, took)
		}
		s.Close()
		<-ended
	})
}
