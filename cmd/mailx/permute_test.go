package main

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

func someFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "subject", Aliases: []string{"s"}},
		&cli.StringSliceFlag{Name: "to", Aliases: []string{"t"}},
		&cli.BoolFlag{Name: "ignore", Aliases: []string{"i"}},
		&cli.BoolFlag{Name: "verbose"},
		&cli.IntFlag{Name: "max", Aliases: []string{"m"}},
	}
}

func TestPermute(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"", " -- "},
		{"a b", " -- a b"},
		{"u@x -s hi", "--subject=hi -- u@x"},
		{"-shello u", "--subject=hello -- u"},
		{"-s=x u", "--subject==x -- u"},
		{"--subject=a=b u", "--subject=a=b -- u"},
		{"--subject= u", "--subject= -- u"},
		{"--subject -i u", "--subject=-i -- u"},
		{"-s -- u", "--subject=-- -- u"},
		{"-ishello", "--ignore --subject=hello -- "},
		{"-is hello u", "--ignore --subject=hello -- u"},
		{"-ii u", "--ignore --ignore -- u"},
		{"--verbose u --ignore=false", "--verbose --ignore=false -- u"},
		{"u -- -s --x --", " -- u -s --x --"},
		{"- u", " -- - u"},
		{"-m 5 -m-5", "--max=5 --max=-5 -- "},
		{"--to a,b -t c", "--to=a,b --to=c -- "},
		{"-x", "unknown option -x"},
		{"-ix", "unknown option -x"},
		{"-sx -é", "unknown option -é"},
		{"-subject x", "--subject=ubject -- x"},
		{"-verbose", "unknown option -verbose; did you mean --verbose?"},
		{"--s x", "unknown option --s"},
		{"--sub x", "unknown option --sub; did you mean --subject?"},
		{"--Subject x", "unknown option --Subject; did you mean --subject?"},
		{"--subjects=x", "unknown option --subjects; did you mean --subject?"},
		{"--verbsoe", "unknown option --verbsoe; did you mean --verbose?"},
		{"--xyz", "unknown option --xyz"},
		{"--=x", "unknown option --"},
		{"-s", "option -s needs a value"},
		{"--subject", "option --subject needs a value"},
	} {
		line, err := permute(strings.Fields(tt.args), optionsOf(someFlags()))
		got := strings.Join(line.options, " ") + " -- " + strings.Join(line.words, " ")
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.args, got, tt.want)
		}
	}
}

func TestCutAtWord(t *testing.T) {
	line, err := cutAtWord([]string{"-i", "--max", "3", "verb", "-x", "--"}, optionsOf(someFlags()))
	if err != nil || !slices.Equal(line.options, []string{"--ignore", "--max=3"}) ||
		!slices.Equal(line.rest, []string{"verb", "-x", "--"}) || len(line.words) != 0 {
		t.Errorf("got %+v, %v", line, err)
	}
}

// FuzzPermute: the canonical form of the canonical form is itself, and nothing is lost or invented.
func FuzzPermute(f *testing.F) {
	f.Add("u@x\x00-shello\x00--\x00-i")
	f.Add("-i\x00-\x00--to=a\x00b")
	f.Fuzz(func(t *testing.T, joined string) {
		args := strings.Split(joined, "\x00")
		line, err := permute(args, optionsOf(someFlags()))
		if err != nil {
			var usage *usageError
			if !errors.As(err, &usage) {
				t.Errorf("%q: %v is not a usage error", args, err)
			}
			return
		}
		canonical := slices.Concat(line.options, []string{"--"}, line.words)
		again, err := permute(canonical, optionsOf(someFlags()))
		if err != nil || !slices.Equal(again.options, line.options) || !slices.Equal(again.words, line.words) {
			t.Errorf("%q: %q, then %q, %v", args, canonical, again, err)
		}
	})
}
