package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"mime"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"mailx/pkg/message"
)

// composeFlags say what is in a message. They are those of send, compose, reply and forward.
func (e *env) composeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "from", Usage: "the message is from `ADDRESS`"},
		&cli.StringSliceFlag{Name: "to", Usage: "to `ADDRESS` (may be repeated)"},
		&cli.StringSliceFlag{Name: "cc", Usage: "a copy to `ADDRESS` (may be repeated)"},
		&cli.StringSliceFlag{Name: "bcc", Usage: "a copy to `ADDRESS` that nobody sees (may be repeated)"},
		&cli.StringFlag{Name: "subject", Aliases: []string{"s"}, Usage: "the subject is `TEXT`"},
		&cli.StringSliceFlag{Name: "reply-to", Usage: "answers go to `ADDRESS` (may be repeated)"},
		&cli.StringSliceFlag{Name: "header", Usage: "add the field '`NAME: VALUE`' (may be repeated)"},
		&cli.BoolFlag{Name: "alert", Usage: "no person wrote this: nobody's vacation notice shall answer"},
		&cli.StringSliceFlag{Name: "unsubscribe", Usage: "who wants no more of these goes to `URL` (may be repeated)"},
		&cli.BoolFlag{Name: "one-click", Usage: "a single POST to the https URL of --unsubscribe does it (RFC 8058)"},
		&cli.StringFlag{Name: "body", Usage: "the text is `TEXT`"},
		&cli.StringFlag{Name: "body-file", Usage: "the text is in `FILE`"},
		&cli.StringFlag{Name: "html", Usage: "add the HTML in `FILE`"},
		&cli.StringFlag{Name: "template", Usage: "the text is made from the template in `FILE`"},
		&cli.StringFlag{Name: "html-template", Usage: "the HTML is made from the template in `FILE`"},
		&cli.StringFlag{Name: "data", Usage: "the templates are about the JSON in `FILE`; without, about the environment"},
		&cli.StringSliceFlag{Name: "attach", Usage: "attach `[NAME=]FILE` (may be repeated)"},
		&cli.StringSliceFlag{Name: "inline", Usage: "add `NAME=FILE`, which the HTML shows as cid:NAME (may be repeated)"},
		&cli.StringSliceFlag{Name: "type", Usage: "the file called so is of a media type: `NAME=TYPE` (may be repeated)"},
		&cli.StringFlag{Name: "charset", Usage: "text and HTML are in `CHARSET`"},
		&cli.StringFlag{Name: "encoding", Usage: "write text and HTML as `ENCODING`: 8bit, quoted-printable or base64"},
	}
}

// composeFlagNames are their names, without the regular expressions of the framework.
func composeFlagNames() (names []string) {
	for _, f := range new(env).composeFlags() {
		names = append(names, namesOf(f)[0])
	}
	return names
}

// checkComposeFlags refuses what makes no sense together.
func checkComposeFlags(c *cli.Context) error {
	for _, group := range [][]string{{"body", "body-file", "template"}, {"html", "html-template"}} {
		group = slices.DeleteFunc(group, func(name string) bool { return !c.IsSet(name) })
		if len(group) > 1 {
			return usagef("either --%s or --%s", group[0], group[1])
		}
	}
	switch encoding := c.String("encoding"); {
	case c.IsSet("data") && !c.IsSet("template") && !c.IsSet("html-template"):
		return usagef("--data is for --template and --html-template")
	case c.IsSet("encoding") && !slices.Contains([]string{"8bit", "quoted-printable", "base64"}, encoding):
		return usagef("--encoding is 8bit, quoted-printable or base64, not %q", encoding)
	}
	return nil
}

// content opens the files, and says what standard input is for.
func (r *sendReader) content(o *sendOptions) {
	o.charset, o.locale, o.encoding, o.isAlert = r.text("charset"), r.locale, r.c.String("encoding"), r.c.Bool("alert")
	if o.charset != "" && !message.KnownCharset(o.charset) {
		r.bad("--charset", fmt.Sprintf("unknown charset %q", o.charset))
	}
	r.textAndHTML(o)
	types := r.types()
	for _, word := range r.c.StringSlice("attach") {
		r.attach(o, "attach", word, types)
	}
	for _, word := range r.c.StringSlice("inline") {
		r.attach(o, "inline", word, types)
	}
	for name, t := range types {
		if r.err == nil && !t.used {
			r.err = usagef("--type %s: no file is called that", name)
		}
	}
	if r.err == nil && r.c.IsSet("inline") && o.html == nil && !hasHTMLType(o.headers) {
		r.err = usagef("--inline: no --html is there to show it")
	}
	if r.input != "" && o.body == nil {
		o.body = strings.NewReader("")
	}
}

func hasHTMLType(headers []message.HeaderField) bool {
	return slices.ContainsFunc(headers, func(h message.HeaderField) bool {
		t, _, _ := mime.ParseMediaType(h.Value)
		return strings.EqualFold(h.Name, "Content-Type") && t == "text/html"
	})
}

func (r *sendReader) textAndHTML(o *sendOptions) {
	if r.c.IsSet("html") {
		o.html = r.reader(o, "html")
	}
	switch {
	case r.c.IsSet("body"):
		text := r.c.String("body")
		if text != "" && !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		o.body = strings.NewReader(text)
	case r.c.IsSet("body-file"):
		o.body = r.reader(o, "body-file")
	}
	r.templates(o)
}

func (r *sendReader) reader(o *sendOptions, flag string) io.Reader {
	name := r.c.String(flag)
	f := r.open(o, "--"+flag, name)
	switch {
	case f == nil:
		return nil
	case name == "-":
		return inputReader{r.e.input(), inputName(name)}
	}
	return inputReader{f, name}
}

func inputName(name string) string {
	if name == "-" {
		return "standard input"
	}
	return name
}

// open opens a file for reading; "-" is standard input, once. A directory is no file.
func (r *sendReader) open(o *sendOptions, what, name string) *os.File {
	if r.err != nil {
		return nil
	}
	if name == "-" {
		if r.input != "" {
			r.err = usagef("standard input is either for %s or for %s", r.input, what)
			return nil
		}
		r.input = what
		return r.e.stdin
	}
	f, err := os.Open(name)
	if err == nil {
		o.files = append(o.files, f)
		var info os.FileInfo
		if info, err = f.Stat(); err == nil && info.IsDir() {
			err = exitWith(exNoInput, &os.PathError{Op: "read", Path: name, Err: syscall.EISDIR})
		}
	}
	if err != nil {
		r.err = fmt.Errorf("%s: %w", what, err)
		return nil
	}
	return f
}

// givenType is a media type of --type.
type givenType struct {
	mediaType string
	used      bool
}

func (r *sendReader) types() map[string]*givenType {
	types := map[string]*givenType{}
	for _, word := range r.c.StringSlice("type") {
		word = message.DecodeInput(r.locale, word)
		name, mediaType, ok := strings.Cut(word, "=")
		t, _, err := mime.ParseMediaType(mediaType)
		switch {
		case !r.clean("--type", word):
		case !ok || name == "":
			r.bad("--type", fmt.Sprintf("NAME=TYPE of a file is needed, not %q; the type of the text is --header 'Content-Type: ...'", word))
		case err != nil || strings.Count(t, "/") != 1 || strings.HasPrefix(t, "multipart/"):
			r.bad("--type", fmt.Sprintf("bad media type %q", mediaType))
		default:
			types[name] = &givenType{mediaType: mediaType}
		}
	}
	return types
}

// attach opens an attachment, or with --inline what the HTML shows.
func (r *sendReader) attach(o *sendOptions, flag, word string, types map[string]*givenType) {
	if !r.clean("--"+flag, word) || r.err != nil {
		return
	}
	name, file := namedFile(word)
	if name == "-" {
		r.err = usagef("--%s -: how is it called? Give it a name: NAME=-", flag)
		return
	}
	name = message.DecodeInput(r.locale, name)
	a := message.Attachment{Name: name, Type: message.TypeByName(name, file)}
	if flag == "inline" {
		a = message.Attachment{Name: message.DecodeInput(r.locale, filepath.Base(file)), Inline: true, ContentID: name, Type: message.TypeByName(file, name)}
		if file == "-" {
			a.Name = name
		}
		r.checkContentID(o, name)
	}
	if t := types[name]; t != nil {
		a.Type, t.used = t.mediaType, true
	}
	if f := r.open(o, "--"+flag, file); f != nil {
		a.Open = r.opener(o, f, inputName(file), strings.HasPrefix(a.Type, "message/"))
		o.attachments = append(o.attachments, a)
	}
}

func (r *sendReader) checkContentID(o *sendOptions, name string) {
	taken := func(a message.Attachment) bool { return a.ContentID == name }
	switch {
	case !message.ValidContentID(name):
		r.bad("--inline", fmt.Sprintf("%q can't be named in HTML; give a short name: NAME=FILE", name))
	case slices.ContainsFunc(o.attachments, taken):
		r.err = errors.Join(r.err, usagef("--inline: two files are called %s", name))
	}
}

// namedFile reads [NAME=]FILE. A name has no slash, so that ./a=b is always a file; and what is there under the whole word
// is meant.
func namedFile(word string) (name, file string) {
	name, file, ok := strings.Cut(word, "=")
	if _, err := os.Lstat(word); !ok || name == "" || file == "" || strings.Contains(name, "/") || err == nil {
		return filepath.Base(word), word
	}
	return name, file
}

// opener gives the content of a file, from where it stands. A message is looked at first and read again for writing, so one
// that comes from a pipe is put aside.
func (r *sendReader) opener(o *sendOptions, f *os.File, name string, isMessage bool) func() (io.ReadCloser, error) {
	start, err := f.Seek(0, io.SeekCurrent)
	isPipe := err != nil
	if isPipe && isMessage {
		aside, err := copyAside(inputReader{f, name}, maxMessage)
		if err != nil {
			r.err = err
			return nil
		}
		o.files = append(o.files, aside)
		f, isPipe = aside, false
	}
	return func() (io.ReadCloser, error) {
		if isPipe {
			return io.NopCloser(inputReader{f, name}), nil
		}
		if _, err := f.Seek(start, io.SeekStart); err != nil {
			return nil, exitWith(exIOErr, fmt.Errorf("%s: %w", name, err))
		}
		return io.NopCloser(inputReader{f, name}), nil
	}
}

// inputReader gives a failure to read what goes into the message an exit code, so that nobody takes it for one to write.
type inputReader struct {
	r    io.Reader
	name string
}

func (i inputReader) Read(p []byte) (int, error) {
	n, err := i.r.Read(p)
	if err == nil || err == io.EOF {
		return n, err
	}
	code := exIOErr
	if errors.Is(err, syscall.EISDIR) {
		code = exNoInput
	}
	return n, exitWith(code, fmt.Errorf("%s: %w", i.name, unwrapPath(err)))
}

// unwrapPath takes the name of the file off, which stands in front already.
func unwrapPath(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// bodyOrNil gives a reader of the same octets, or nil if there are none.
func bodyOrNil(r io.Reader) (io.Reader, error) {
	br := bufio.NewReader(r)
	switch _, err := br.Peek(1); err {
	case nil:
		return br, nil
	case io.EOF:
		return nil, nil
	default:
		return nil, err
	}
}
