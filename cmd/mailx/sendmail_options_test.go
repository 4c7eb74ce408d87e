package main

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"mailx/man"
	"mailx/pkg/mail"
)

// argv is the canonical command line of what was read: parseSendmail(argv(l)) gives l again.
func (l *sendmailLine) argv() []string {
	modes := map[sendmailMode][]string{sendmailSubmit: nil, sendmailSMTP: {"-bs"}, sendmailList: {"-bp"}, sendmailFlush: {"-q"},
		sendmailVerify: {"-bv"}, sendmailAliases: {"-bi"}, sendmailHelp: {"--help"}}
	args := slices.Clone(modes[l.mode])
	add := func(is bool, words ...string) {
		if is {
			args = append(args, words...)
		}
	}
	add(l.onlyDue, "-q30m")
	add(l.onlyDue && l.mode == sendmailSubmit, "-bm")
	for flag, list := range map[string][]string{"-qI": l.ids, "-qS": l.senders, "-qR": l.toWhom} {
		for _, text := range list {
			args = append(args, flag+text)
		}
	}
	add(l.mode == sendmailSubmit && len(l.ids)+len(l.senders)+len(l.toWhom) > 0, "-bm")
	add(l.fromHeader, "-t")
	add(l.ignoreDots, "-i")
	add(l.queueOnly, "-odq")
	add(l.verbose, "-v")
	add(l.json, "--json")
	add(l.kind == mail.Body8BitMIME, "-B8BITMIME")
	add(l.ret == mail.RetFull, "-R", "full")
	add(l.ret == mail.RetHeaders, "-R", "hdrs")
	add(l.notify != 0, "-N", notifyWords(l.notify))
	add(l.envID != "", "-V", l.envID)
	add(l.fullName != "", "-F", l.fullName)
	if l.sender != nil {
		args = append(args, "-f", l.sender.Path())
	}
	if len(l.rcpts) > 0 {
		args = append(args, "--")
	}
	for _, r := range l.rcpts {
		args = append(args, r.Address.Path())
	}
	return args
}

func notifyWords(n mail.Notify) string {
	var words []string
	for i, word := range []string{"never", "success", "failure", "delay"} {
		if n&(1<<i) != 0 {
			words = append(words, word)
		}
	}
	return strings.Join(words, ",")
}

// parsed is what the tables below compare: the canonical command line, or exit code and message.
func parsed(args []string) string {
	l, err := parseSendmail(args)
	if err != nil {
		return fmt.Sprint(exitCode(err), " ", err)
	}
	return strings.Join(l.argv(), "|")
}

func words(line string) []string {
	if line == "" {
		return nil
	}
	return strings.Split(line, "|")
}

// TestSendmailOptions has the corners of the grammar, and what is refused.
func TestSendmailOptions(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		// Values glued and apart, clusters, the end of options.
		{"-F|A B|-f|a@x|-B|8bitmime|-N|NEVER|-R|FULL|-V|id1|r", "-B8BITMIME|-R|full|-N|never|-V|id1|-F|A B|-f|<a@x>|--|<r>"},
		{"-FA|-fa@x|-B7BIT|-Nsuccess|-Rfull|-Vid1|r", "-R|full|-N|success|-V|id1|-F|A|-f|<a@x>|--|<r>"},
		{"-ra@x|r", "-f|<a@x>|--|<r>"},
		{"-r|a@x|r", "-f|<a@x>|--|<r>"},
		{"-r|<>|r", "-f|<>|--|<r>"},
		{"-tivfa@x", "-t|-i|-v|-f|<a@x>"},
		{"-tiv|-f|a@x", "-t|-i|-v|-f|<a@x>"},
		{"-tif|a@x", "-t|-i|-f|<a@x>"},
		{"r|-f|a@x|-v", "-v|-f|<a@x>|--|<r>"},
		{"-f|a@x|-f|b@x|r", "-f|<b@x>|--|<r>"},
		{"-f|-t|r", "-f|<-t>|--|<r>"},
		{"-f|Ann B <a@x>|r", "-f|<a@x>|--|<r>"},
		{"-f| a@x |r", "-f|<a@x>|--|<r>"},
		{`Ann <a@x>|"D, J" <j@x>`, "--|<a@x>|<j@x>"},
		{"-|r", "--|<->|<r>"},
		{"--|--|r", "--|<-->|<r>"},
		{"-bm|r", "--|<r>"},
		{"-b|m|r", "--|<r>"},
		{"-bv|r", "-bv|--|<r>"},
		{"-bs|-t|-i", "-bs|-t|-i"},
		{"-bp|-v", "-bp|-v"},
		{"-bp|-bi", "-bi"},
		{"-bi|-oA/etc/aliases|/etc/aliases", "-bi|--|</etc/aliases>"},
		{"-nUGmcsx|r", "--|<r>"},

		// -o and -O never fail.
		{"-oi|-oem|-oep|-odi|-odb|-om|-oee|-oQ/tmp|-o7|-o8|-os|-oxyz|-oo|r", "-i|--|<r>"},
		{"-o|i|-o|em|-o|r0s|r", "-i|--|<r>"},
		{"-odq|r", "-odq|--|<r>"},
		{"-odd|r", "-odq|--|<r>"},
		{"-odq|-odi|r", "--|<r>"},
		{"-O|DeliveryMode=q|-OIgnoreDots|r", "-i|-odq|--|<r>"},
		{"-OIgnoreDots=false|-OQueueDirectory=/tmp|-ONone|-O|=|r", "--|<r>"},
		{"-OIgnoreDots=True|-OTimeout.queuereturn=1d|r", "-i|--|<r>"},
		{"-o||r", "--|<r>"},

		// What is taken and means nothing.
		{"-C/etc/x.cf|-D/tmp/log|-d0-4.1|-h5|-Ltag|-Am|-Mid|-pESMTP:h|-X/tmp/x|-Qreason|-em|r", "--|<r>"},
		{"-C|/etc/x.cf|-D|log|-d|0-4.1|-h|5|-L|tag|-A|c|-M|id|-p|ESMTP|-X|/tmp/x|-Q|-e|q|r", "--|<r>"},
		{"-d|r", "--|<r>"},
		{"-BBINARY|r", "--|<r>"},

		// The queue.
		{"-qf", "-q"}, {"-qq", "-q"}, {"-qp1m", "-q"}, {"-q15", "-q"},
		{"-q1h30m", "-q|-q30m"},
		{"-v|-q", "-q|-v"}, {"-q|-v", "-q|-v"}, {"-vq", "-q|-v"},
		{"-qIabc", "-q|-qIabc"}, {"-qI|abc", "-q|-qIabc"}, {"-q|Iabc", "64 <Iabc> is not needed here: nothing is sent to it"},
		{"-qRexample.org", "-q|-qRexample.org"}, {"-qR|example.org", "-q|-qRexample.org"},
		{"-qSa@x", "-q|-qSa@x"},
		{"-bp|-qRexample.org", "-bp|-qRexample.org"}, {"-qRexample.org|-bp", "-bp|-qRexample.org"},
		{"-bm|-q|r", "--|<r>"},
		{"-qI", "64 -qI needs a value"},
		{"-q|root", "64 <root> is not needed here: nothing is sent to it"},
		{"-q|-t", "64 -q works the queue and takes no message; leave out -t"},

		// Wrong command lines.
		{"-Z|r", "64 unknown option -Z"},
		{"-tZ|r", "64 unknown option -Z"},
		{"-\xff|r", `64 unknown option -\xff`},
		{"-\n|r", `64 unknown option -\n`},
		{"--frob|r", "64 unknown option --frob"},
		{"-f", "64 option -f needs a value"},
		{"-tif", "64 option -f needs a value"},
		{"-o", "64 option -o needs a value"},
		{"-bd", "64 -bd: no daemon under this name; see mailx serve-smtp, and mailx queue flush for cron"},
		{"-bd|-q30m", "64 -bd: no daemon under this name; see mailx serve-smtp, and mailx queue flush for cron"},
		{"-bz|r", "64 -b z: the modes are -bm, -bs, -bp, -bv and -bi"},
		{"-bmt|r", "64 -b mt: the modes are -bm, -bs, -bp, -bv and -bi"},
		{"-bv", "64 -bv: which addresses?"},
		{"-bs|root", "64 <root> is not needed here: nothing is sent to it"},
		{"-bp|root", "64 <root> is not needed here: nothing is sent to it"},
		{"-N|sometimes|r", "64 -N sometimes: never, or some of success, failure and delay with commas"},
		{"-N|never,delay|r", "64 -N never,delay: never stands alone"},
		{"-N||r", "64 -N : never, or some of success, failure and delay with commas"},
		{"-R|half|r", "64 -R half: full or hdrs"},
		{",|,,", "64 no recipients: name them, or use -t for those in the header"},

		// Bad values. Nothing is ever taken out of one instead.
		{"a@x\r\nRCPT TO:<b@y>", "65 recipient: line break in the value"},
		{"a@x\x00", "65 recipient: NUL in the value"},
		{"a@x\x1b[2J", "65 recipient: control character in the value"},
		{"--|a@x\rb", "65 recipient: line break in the value"},
		{"-fa@x\nb|r", "65 -f: line break in the value"},
		{"-f|A\n<a@x>|r", "65 -f: line break in the value"},
		{"-f|a@x\x00|r", "65 -f: NUL in the value"},
		{"-f|<a@x|r", "-f|<a@x>|--|<r>"},
		{"-f|a b@x|r", `65 -f: Bad local part in the address: "a b@x"`},
		{"-f|A <a@x>, B <b@x>|r", "65 -f: one address is needed"},
		{"-F|A\nBcc: b@x|r", "65 -F: line break in the value"},
		{"-F|A\x00|r", "65 -F: NUL in the value"},
		{"-V|a b|r", "65 -V: at most 100 printable characters"},
		{"-V|" + strings.Repeat("x", 101) + "|r", "65 -V: at most 100 printable characters"},
		{"-V|a\nb|r", "65 -V: at most 100 printable characters"},
		{"a@-bad-", `65 recipient: Bad domain in the address: "a@-bad-"`},
		{"Doe, John <j@x>", `65 recipient: a comma separates addresses: is it "Doe, John" <j@x>, in quotes, or two of them?`},

		{"--help", "--help"},
		{"-t|--help|-Z", "--help"},
	} {
		if got := parsed(words(tt.args)); got != tt.want {
			t.Errorf("%q:\n got %q\nwant %q", tt.args, got, tt.want)
		}
	}
}

// FuzzSendmailOptions: no command line is a crash, nothing that could break out of its place comes through, every error
// has one of two exit codes, and what was read is read again from its canonical form.
func FuzzSendmailOptions(f *testing.F) {
	for _, seed := range []string{"-FCronDaemon|-i|-B8BITMIME|-oem|root", "-ti|-f|<>|--|-odd@x", "-qI|abc", "-bp|--json",
		"-N|failure,delay|-R|hdrs|-V|x|a@x, b@y", "-f|A <a@x>|\x00", "-d|-q|30m", "-o|-O|-q|-R", `"a\"b"@x|r`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, "|")
		l, err := parseSendmail(args)
		if err != nil {
			if code := exitCode(err); code != exUsage && code != exDataErr || strings.ContainsAny(err.Error(), "\r\n\x00") {
				t.Fatalf("%q: exit code %d, %q", args, code, err)
			}
			return
		}
		if l.mode == sendmailSubmit && len(l.rcpts) == 0 && !l.fromHeader {
			t.Fatalf("%q: no recipients and no -t", args)
		}
		for i := range l.rcpts {
			if strings.ContainsFunc(l.rcpts[i].Address.String(), isControlOctet) {
				t.Fatalf("%q: recipient %q", args, l.rcpts[i].Address)
			}
			l.rcpts[i].Name = "" // is for nobody
		}
		if strings.ContainsFunc(l.fullName+l.envID, isControlOctet) {
			t.Fatalf("%q: %+v", args, l)
		}
		again, err := parseSendmail(l.argv())
		if err != nil || !reflect.DeepEqual(l, again) {
			t.Fatalf("%q is %+v\n%q is %+v, %v", args, l, l.argv(), again, err)
		}
	})
}

// TestSendmailPage: the page has every letter of the table, and no other.
func TestSendmailPage(t *testing.T) {
	roff, _, _ := man.Page("sendmail")
	page := plainRoff(roff)
	mentioned := optionsIn(ownLines(page, "sendmail"))
	options := sendmailOptions()
	for letter := range options {
		found := false
		for name := range mentioned {
			found = found || len(name) > 1 && name[1] == letter
		}
		if !found {
			t.Errorf("man/mailx-sendmail.1 does not mention -%c", letter)
		}
	}
	for name := range mentioned {
		if _, known := options[name[1]]; !known && !slices.Contains([]string{"--json", "--help"}, name) {
			t.Errorf("man/mailx-sendmail.1 mentions %s, which sendmail does not have", name)
		}
	}
}
