package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"

	"mailx/pkg/queue"
)

// moreProcessors lets half as many goroutines again run at once as there are processors, and one more at least. One that waits
// for the disk in a system call (to unlink behind a commit of the journal, say) keeps its place for up to 10 ms before the
// runtime gives it to another: with two places, a quarter of the time nobody ran. What GOMAXPROCS says in the environment stands.
func moreProcessors() {
	if os.Getenv("GOMAXPROCS") == "" {
		n := runtime.GOMAXPROCS(0)
		runtime.GOMAXPROCS(n + max(1, n/2))
	}
}

// messagesAtOnce is how many messages of the queue are under way at most, where a process may have so many open files and parallel
// are to be worked on. Each has its entry and a connection, or several while the addresses of a host are tried beside each other;
// and others get ready.
func messagesAtOnce(files uint64, parallel int) int {
	return int(max(1, min(files/4, uint64(max(parallel, queue.DefaultAtOnce)))))
}

func openFiles() uint64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return limit.Cur
}

// giveBackStartUp returns what only the start of a server has needed: memory, and the pages of the program itself, each of
// which brought fifteen neighbours along. Code that runs again comes back from the page cache, a page at a time. It is for a
// process that stays; where the list of its mappings can't be read, nothing happens.
func giveBackStartUp() {
	debug.FreeOSMemory()
	self, err := os.Executable()
	if err != nil {
		return
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	defer maps.Close()
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		var from, to uintptr
		var mode string
		if n, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &from, &to, &mode); n != 3 || err != nil {
			continue
		}
		// Pages that could be written to are not in the file any more.
		if strings.HasSuffix(lines.Text(), " "+self) && (mode == "r-xp" || mode == "r--p") {
			unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED)
		}
	}
}
