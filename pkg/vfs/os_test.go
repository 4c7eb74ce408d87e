package vfs

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// A file of somebody else can be read, though only its owner may ask for its times to be left alone.
func TestOpenWhatIsNotOurs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be somebody else for a moment")
	}
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "a")
	if err := os.WriteFile(name, []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread() // the user of a thread is its own
	defer runtime.UnlockOSThread()
	for _, uid := range []int{1234, 0} {
		if _, err := unix.SetfsuidRetUid(uid); err != nil {
			t.Fatal(err)
		}
		fd, err := openFD(name, unix.O_RDONLY|unix.O_NOATIME)
		if mayAsk := err == nil; mayAsk != (uid == 0) {
			t.Errorf("user %d: %v", uid, err)
		}
		unix.Close(fd)
		if f, err := OS().Open(name); err != nil {
			t.Errorf("user %d: %v", uid, err)
		} else {
			f.Close()
		}
	}
}
