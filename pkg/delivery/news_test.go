package delivery

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"

	"mailx/pkg/mail"
)

// While one host or command takes its time, it is told who has the message already.
func TestTransportTells(t *testing.T) {
	commands, dir := asNobody(t)
	router := aliasRouter(t, dir+"/out")
	l, mem := testLocal(t, router)
	h := startHost(t, nil)
	network := testRelay(t, map[string]string{"127.0.0.12:25": h.addr})
	told := make(chan string, 10)
	dial := network.Dial
	network.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if address != "127.0.0.13:25" {
			return dial(ctx, network, address)
		}
		for name := range told { // the slow host answers when all others have
			if name == "c@two.example" {
				break
			}
		}
		return nil, context.DeadlineExceeded
	}
	var names []string
	tell := func(results []mail.Result) {
		for _, r := range results {
			names = append(names, r.String()+" "+mail.StatusOf(r.Err).String())
			told <- r.String()
		}
	}
	tr := &Transport{Router: router, Local: l, Relay: network.Relay, Commands: commands, Files: testFiles(mem),
		Submit: new(submissionLog).submit}
	env := envelope(t, "me@x.example", "slow@dead.example", "c@two.example", "file", "refuse", "crew", "alice")
	results := tr.DeliverTelling(t.Context(), env, strings.NewReader(text), int64(len(text)), tell)
	want := []string{"crew 2.0.0", "alice 2.0.0", "file 2.0.0", "refuse 5.3.0", "c@two.example 2.0.0"}
	if !slices.Equal(names, want) {
		t.Errorf("told %q, want %q", names, want)
	}
	if len(results) != len(env.Rcpts) || results[0].Err == nil || results[1].Err != nil {
		t.Errorf("results %+v", results)
	}
	names = nil
	tr.DeliverTelling(t.Context(), envelope(t, "me@x.example", "alice", "bob"), strings.NewReader(text), int64(len(text)), tell)
	if len(names) > 0 {
		t.Errorf("told %q though all was done at once", names)
	}
}
