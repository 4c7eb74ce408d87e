//go:build interop

package interop

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// libraryCallers are the ways in which programs hand over mail from a language: what they write is their own business, so
// only the text in ASCII is compared.
func libraryCallers() []caller {
	text := strings.ReplaceAll(callerText, "Grüße", "Hello")
	perl := func(program string) func(w *world, sendmail string) []string {
		return func(_ *world, sendmail string) []string { return []string{"-e", program, sendmail} }
	}
	return []caller{
		{
			name: "Perl's Mail::Mailer", program: "perl", stdin: text, text: text, from: localSender, needs: "perl -MMail::Mailer -e 1",
			args: perl(`$ENV{PERL_MAILERS} = "sendmail:$ARGV[0]"; require Mail::Mailer; my $m = Mail::Mailer->new("sendmail"); local $/;
				$m->open({From => 'Alice <alice@example.net>', To => 'bob@example.org', Bcc => 'dave@example.com', Subject => 'by Mail::Mailer'});
				print $m scalar <STDIN>; $m->close or die "failed: $?"`),
		},
		{
			name: "Perl's Email::Sender", program: "perl", stdin: text, text: text, from: sender, needs: "perl -MEmail::Sender -e 1",
			args: perl(`use Email::Simple; use Email::Sender::Simple qw(sendmail); use Email::Sender::Transport::Sendmail; local $/;
				my $m = Email::Simple->create(header => [From => 'alice@example.net', To => 'bob@example.org', Subject => 'x'], body => scalar <STDIN>);
				sendmail($m, {from => 'alice@example.net', to => ['bob@example.org', 'dave@example.com'],
					transport => Email::Sender::Transport::Sendmail->new({sendmail => $ARGV[0]})})`),
		},
		{
			name: "Perl's MIME::Lite", program: "perl", stdin: text, text: text, from: sender, needs: "perl -MMIME::Lite -e 1",
			args: perl(`use MIME::Lite; local $/;
				my $m = MIME::Lite->new(From => 'alice@example.net', To => 'bob@example.org', Bcc => 'dave@example.com', Subject => 'x', Type => 'TEXT',
					Encoding => '8bit', Data => scalar <STDIN>);
				$m->send('sendmail', "$ARGV[0] -t -oi -oem -f alice\@example.net") or die "failed"`),
		},
		{
			name: "Python's email", program: "python3", stdin: text, text: text, from: sender,
			args: func(_ *world, sendmail string) []string {
				return []string{"-c", `import email.message, email.utils, subprocess, sys
m = email.message.EmailMessage()
m["From"], m["To"], m["Bcc"], m["Subject"] = "Alice <alice@example.net>", "bob@example.org", "dave@example.com", "Grüße"
m.set_content(sys.stdin.read())
subprocess.run([sys.argv[1], "-t", "-oi", "-f", "alice@example.net"], input=m.as_bytes(), check=True)`, sendmail}
			},
			wants: []string{"\nSubject: =?utf-8?", "\nDate: ", "\nMessage-I"},
		},
		{
			name: "Ruby's mail", program: "ruby", stdin: text, text: text, from: sender, needs: "ruby -rmail -e 1",
			args: func(_ *world, sendmail string) []string {
				return []string{"-rmail", "-e", `m = Mail.new(from: "alice@example.net", to: "bob@example.org", bcc: "dave@example.com", subject: "x",
					body: STDIN.read, charset: "UTF-8")
				m.delivery_method :sendmail, location: ARGV[0]
				m.deliver!`, sendmail}
			},
		},
		{
			name: "PHPMailer", program: "php", stdin: text, text: text, from: sender, needs: "test -e /usr/share/php/libphp-phpmailer/autoload.php",
			args: func(_ *world, sendmail string) []string {
				return []string{"-r", `require "/usr/share/php/libphp-phpmailer/autoload.php";
				$m = new PHPMailer\PHPMailer\PHPMailer(true); $m->isSendmail(); $m->Sendmail = $argv[1]; $m->CharSet = "utf-8"; $m->Encoding = "8bit";
				$m->setFrom("alice@example.net", "Alice"); $m->addAddress("bob@example.org"); $m->addBCC("dave@example.com");
				$m->Subject = "x"; $m->Body = stream_get_contents(STDIN); $m->send();`, sendmail}
			},
		},
		symfony("-bs"), symfony("-t -i"),
		{
			name: "mblaze", program: "mcom", stdin: "s\n", text: text, from: localSender,
			args: func(w *world, sendmail string) []string {
				dir := filepath.Join(w.home, ".mblaze")
				if err := os.Mkdir(dir, 0o700); err != nil {
					w.t.Fatal(err)
				}
				writeFile(w.t, dir, "profile", "Local-Mailbox: "+sender+"\nSendmail: "+sendmail+"\nSendmail-Args: -t\nOutbox:\n")
				return []string{"-to", rcpt, "-bcc", "dave@example.com", "-subject", "x", "-body", writeFile(w.t, w.home, "body", text)}
			},
			env: []string{"EDITOR=true", "VISUAL=true"},
		},
	}
}

// localSender is who runs mailx in a world, at its host.
const localSender = "tester@" + host

// symfony is the mailer of Symfony and Laravel, in one of its two ways to use sendmail.
func symfony(way string) caller {
	text := "Hello\n.\n..two\nFrom the start"
	return caller{
		name: "Symfony with " + way, program: "php", stdin: text, text: text, from: sender,
		needs: "test -e /usr/share/php/Symfony/Component/Mailer/autoload.php",
		args: func(_ *world, sendmail string) []string {
			return []string{"-r", `require "/usr/share/php/Symfony/Component/Mailer/autoload.php";
			use Symfony\Component\Mime\Email; use Symfony\Component\Mailer\Transport\SendmailTransport;
			$m = (new Email())->from("alice@example.net")->to("bob@example.org")->bcc("dave@example.com")->subject("x")->text(stream_get_contents(STDIN));
			(new SendmailTransport($argv[1] . " ` + way + `"))->send($m);`, sendmail}
		},
	}
}

// TestLibraryCallers has the usual ways of languages and frameworks.
func TestLibraryCallers(t *testing.T) {
	for _, c := range libraryCallers() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t)
		})
	}
}
