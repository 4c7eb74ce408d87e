package delivery

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mailx/pkg/mail"
)

// quietly is a Relay to "silentN.example", which take a connection and say nothing, and to others, which say yes; known are who
// has got something.
func quietly(known *sync.Map) *Relay {
	yes := &lands{places: map[string]place{}}
	var hosts sync.Map // by address
	var last atomic.Int32
	return &Relay{
		Via: func(domain string) Route {
			n := last.Add(1)
			host := fmt.Sprintf("127.9.%d.%d", n/250, n%250+1)
			hosts.Store(host, domain)
			return Route{Name: domain, Servers: []Server{{Scheme: "smtp", Host: host, Port: 25}}}
		},
		Dial: func(_ context.Context, _, address string) (net.Conn, error) {
			host, _, _ := net.SplitHostPort(address)
			domain, _ := hosts.Load(host)
			near, far := net.Pipe()
			if strings.HasPrefix(domain.(string), "silent") {
				go io.Copy(io.Discard, far)
				return near, nil
			}
			known.Store(domain, true)
			yes.mu.Lock()
			yes.open++
			yes.mu.Unlock()
			go yes.serve(far, "220 yes")
			return near, nil
		},
	}
}

// A hundred that say nothing get all the time that they want. What is more gets a minute, and is not asked again.
func TestManySilent(t *testing.T) {
	for silent, want := range map[int]string{
		manyOpening:      "100 after 5m0s: Connection to silent lost",
		manyOpening + 50: "100 after 5m0s: Connection to silent lost, 50 after 1m0s: Nothing was heard from silent",
	} {
		synctest.Test(t, func(t *testing.T) {
			r := quietly(&sync.Map{})
			defer r.Close()
			began := time.Now()
			var mu sync.Mutex
			ends := map[string]int{}
			var all sync.WaitGroup
			for i := range silent {
				all.Go(func() {
					env := envelope(t, "", fmt.Sprintf("a@silent%d.example", i))
					result := r.Deliver(t.Context(), env, strings.NewReader(text), int64(len(text)))[0]
					said, _, _ := strings.Cut(result.Err.Error(), ":")
					words := strings.Fields(said)[1:] // without the status
					for i, word := range words {
						if strings.HasPrefix(word, "[127.") || strings.HasPrefix(word, "127.") {
							words[i] = "silent"
						}
					}
					mu.Lock()
					defer mu.Unlock()
					ends[fmt.Sprintf("after %v: %s", time.Since(began), strings.Join(words, " "))]++
				})
			}
			all.Wait()
			var got []string
			for _, end := range []string{"after 5m0s: Connection to silent lost", "after 1m0s: Nothing was heard from silent"} {
				if n := ends[end]; n > 0 {
					got = append(got, fmt.Sprint(n, " ", end))
				}
			}
			if len(ends) != len(got) || strings.Join(got, ", ") != want || r.openings.count != 0 {
				t.Errorf("%d silent: got %v, want %s", silent, ends, want)
			}
			if n := len(r.Dead()); n != silent {
				t.Errorf("%d of %d are remembered", n, silent)
			}
		})
	}
}

// Hundreds of silent servers of one message cost its other recipients seconds, and no more are asked at once than may be.
func TestOneMessageToManySilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := quietly(&sync.Map{})
		defer r.Close()
		var to []string
		for i := range 400 {
			to = append(to, fmt.Sprintf("a@silent%d.example", i))
		}
		to = append(to, "a@yes.example")
		tr := &Transport{Router: &Router{Domains: []string{"here.example"}}, Local: &Local{}, Relay: r}
		began := time.Now()
		told := time.Duration(-1)
		results := tr.DeliverTelling(t.Context(), envelope(t, "me@x.example", to...), strings.NewReader(text), int64(len(text)),
			func(results []mail.Result) {
				for _, result := range results {
					if result.Domain == "yes.example" && result.Err == nil && told < 0 {
						told = time.Since(began)
					}
				}
			})
		if told < 0 || told > 10*time.Second {
			t.Errorf("told of the delivery after %v", told)
		}
		for _, result := range results {
			if (result.Err == nil) != (result.Domain == "yes.example") {
				t.Errorf("%s: %v", result.Domain, result.Err)
			}
		}
		if r.lent.many != 0 {
			t.Errorf("%d places are lent in the end", r.lent.many)
		}
	})
}

// Places that are lent are counted for all messages, and what is not lent now may be later.
func TestPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := &lent{many: maxLent - 1}
		p := newPlaces(all)
		var gives []func()
		for range maxDestinations {
			gives = append(gives, p.take())
		}
		began := time.Now()
		gives = append(gives, p.take())
		if took := time.Since(began); took != slowPlace || p.lent != 1 || all.many != maxLent {
			t.Errorf("lent after %v: %+v, %+v", took, p, all)
		}
		time.AfterFunc(time.Minute, all.remove)
		gives = append(gives, p.take())
		if took := time.Since(began); took < time.Minute || took > time.Minute+2*slowPlace {
			t.Errorf("lent again after %v", took)
		}
		for _, give := range gives {
			give()
		}
		if p.lent != 0 || all.many != maxLent-2 || len(p.free) != 0 {
			t.Errorf("at the end %+v, %+v", p, all)
		}
	})
}
