// Package man carries the manual pages inside the program, so that `mailx man` works where nothing is installed.
package man

import (
	"embed"
	"io/fs"
	"path"
	"slices"
	"strings"
)

//go:embed *.1 *.5 *.7
var pages embed.FS

// Page gives the source (man(7)) of a page by name: "mailx", "send" or "mailx-send", "config" or "mailx-config". A verb
// comes before a file format of the same name; "mailx-config.5" names the section.
func Page(name string) (roff []byte, file string, ok bool) {
	base := strings.TrimPrefix(name, "mailx-")
	for _, file := range []string{"mailx-" + base + ".1", "mailx-" + base + ".5", "mailx-" + base + ".7", "mailx-" + base, base + ".1", base} {
		if b, err := pages.ReadFile(file); err == nil {
			return b, file, true
		}
	}
	return nil, "", false
}

// Names lists the files, sorted: "mailx-config.1", "mailx-config.5", …, "mailx.1".
func Names() []string {
	names, _ := fs.Glob(pages, "*")
	for i, n := range names {
		names[i] = path.Base(n)
	}
	slices.Sort(names)
	return names
}
