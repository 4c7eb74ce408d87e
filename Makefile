# mailx: see README.md. `make demo` shows it at work, `make test` tests it; both need only Go and make.

GO         ?= go
PREFIX     ?= /usr/local
DESTDIR    ?=
TAGS        = urfave_cli_no_docs
ENTRY       = $(if $(wildcard cmd/mailx/entry_$(shell $(GO) env GOOS)_$(shell $(GO) env GOARCH).s),-E main.entry)
LDFLAGS     = -s -w $(ENTRY)
FUZZTIME   ?= 5s
STATICCHECK = $(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2

export CGO_ENABLED = 0

.PHONY: all build demo test race check fmt vet staticcheck fuzz tidy interop fetch-killed bench install install-links install-alternatives remove-alternatives clean

all: build

build: ## one static, stripped binary
	$(GO) build -trimpath -tags $(TAGS) -ldflags '$(LDFLAGS)' -o mailx ./cmd/mailx

demo: build ## the whole round trip on loopback, with a throwaway spool
	./mailx demo

test: ## all tests that need nothing but Go
	$(GO) test -tags $(TAGS) ./...

race: ## the same under the race detector, which needs a C compiler
	CGO_ENABLED=1 $(GO) test -race -tags $(TAGS) ./...

check: fmt vet staticcheck race fuzz tidy ## everything a commit has to pass

fmt:
	@out=$$(gofmt -l cmd pkg man scripts); test -z "$$out" || { echo "gofmt would change:"; echo "$$out"; exit 1; }

vet:
	$(GO) vet -tags $(TAGS) ./...

staticcheck:
	$(STATICCHECK) -tags $(TAGS) ./...

fuzz: ## every fuzz target for FUZZTIME
	scripts/fuzz $(FUZZTIME)

tidy:
	$(GO) mod tidy -diff

interop: build ## real clients and servers; those not installed are skipped, loudly
	MAILX_BINARY=$(CURDIR)/mailx $(GO) test -count=1 -v -tags '$(TAGS) interop' ./scripts/interop/...

fetch-killed: build ## fetch from Dovecot: 5,000 messages each way, killed 50 times; takes a minute or two
	MAILX_FETCH_MESSAGES=5000 MAILX_FETCH_KILLS=50 MAILX_BINARY=$(CURDIR)/mailx \
		$(GO) test -count=1 -v -timeout 1h -tags '$(TAGS) interop' -run TestFetchKilled ./scripts/interop/

bench: ## our own benchmarks; scripts/bench/subject is for those beside other servers
	$(GO) test -tags $(TAGS) -run '^$$' -bench . -benchmem ./...

install: $(if $(wildcard mailx),,build) ## binary and man pages below $(DESTDIR)$(PREFIX)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/man/man5 $(DESTDIR)$(PREFIX)/share/man/man7
	install -m 755 mailx $(DESTDIR)$(PREFIX)/bin/mailx
	install -m 644 man/*.1 $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 644 man/*.5 $(DESTDIR)$(PREFIX)/share/man/man5
	install -m 644 man/*.7 $(DESTDIR)$(PREFIX)/share/man/man7

install-links: install ## and the names that other programs call: sendmail, mailq, newaliases and mail
	install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/share/man/man8
	ln -sf ../bin/mailx $(DESTDIR)$(PREFIX)/sbin/sendmail
	ln -sf mailx $(DESTDIR)$(PREFIX)/bin/mailq
	ln -sf mailx $(DESTDIR)$(PREFIX)/bin/newaliases
	ln -sf mailx $(DESTDIR)$(PREFIX)/bin/mail
	ln -sf ../man1/mailx-sendmail.1 $(DESTDIR)$(PREFIX)/share/man/man8/sendmail.8
	ln -sf mailx-sendmail.1 $(DESTDIR)$(PREFIX)/share/man/man1/mailq.1
	ln -sf mailx-sendmail.1 $(DESTDIR)$(PREFIX)/share/man/man1/newaliases.1
	ln -sf mailx.1 $(DESTDIR)$(PREFIX)/share/man/man1/mail.1

install-alternatives: install-links ## the same as alternatives of Debian, for programs that call /usr/sbin/sendmail or /usr/bin/mail
	PREFIX=$(PREFIX) DESTDIR=$(DESTDIR) scripts/alternatives install

remove-alternatives: ## those taken out again
	PREFIX=$(PREFIX) DESTDIR=$(DESTDIR) scripts/alternatives remove

clean:
	rm -f mailx
