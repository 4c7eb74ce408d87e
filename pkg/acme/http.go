package acme

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"mailx/pkg/web"
)

const leastWait = 100 * time.Millisecond

// requester speaks to the authority.
type requester struct{ web web.Client }

// reply is a complete one.
type reply struct{ *web.Reply }

// do sends a request; body is a JWS or nil. A status that is no success is an error, a *problem if the server says why; the
// reply is there all the same.
func (q *requester) do(ctx context.Context, method, address string, body []byte) (*reply, error) {
	r, err := q.web.Do(ctx, web.Request{Method: method, URL: address, Type: "application/jose+json", Body: body}) // RFC 8555 §6.2
	if err != nil {
		return nil, err
	}
	return &reply{r}, (&reply{r}).check()
}

// check makes an error of a status that is no success.
func (r *reply) check() error {
	if r.Code/100 == 2 {
		return nil
	}
	p := &problem{}
	if json.Unmarshal(r.Body, p) == nil && p.Type != "" {
		return p
	}
	return fmt.Errorf("the authority answers %d", r.Code)
}

func (r *reply) decode(into any) error {
	if err := json.Unmarshal(r.Body, into); err != nil {
		return fmt.Errorf("the authority's answer: %w", err)
	}
	return nil
}

// retryAfter is how long to wait before asking again: what the server says in seconds, within bounds.
func (r *reply) retryAfter() time.Duration {
	n, err := strconv.Atoi(r.Header.Get("Retry-After"))
	if err != nil || n < 0 {
		return time.Second
	}
	return min(max(time.Duration(n)*time.Second, leastWait), time.Minute)
}
