package session

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// Listener is one that a service manager passed, with the name that it has there (FileDescriptorName= of systemd.socket(5);
// "" if none was told).
type Listener struct {
	Name string
	net.Listener
}

// PassedByName is Passed with the names of LISTEN_FDNAMES.
func PassedByName(getenv func(string) string) ([]Listener, error) {
	all, err := Passed(getenv)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	names := make([]string, len(all))
	if text := getenv("LISTEN_FDNAMES"); text != "" {
		names = strings.Split(text, ":")
	}
	if len(names) != len(all) {
		return nil, fmt.Errorf("%d sockets were passed, but LISTEN_FDNAMES has %d names", len(all), len(names))
	}
	named := make([]Listener, len(all))
	for i, l := range all {
		named[i] = Listener{names[i], l}
	}
	return named, nil
}

// Notify tells the service manager about this process (sd_notify(3)): "READY=1", "STOPPING=1", "WATCHDOG=1". Where nobody wants
// to know (no NOTIFY_SOCKET) it does nothing.
func Notify(getenv func(string) string, state string) error {
	name := getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	nc, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"}) // "@name" is the abstract one
	if err != nil {
		return fmt.Errorf("NOTIFY_SOCKET: %w", err)
	}
	defer nc.Close()
	if _, err := nc.Write([]byte(state)); err != nil {
		return fmt.Errorf("NOTIFY_SOCKET: %w", err)
	}
	return nil
}

// WatchdogInterval is how often the service manager wants to hear WATCHDOG=1 (WATCHDOG_USEC, WATCHDOG_PID): half of what it
// waits. 0: not at all.
func WatchdogInterval(getenv func(string) string, pid int) time.Duration {
	if text := getenv("WATCHDOG_PID"); text != "" && text != strconv.Itoa(pid) {
		return 0
	}
	usec, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || usec <= 0 {
		return 0
	}
	return time.Duration(usec) * time.Microsecond / 2
}
