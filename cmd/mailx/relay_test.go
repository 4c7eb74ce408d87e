package main

import (
	"context"
	"net"
	"testing"

	"mailx/pkg/config"
	"mailx/pkg/mailtest"
	"mailx/pkg/session"
)

// Strangers relay nothing, not even from this host, through a server as serve-smtp makes it.
func TestOpenRelay(t *testing.T) {
	srv, err := testSystem(t).smtpRole(config.RoleAny, false)
	if err != nil {
		t.Fatal(err)
	}
	l := mailtest.Listen(t)
	ctx, cancel := context.WithCancel(context.Background())
	server := session.Server{Handle: func(ctx context.Context, nc net.Conn) { srv.ServeConn(ctx, nc) }}
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, l) }()
	mailtest.RunTranscripts(t, "../../testdata/dialogs/relay/*.txt", mailtest.DialTCP(l.Addr().String()), mailtest.Options{})
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
