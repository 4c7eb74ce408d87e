package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"mailx/man"
	"mailx/pkg/config"
)

func testEnv() *env { return newEnv(streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}) }

// plainRoff takes the escapes out of a page that stand inside option names, and the comments.
func plainRoff(page []byte) string {
	return strings.NewReplacer(`\-`, "-", `\(aq`, "'", `\(dq`, `"`, `\fB`, " ", `\fI`, " ", `\fR`, " ", `\fP`, " ", `\&`, "").
		Replace(string(page))
}

// optionsIn finds every option that a page mentions.
func optionsIn(page string) map[string]bool {
	found := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?:^|[\s|\[("'.,])(--?[a-zA-Z0-9][a-zA-Z0-9-]*)`).FindAllStringSubmatch(page, -1) {
		found[m[1]] = true
	}
	return found
}

// flagsBelow gives the option names of a command and of its subcommands, with dashes.
func flagsBelow(c *cli.Command) []string {
	names := optionNames(c.Flags)
	for _, sub := range c.Subcommands {
		names = append(names, flagsBelow(sub)...)
	}
	return names
}

// TestManPages holds pages and flags together, both ways. In examples only the calls of the verb itself count, so that
// they can show other programs; the prose has options of the verb and nothing else.
func TestManPages(t *testing.T) {
	for _, v := range verbs() {
		t.Run(v.name, func(t *testing.T) {
			file := "mailx-" + v.name + ".1"
			page, name, ok := man.Page(v.name)
			if !ok || name != file {
				t.Fatalf("man/%s is missing: every verb has a page", file)
			}
			checkPage(t, file, plainRoff(page), v.build(testEnv()))
		})
	}
}

func checkPage(t *testing.T, file, page string, c *cli.Command) {
	t.Helper()
	for _, want := range []string{".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION", ".SH EXIT STATUS", ".SH SEE ALSO"} {
		if !strings.Contains(page, "\n"+want) {
			t.Errorf("man/%s has no section %s", file, want)
		}
	}
	for _, sub := range c.Subcommands {
		if !strings.Contains(page, c.Name+" "+sub.Name) {
			t.Errorf("man/%s does not mention %q", file, c.Name+" "+sub.Name)
		}
	}
	if c.SkipFlagParsing { // it reads its options itself, and has a test for its page
		return
	}
	mentioned := optionsIn(page)
	flags := flagsBelow(c)
	for _, f := range flags {
		if !mentioned[f] {
			t.Errorf("man/%s does not mention %s, an option of mailx %s", file, f, c.Name)
		}
	}
	allowed := append(flags, optionNames(append(globalFlags(), cli.HelpFlag))...)
	for f := range optionsIn(ownLines(page, c.Name)) {
		if !slices.Contains(allowed, f) {
			t.Errorf("man/%s mentions %s, which mailx %s does not have", file, f, c.Name)
		}
	}
}

// ownLines drops the examples that are not calls of the verb, and what stands behind a pipe.
func ownLines(page, verb string) string {
	var b strings.Builder
	example := false
	for line := range strings.Lines(page) {
		switch {
		case strings.HasPrefix(line, ".EX"):
			example = true
		case strings.HasPrefix(line, ".EE"):
			example = false
		case !example:
			b.WriteString(line)
		default:
			if _, call, ok := strings.Cut(line, "mailx "+verb); ok {
				call, _, _ = strings.Cut(call, "|")
				call, _, _ = strings.Cut(call, "&&")
				b.WriteString(call + "\n")
			}
		}
	}
	return b.String()
}

// TestOverviewPage: mailx.1 lists the options of every command and every exit code.
func TestOverviewPage(t *testing.T) {
	roff, _, _ := man.Page("mailx")
	page := plainRoff(roff)
	mentioned := optionsIn(page)
	for _, f := range append(optionNames(append(globalFlags(), cli.HelpFlag)), "--version") {
		if !mentioned[f] {
			t.Errorf("man/mailx.1 does not mention %s", f)
		}
	}
	for _, code := range []int{exOK, exNoMatch, exUsage, exDataErr, exNoInput, exNoUser, exNoHost, exUnavailable, exSoftware,
		exCantCreate, exIOErr, exTempFail, exProtocol, exNoPerm, exConfig} {
		if !strings.Contains(page, "\n"+strconv.Itoa(code)+"\t") {
			t.Errorf("man/mailx.1 does not list exit code %d", code)
		}
	}
}

// TestConfigPage: mailx-config.5 has every key and its default.
func TestConfigPage(t *testing.T) {
	roff, _, ok := man.Page("mailx-config.5")
	if !ok {
		t.Fatal("man/mailx-config.5 is missing")
	}
	page := plainRoff(roff)
	for _, k := range slices.Concat(config.Keys(), config.RouteKeys(), config.AccountKeys()) {
		if !regexp.MustCompile(`(?m)^\.BR? .*` + regexp.QuoteMeta(k.Name)).MatchString(page) {
			t.Errorf("man/mailx-config.5 has no entry for %s (%s)", k.Name, k.Doc)
		}
		if !strings.Contains(page, k.Default) {
			t.Errorf("man/mailx-config.5 does not say the default of %s, %s", k.Name, k.Default)
		}
	}
}

// TestRoff lets groff complain about the pages, where it is installed.
func TestRoff(t *testing.T) {
	if _, err := exec.LookPath("groff"); err != nil {
		t.Skip("no groff")
	}
	for _, file := range man.Names() {
		page, _, _ := man.Page(file)
		cmd := exec.Command("groff", "-t", "-man", "-Tutf8", "-ww", "-z")
		cmd.Stdin = bytes.NewReader(page)
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("man/%s: %v\n%s", file, err, out)
		}
	}
}

// TestPagesAreEmbedded: what lies in man/ is what the program carries, and pages are named for a verb or a format.
func TestPagesAreEmbedded(t *testing.T) {
	files, err := filepath.Glob("../../man/*.[1-9]")
	if err != nil || len(files) != len(man.Names()) {
		t.Errorf("%d files in man/, %d in the program, %v", len(files), len(man.Names()), err)
	}
	for _, file := range man.Names() {
		verb, isVerb := strings.CutPrefix(strings.TrimSuffix(file, ".1"), "mailx-")
		if _, ok := findVerb(verb); strings.HasSuffix(file, ".1") && isVerb && !ok {
			t.Errorf("man/%s: there is no verb %s", file, verb)
		}
	}
}
