// Package mailtest is the test kit of mailx: dialogues as files, hostile peers, a recording SMTP sink, certificates,
// golden files, leak checks, and the mailx binary itself. Only tests import it.
//
// # Transcripts
//
// A transcript is a text file that plays the client of a line protocol and says what the server must answer:
//
//	# comment, and blank lines, are ignored
//	C: text           the client sends text and CRLF
//	C- text           the client sends text without CRLF
//	C*N: text         the client sends N such lines; ${i} counts them from 1
//	S: text           the server sends exactly this line
//	S~ regexp         the server sends a line that matches as a whole (Go syntax); (?P<name>…) sets a variable
//	S*                any number of lines, until the next S line matches
//	S= EOF            the server closes the connection
//	>>> name          go on with the connection of that name, opening it if it is not open
//	<<< name          the client closes that connection
//	@tls              the client starts TLS on the connection
//	@include file     the lines of another file, its path relative to this one
//	@repeat N text    the same as C*N: text
//	@literal N        the client sends N octets of text, in lines, without a CRLF after the last
//	@sync             what follows is not sent before all replies so far have come
//	@lockstep         this file is not for the "onewrite" mode (see RunTranscript)
//	@plain            this file is not run inside TLS
//	@codes            from here on, S: compares the reply code, +OK or -ERR alone
//
// ${name} in C and S lines is replaced by the value of a variable. C lines understand \r \n \t \\ \0 and \xHH; any other
// backslash stands for itself, as in the flags of IMAP. S lines have no escapes. Trailing blanks count.
//
// Under @codes "S: 250 text" stands for a whole reply: continuation lines with the same code belong to it. Lines that
// begin with none of "ddd", "+OK", "-ERR" are content and compared as they are; a content line such as "250 4711"
// wants S~.
package mailtest
