package message

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"mailx/pkg/mail"
)

func toSevenBit(t testing.TB, in string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := SevenBit(&out, strings.NewReader(in), int64(len(in)))
	return out.String(), err
}

func TestSevenBit(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"plain stays": {"Subject: x\n\nhi\n", "Subject: x\n\nhi\n"},
		"text": {
			"MIME-Version: 1.0\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: 8bit\nSubject: x\n\nGr\xfc\xdfe aus der K\xfcche = nett \n",
			"MIME-Version: 1.0\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\nSubject: x\n\nGr=FC=DFe aus der K=FCche =3D nett=20\n",
		},
		"no MIME at all": {
			"Subject: x\n\nJürgen likes ketchup\n",
			"Subject: x\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\nJ=C3=BCrgen likes ketchup\n",
		},
		"no header at all": {
			"\nJ\xfcrgen likes ketchup",
			"MIME-Version: 1.0\nContent-Type: text/plain; charset=unknown-8bit\nContent-Transfer-Encoding: quoted-printable\n\nJ=FCrgen likes ketchup",
		},
		"base64 where most is 8 bit": {
			"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\nпривет\n",
			"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\n0L/RgNC40LLQtdGCDQo=",
		},
		"one part of many": {
			"MIME-Version: 1.0\nContent-Transfer-Encoding: 8bit\nContent-Type: multipart/mixed; boundary=b\n\npré\n--b\n\nplain -- text\n--b\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nKüche\n--b\nContent-Type: application/x\n\nü\n\n--b--\nüpi\n",
			"MIME-Version: 1.0\nContent-Transfer-Encoding: 7bit\nContent-Type: multipart/mixed; boundary=b\n\npr??\n--b\n\nplain -- text\n--b\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\nK=C3=BCche\n--b\nContent-Type: application/x\nContent-Transfer-Encoding: base64\n\nw7wNCg==\n--b--\n??pi\n",
		},
		"a message within": {
			"MIME-Version: 1.0\nContent-Type: message/rfc822\nContent-Transfer-Encoding: 8bit\n\nSubject: y\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nKüche\n",
			"MIME-Version: 1.0\nContent-Type: message/rfc822\nContent-Transfer-Encoding: 7bit\n\nSubject: y\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\nK=C3=BCche\n",
		},
		"a signed part beside": {
			"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/signed; boundary=s\n\n--s\n\nplain\n--s--\n--b\nContent-Type: text/plain; charset=utf-8\n\nKüche\n--b--\n",
			"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: 7bit\n\n--b\nContent-Type: multipart/signed; boundary=s\n\n--s\n\nplain\n--s--\n--b\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\nK=C3=BCche\n--b--\n",
		},
		"a boundary that a soft break would make": {
			"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\nü" + strings.Repeat("x", 69) + "--b\n--b--\n",
			"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: 7bit\n\n--b\nContent-Type: text/plain\nContent-Transfer-Encoding: base64\n\nw7x4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4\neHh4eHh4eHh4eHh4eHgtLWI=\n--b--\n",
		},
	} {
		if got, err := toSevenBit(t, c.in); got != c.want || err != nil {
			t.Errorf("%s: got %v\n%q\nwant\n%q", name, err, got, c.want)
		}
	}
}

func TestSevenBitRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"header":          "Subject: ü\n\nhi\n",
		"signed":          "Content-Type: multipart/signed; boundary=s\n\n--s\nContent-Transfer-Encoding: 8bit\n\nü\n--s--\n",
		"encoded already": "MIME-Version: 1.0\nContent-Transfer-Encoding: base64\n\nü\n",
		"header within":   "Content-Type: message/rfc822\n\nSubject: ü\n\nhi\n",
		"partial":         "Content-Type: message/partial\n\nü\n",
		"no boundary":     "Content-Type: multipart/mixed\n\nü\n",
	} {
		if got, err := toSevenBit(t, in); mail.StatusOf(err).String() != "5.6.3" {
			t.Errorf("%s: got %v\n%q", name, err, got)
		}
	}
	broken := io.NewSectionReader(brokenAt{}, 0, 100)
	if err := SevenBit(io.Discard, broken, 100); !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("a message that can't be read: %v", err)
	}
}

type brokenAt struct{}

func (brokenAt) ReadAt([]byte, int64) (int, error) { return 0, iotest.ErrTimeout }

// leafBodies gives type and decoded body of every part that is not made of others, with LF line ends and without the last.
func leafBodies(t testing.TB, msg string) (list []string) {
	t.Helper()
	root, err := Parse(strings.NewReader(msg))
	if err != nil {
		t.Fatal(err)
	}
	root.Walk(func(p *Part) bool {
		if len(p.Parts) == 0 {
			body, err := io.ReadAll(p.Open(strings.NewReader(msg)))
			if err != nil {
				t.Fatal(err)
			}
			text := strings.TrimSuffix(strings.ReplaceAll(string(body), "\r\n", "\n"), "\n")
			list = append(list, p.Path+" "+p.MediaType()+" "+text)
		}
		return true
	})
	return list
}

func FuzzSevenBit(f *testing.F) {
	f.Add("Subject: x\n\nJürgen\n")
	f.Add("Content-Type: multipart/mixed; boundary=b\n\n\xff\n--b\n\nü\n--b\nContent-Type: message/rfc822\n\n\nü\n--b--\n\xff\n")
	f.Add("Content-Type: message/global\n\nSubject: ü\n\nü\n")
	f.Add("Content-Type: multipart/mixed; boundary=\"b?\"\n\n--b\xff\n--b?\n\nx\xff=\n--b?--")
	f.Fuzz(func(t *testing.T, in string) {
		in = strings.ReplaceAll(in, "\r", "")
		out, err := toSevenBit(t, in)
		if err != nil {
			if mail.StatusOf(err).String() != "5.6.3" {
				t.Fatalf("%q: %v", in, err)
			}
			return
		}
		if has8bit([]byte(out)) {
			t.Fatalf("%q\nbecomes %q", in, out)
		}
		var odd Oddities
		if odd.See([]byte(in)); !odd.high && !odd.nul && !odd.long {
			if out != in {
				t.Fatalf("%q\nbecomes %q without need", in, out)
			}
			return
		}
		if strings.Contains(strings.ToLower(in), "global") { // one leaf afterwards: see isGlobal
			return
		}
		before, after := leafBodies(t, in), leafBodies(t, out)
		if len(before) != len(after) {
			t.Fatalf("%q\nbecomes %q:\nparts %q\nare %q", in, out, before, after)
		}
		for i := range before {
			if before[i] != after[i] {
				t.Fatalf("%q\nbecomes %q:\npart %q\nis %q", in, out, before[i], after[i])
			}
		}
	})
}
