package main

import (
	"fmt"
	"os"
	"time"
)

// fixClock sets the clock by the network.
const fixClock = "timedatectl set-ntp true"

// fromTheFuture tells of files that were made when the clock was ahead of what it is now.
func (d *doctor) fromTheFuture(s *survey) {
	if len(s.future) == 0 {
		return
	}
	d.add(finding{severity: severityWarning, check: "clock", path: s.future[0], code: exTempFail, fix: fixClock,
		text: fmt.Sprintf("%s from the future, the last by %s: the clock is late, or was ahead; one is %s", counted(len(s.future), "file"),
			shortDuration(s.newest.Sub(d.now)), s.future[0])})
}

// clock compares the time with what it can't be before, and its course with that of the clock that nobody sets.
func (d *doctor) clock(began time.Time) {
	if name, err := os.Executable(); err == nil {
		if fi, err := os.Stat(name); err == nil && fi.ModTime().After(d.now.Add(24*time.Hour)) {
			d.add(finding{severity: severityError, check: "clock", code: exTempFail, fix: fixClock,
				text: "it is " + d.now.UTC().Format(time.RFC3339) + ", before this program was made"})
		}
	}
	now := time.Now()
	wall, steady := now.Round(0).Sub(began.Round(0)), now.Sub(began)
	if jump := clockJump(wall, steady); jump != 0 {
		d.add(finding{severity: severityWarning, check: "clock", code: exTempFail, fix: fixClock,
			text: fmt.Sprintf("the clock was set by %s while this went on", jump)})
	}
}

// clockJump is how much more time has passed on the wall than in truth; 0 for what a time service does gently.
func clockJump(wall, steady time.Duration) time.Duration {
	jump := (wall - steady).Round(time.Millisecond)
	if jump.Abs() < time.Second || jump.Abs() < steady/100 {
		return 0
	}
	return jump
}
