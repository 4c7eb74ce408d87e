package fetch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mailx/pkg/mail"
)

// TestStay: pauses grow up to five minutes, and begin anew after a pass that went well for a while.
func TestStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		broken := errors.New("broken pipe")
		n := 0
		var pauses []string
		err := Stay(ctx, func(ctx context.Context) error {
			switch n++; n {
			case 12:
				time.Sleep(2 * time.Minute)
			case 14:
				return nil
			case 15:
				cancel()
				<-ctx.Done()
				return ctx.Err()
			}
			return broken
		}, func(err error, pause time.Duration) { pauses = append(pauses, fmt.Sprint(pause)) })
		want := []string{"1s", "2s", "4s", "8s", "16s", "32s", "1m4s", "2m8s", "4m16s", "5m0s", "5m0s", "1s", "2s"}
		if err != nil || !slices.Equal(pauses, want) {
			t.Errorf("%v, pauses %v, want %v", err, pauses, want)
		}
	})
}

func TestStayFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wrong := mail.Permanentf(7, 8, "wrong password")
		n := 0
		pass := func(context.Context) error { n++; return wrong }
		if err := Stay(t.Context(), pass, func(error, time.Duration) {}); !errors.Is(err, wrong) || n != 1 {
			t.Errorf("at first: %v after %d", err, n)
		}
		ctx, cancel := context.WithCancel(t.Context())
		n = 0
		pass = func(context.Context) error {
			switch n++; n {
			case 1:
				return errors.New("broken")
			case 3:
				cancel()
			}
			return wrong // a token that has expired: asked for again
		}
		if err := Stay(ctx, pass, func(error, time.Duration) {}); err != nil || n != 3 {
			t.Errorf("later: %v after %d", err, n)
		}
	})
}

func TestUntilJump(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ahead atomic.Int64
		ctx, stop := untilJump(t.Context(), func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) })
		defer stop()
		time.Sleep(time.Hour)
		synctest.Wait()
		if ctx.Err() != nil {
			t.Fatal("the clock has not jumped")
		}
		ahead.Store(int64(time.Hour))
		time.Sleep(clockEvery)
		synctest.Wait()
		if !errors.Is(context.Cause(ctx), ErrSuspended) {
			t.Errorf("cause %v", context.Cause(ctx))
		}
	})
}
