// Mailx composes, queues, relays, receives, serves, fetches and reads mail, with Maildirs on disk between its commands.
//
// How this directory works: [verbs] is the table of commands, one row and one file each. [env] is what a command gets:
// three streams, configuration, notes, a printer of records. A command returns an error and never exits or prints it:
// exitCode alone makes it an exit code. The command line that reaches a command is clean, whatever was typed; dispatch.go
// and permute.go see to that.
//
// Adding a verb:
//   - serve_smtp.go with newServeSMTP(*env) *cli.Command: flags with a long first name, no EnvVars (a configuration
//     key instead, with e.keyFlag), a verb with Subcommands has no flags of its own;
//   - its row in verbs;
//   - man/mailx-serve-smtp.1; `go test ./cmd/mailx` says what the page lacks;
//   - testdata/script/serve-smtp.txtar.
package main

import (
	"os"

	"github.com/urfave/cli/v2"
)

// verb is a row of the command table. Only the build of the verb that was asked for is called.
type verb struct {
	name, summary string
	build         func(*env) *cli.Command
}

// verbs is the command table, in the order of the help. It is a function so that it costs nothing before it is needed.
func verbs() []verb {
	return []verb{
		{"send", "compose a message and send it, or queue it", newSend},
		{"compose", "compose a message and print it", newCompose},
		{"reply", "compose an answer to a message and print it", newReply},
		{"forward", "compose a message that sends another one on, and print it", newForward},
		{"sendmail", "take a message as sendmail(8) does", newSendmail},
		{"msmtp", "take a message as msmtp(1) does", newMsmtp},
		{"mutt-compat", "send a text as mutt(1) does in a pipe", newMutt},
		{"serve", "serve what the configuration names, and run the queue", newServe},
		{"serve-smtp", "receive mail by SMTP", newServeSMTP},
		{"serve-lmtp", "take mail from another mail server by LMTP", newServeLMTP},
		{"serve-pop3", "let users collect their mail by POP3", newServePOP3},
		{"serve-imap", "let users read and keep their mail by IMAP", newServeIMAP},
		{"queue", "see, work and repair the queue", newQueue},
		{"fetch", "collect mail from other servers", newFetch},
		{"deliver", "deliver a message into Maildirs", newDeliver},
		{"list", "list the messages of mailboxes", newList},
		{"show", "show messages", newShow},
		{"search", "find messages by what is in them", newSearch},
		{"flag", "mark messages as seen, replied, flagged ...", newFlag},
		{"copy", "copy messages to another folder or Maildir", newCopy},
		{"move", "move messages to another folder or Maildir", newMove},
		{"remove", "remove messages, for good or to the trash", newRemove},
		{"folder", "list, make, rename and delete folders", newFolder},
		{"extract", "list, print and save the parts of messages", newExtract},
		{"import", "take messages in from an mbox, files, MH or another Maildir", newImport},
		{"export", "write messages into an mbox, into files, or into a Maildir", newExport},
		{"demo", "show a message going all the way round", newDemo},
		{"user", "the people the servers know", newUser},
		{"alias", "check the files of aliases", newAlias},
		{"explain", "say where a message would go, and why", newExplain},
		{"probe", "talk to a server step by step, and show what it says", newProbe},
		{"doctor", "look for what is wrong here, and say how to mend it", newDoctor},
		{"config", "show and check the configuration", newConfig},
		{"init", "write a commented configuration file", newInit},
		{"man", "read the manual", newMan},
		{"completion", "print the completion script of a shell", newCompletion},
	}
}

func main() {
	keepIgnored()
	os.Exit(run(os.Args, openedStreams()))
}
