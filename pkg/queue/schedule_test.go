package queue

import (
	"testing"
	"time"
)

func TestPlanned(t *testing.T) {
	ages := DefaultSchedule().Planned()
	for n, age := range ages[:len(ages)-1] {
		if want := time.Duration(400*n*n) * time.Second; age != want {
			t.Errorf("try %d is planned at %v, want %v", n, age, want)
		}
	}
	if last := ages[len(ages)-1]; len(ages) != 34 || last != 5*24*time.Hour {
		t.Errorf("%d tries, the last at %v; want 34, and the last at the end of the lifetime", len(ages), last)
	}
}

// What queue schedule prints is what happens: a message that is tried exactly when it is due.
func TestPlannedIsReal(t *testing.T) {
	for _, s := range []Schedule{
		{}, {Step: time.Minute}, {Step: time.Hour, Lifetime: 24 * time.Hour}, {Lifetime: time.Second},
	} {
		s.Jitter = -1
		now := arrived
		for n, age := range s.Planned() {
			if now.Sub(arrived) != age {
				t.Fatalf("%+v: try %d was at %v, planned at %v", s, n, now.Sub(arrived), age)
			}
			if s.Expired(age) != (age == s.withDefaults().Lifetime) {
				t.Errorf("%+v: Expired(%v) = %v", s, age, s.Expired(age))
			}
			now = s.Next(arrived, now, 0.5)
		}
	}
}

func TestNext(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		age    time.Duration
		random float64
		want   time.Duration // after now
	}{
		{0, 0.5, 400 * time.Second},
		{0, 0, 360 * time.Second},
		{0, 1, 440 * time.Second},
		{360 * time.Second, 0.5, 1159 * time.Second}, // not another short try at 400 s
		{400 * time.Second, 0.5, 1200 * time.Second},
		{-time.Hour, 0.5, 400 * time.Second}, // the clock went back
		{5*day - time.Minute, 0.5, time.Minute},
		{5*day - time.Minute, 1, time.Minute},
		{5 * day, 0.5, 26691 * time.Second}, // nobody looked for long
		{5000 * day, 0, 748606 * time.Second},
	} {
		now := arrived.Add(c.age)
		if got := (Schedule{}).Next(arrived, now, c.random).Sub(now); got != c.want {
			t.Errorf("age %v, random %v: got %v, want %v", c.age, c.random, got, c.want)
		}
	}
}

func TestLateAndExpired(t *testing.T) {
	s := Schedule{}
	for _, c := range []struct {
		age           time.Duration
		late, expired bool
	}{
		{0, false, false}, {4*time.Hour - 1, false, false}, {4 * time.Hour, true, false}, {4*time.Hour + 1, true, false},
		{120*time.Hour - 1, true, false}, {120 * time.Hour, true, true}, {120*time.Hour + 1, true, true},
	} {
		if s.Late(c.age) != c.late || s.Expired(c.age) != c.expired {
			t.Errorf("age %v: late %v, expired %v; want %v, %v", c.age, s.Late(c.age), s.Expired(c.age), c.late, c.expired)
		}
	}
	if (Schedule{Notice: -1}).Late(100 * time.Hour) {
		t.Error("a negative Notice does not switch the notice off")
	}
}
