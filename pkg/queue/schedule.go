package queue

import (
	"math"
	"time"
)

// Schedule says when a message is tried again. The n-th try after the first is planned at Step·n² after the message
// arrived, the last one at Lifetime; zero fields mean the defaults.
//
// The next try follows from the age of the message alone: with x the square root of the age in steps, it is at (x+1)².
// On the plan this gives 1, 4, 9, … steps, off the plan (a cron job that came late, a person who touched the file) it
// goes on smoothly from where the message is. No counter is needed, so none can be lost.
type Schedule struct {
	Step     time.Duration // between arrival and the second try; 400 s
	Lifetime time.Duration // after this the recipients that are left are bounced; 5 days
	Notice   time.Duration // after this the sender is told once that there is a delay; 4 hours; negative: never
	Jitter   float64       // part of each wait by which it is made longer or shorter at random; 0.1; negative: none
}

// DefaultSchedule is what zero fields stand for.
func DefaultSchedule() Schedule {
	return Schedule{Step: 400 * time.Second, Lifetime: 5 * 24 * time.Hour, Notice: 4 * time.Hour, Jitter: 0.1}
}

// withDefaults fills zero fields.
func (s Schedule) withDefaults() Schedule {
	d := DefaultSchedule()
	if s.Step <= 0 {
		s.Step = d.Step
	}
	if s.Lifetime <= 0 {
		s.Lifetime = d.Lifetime
	}
	if s.Notice == 0 {
		s.Notice = d.Notice
	}
	if s.Jitter == 0 {
		s.Jitter = d.Jitter
	}
	s.Jitter = min(max(s.Jitter, 0), 0.9)
	return s
}

// Planned lists the ages at which a message is tried, from 0 to Lifetime, without jitter.
func (s Schedule) Planned() []time.Duration {
	s = s.withDefaults()
	s.Jitter = 0
	ages := []time.Duration{0}
	for age := time.Duration(0); age < s.Lifetime; {
		age += s.wait(age, 0.5)
		ages = append(ages, age)
	}
	return ages
}

// Next gives the time of the next try of a message that arrived at arrived and was just tried at now. random is in
// [0,1) and moves the wait within the jitter. There is always a try at the end of the lifetime, and never one before
// now; a message from the future counts as new.
func (s Schedule) Next(arrived, now time.Time, random float64) time.Time {
	s = s.withDefaults()
	return now.Add(s.wait(max(now.Sub(arrived), 0), random))
}

func (s Schedule) wait(age time.Duration, random float64) time.Duration {
	x := math.Sqrt(float64(age) / float64(s.Step))
	steps := 2*x + 1 // (x+1)² - x²
	steps *= 1 + s.Jitter*(2*random-1)
	wait := time.Duration(steps * float64(s.Step)).Round(time.Second)
	if left := s.Lifetime - age; left > 0 && wait > left {
		return left
	}
	return max(wait, time.Second)
}

// after is the planned age of a message at the n-th try after the first.
func (s Schedule) after(n int) time.Duration {
	n = max(n, 0)
	if n > int(math.Sqrt(float64(s.Lifetime)/float64(s.Step))) {
		return s.Lifetime
	}
	return time.Duration(n*n) * s.Step
}

// Expired reports that a message of this age is given up when the next try fails too.
func (s Schedule) Expired(age time.Duration) bool { return age >= s.withDefaults().Lifetime }

// Late reports that the sender should know of the delay.
func (s Schedule) Late(age time.Duration) bool {
	s = s.withDefaults()
	return s.Notice > 0 && age >= s.Notice
}
