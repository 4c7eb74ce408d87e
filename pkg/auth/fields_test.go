package auth

import (
	"os"
	"path/filepath"
	"testing"

	"mailx/pkg/vfs"
)

func TestAnyField(t *testing.T) {
	name := filepath.Join(t.TempDir(), "users")
	u := NewUsers(vfs.OS(), name)
	if got, err := u.AnyField("quota"); got || err != nil {
		t.Errorf("no file: %v %v", got, err)
	}
	if err := os.WriteFile(name, []byte("a:{PLAIN}x\nb:{PLAIN}x:quota=1G\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]bool{"quota": true, "other": false} {
		if got, err := u.AnyField("none", key); got != want || err != nil {
			t.Errorf("%s: got %v %v, want %v", key, got, err, want)
		}
	}
	if err := os.Chmod(name, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := u.AnyField("quota"); err == nil {
		t.Error("a file that others can read: no error")
	}
}
