// Package interop holds no code, only tests: mailx and the programs of other people on the same wire. `make interop` runs
// them, with the build tag "interop" and the binary in MAILX_BINARY.
//
// Every test starts the real binary on loopback with a spool of its own, lets a real client or server talk to it, and
// compares the octets that arrived with those that were sent. A peer that is not installed skips its tests, by name.
// Nothing outside the directory for temporary files is written, no port is fixed, and everything that was started has
// ended when the test has.
package interop
