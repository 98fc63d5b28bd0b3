# Every target is the command that a person would type. `make test` and `make
# interop` first install the Debian packages that their tests use, where they
# may; otherwise those tests are skipped, and the closing list says so.

SHELL       := bash
.SHELLFLAGS := -eu -o pipefail -c
.PHONY: build run test race lint fuzz hostile soak interop lab rest bench bench-peers bench-run cover dist man deb walk clean

FUZZTIME ?= 2m
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)

# The packages of Debian that tests call, or look at results with.
TEST_TOOLS    := iproute2 tshark haproxy
INTEROP_TOOLS := $(TEST_TOOLS) procps iperf3 tcpdump curl dnsmasq dnsutils python3-socks python3-libtorrent chromium tmux prometheus \
	git openssh-client openssh-server netcat-openbsd unbound wireguard-go wireguard-tools openvpn srt-tools nftables qbittorrent-nox iputils-ping traceroute stun-client stun-server python3-pacparser bubblewrap
# And those that are Go modules, each of one version, in a folder that the tests find.
TOOLS         := build/tools
GO_TOOLS      := sing-box tun2socks xray

# The program, for this machine.
build:
	go build -trimpath -buildvcs=false -ldflags "-X main.release=$(VERSION)" -o mpsocks .

# Both halves on this machine over two loopback paths, with a self-check.
run: build
	./mpsocks demo --dir run

test:
	$(call install,$(TEST_TOOLS))
	@echo "first with the sockets of other systems, then with those of this one"
	go run ./integration/testsum -timeout 5m -tags mpsocks_portable -- ./mux/udpio ./mux/tcpio ./mux/stream ./client ./server
	go run ./integration/testsum -timeout 20m -- $$(go list ./... | grep -v /interop)

# The race detector needs a C compiler. The laboratory and the benches measure
# time, which it would spoil; everything that they measure is here.
race:
	@if ! command -v "$$(go env CC)" >/dev/null; then \
		echo "skipped: the race detector needs a C compiler, and there is no $$(go env CC) here"; \
	else \
		echo "go test -race, all but integration"; CGO_ENABLED=1 go run ./integration/testsum -race -timeout 30m -- $$(go list ./... | grep -v /integration); \
	fi

lint:
	@bad=$$(go tool gofumpt -l .); if [ -n "$$bad" ]; then echo "gofumpt lists:"; echo "$$bad"; exit 1; fi
	go vet ./...
	GOARCH=arm64 go vet ./...
	GOOS=darwin go vet ./...
	GOOS=windows go vet ./...
	go tool staticcheck ./...

# Every fuzz target in turn: make fuzz FUZZTIME=10m. That the time has ended is now and then taken for a
# failure by go test, with no input that fails.
fuzz:
	@mkdir -p build
	@for package in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "$$package $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$package > build/fuzz.log 2>&1 || \
				{ grep -q 'context deadline exceeded' build/fuzz.log && ! grep -q 'Failing input' build/fuzz.log; } || { cat build/fuzz.log; exit 1; }; \
			grep 'elapsed' build/fuzz.log | tail -1; \
		done; \
	done

# What hostile clients and strangers can do to a pair on loopback, beside an honest load, in
# three to nine rounds of each attack, with a table at the end (docs/security.md); fifteen to
# forty minutes.
# HOSTILE="-only silent,deaf -rounds 9 -for 5s" for fewer or other windows.
hostile: build
	go run ./integration/hostile -mpsocks ./mpsocks $(HOSTILE)

# Everything that goes wrong on ordinary networks, at random, for an hour, beside 20
# associations and 20 CONNECTs whose every byte is checked; SOAK="-for 2m -seed 7" for
# less, or for the same again; needs root.
soak: build
	$(call install,iproute2)
	go run ./integration/soak -mpsocks ./mpsocks $(SOAK)

# Other people's programs, through the tunnel.
interop:
	$(call install,$(INTEROP_TOOLS))
	@$(MAKE) --no-print-directory --keep-going $(addprefix $(TOOLS)/,$(GO_TOOLS)) || echo "tests that need what could not be built are skipped"
	PATH="$(CURDIR)/$(TOOLS):$$PATH" go run ./integration/testsum -timeout 20m -- ./integration/interop/...

$(TOOLS)/sing-box: Makefile
	GOBIN="$(CURDIR)/$(TOOLS)" go install -tags with_gvisor -ldflags "-s -w" github.com/sagernet/sing-box/cmd/sing-box@v1.14.1
	@touch $@

$(TOOLS)/xray: Makefile
	GOBIN="$(CURDIR)/$(TOOLS)/from" go install -ldflags "-s -w" github.com/xtls/xray-core/main@v1.260327.0
	@mv $(TOOLS)/from/main $@ && rmdir $(TOOLS)/from && touch $@

# The list of this module's versions is not to be had everywhere, which go install wants.
$(TOOLS)/tun2socks: Makefile integration/interop/testdata/tun2socks/go.mod
	cd integration/interop/testdata/tun2socks && go build -ldflags "-s -w" -o "$(CURDIR)/$@" github.com/xjasonlyu/tun2socks/v2
	@touch $@

# Paths with delay, loss and death; needs root.
lab:
	go run ./integration/lab

# What an idle pair costs on the wire, and when it notes a dead path; needs root.
rest:
	go run ./integration/rest

bench:
	go run ./integration/bench

# What people do every day, beside sing-box (shadowsocks of 2022, and unencrypted) and a
# plain relay in turns, and the ratios; PEERS="-run connects -rounds 5" for a part.
bench-peers: $(TOOLS)/sing-box
	go run ./integration/bench -peers -sing-box $(TOOLS)/sing-box $(PEERS)

# What a program that speaks no SOCKS gets by mpsocks run, beside tun2socks and sing-box's
# TUN in front of the same SOCKS port and slirp4netns without a proxy, in turns, with the
# bars; FRONTS="-rounds 1 -for 2s -even=false -only run,socks" for a part; needs root.
bench-run: build
	$(call install,iproute2 iperf3 slirp4netns)
	@$(MAKE) --no-print-directory --keep-going $(TOOLS)/sing-box $(TOOLS)/tun2socks || echo "what could not be built is left out"
	go run ./integration/fronts -mpsocks ./mpsocks -tools $(TOOLS) $(FRONTS)

cover:
	mkdir -p build
	go test -coverprofile build/cover.out -coverpkg ./... ./...
	go tool cover -html build/cover.out -o build/cover.html
	go tool cover -func build/cover.out | tail -n 1

# The systems that the program is made for, static, with the sums of all files. mips is
# for routers without a floating-point unit.
TARGETS := linux/amd64 linux/arm64 linux/arm linux/mips linux/mipsle darwin/amd64 darwin/arm64 windows/amd64
static   = CGO_ENABLED=0 GOARM=7 GOMIPS=softfloat go build -trimpath -buildvcs=false -ldflags "-s -w -X main.release=$(VERSION)"
dist:
	mkdir -p build/dist
	rm -f build/dist/*
	@for target in $(TARGETS); do \
		os=$${target%/*}; arch=$${target#*/}; out=build/dist/mpsocks-$(VERSION)-$$os-$$arch; \
		case $$target in linux/arm) out=$${out}v7;; linux/mips*) out=$$out-softfloat;; windows/*) out=$$out.exe;; esac; \
		echo $$out; \
		GOOS=$$os GOARCH=$$arch $(static) -o $$out . || exit 1; \
	done
	cd build/dist && sha256sum mpsocks-* > SHA256SUMS

# Manual pages and completions, from the commands themselves.
man: build
	rm -rf build/man build/completion
	mkdir -p build/completion
	./mpsocks man --dir build/man
	gzip -9n build/man/*.1
	for shell in bash zsh fish; do ./mpsocks completion $$shell > build/completion/$$shell; done

# Debian packages, by nfpm of this version (not in go.mod: its modules are many).
NFPM ?= go run github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.43.0
DEBS := amd64 arm64 armhf
# A version of Debian begins with a digit, and a later one sorts behind: what no tag names has
# its commit's time, and a candidate comes before its release.
COMMITTED       = $(shell TZ=UTC git log -1 --date=format-local:%Y%m%d%H%M%S --format=%cd 2>/dev/null || echo 0)
PACKAGE_VERSION = $(shell printf %s '$(VERSION)' | sed -E 's/^v([0-9])/\1/; /^[0-9]+\./!s/^/0~git.$(COMMITTED)./; s/-(rc|alpha|beta)/~\1/; s/-/./g')
deb: man
	mkdir -p build/deb
	rm -f build/deb/*
	@for arch in $(DEBS); do \
		GOOS=linux GOARCH=$${arch/armhf/arm} $(static) -o build/mpsocks-$$arch . || exit 1; \
		ARCH=$$arch PACKAGE_VERSION=$(PACKAGE_VERSION) BINARY=build/mpsocks-$$arch \
			$(NFPM) package --config packaging/nfpm.yaml --packager deb --target build/deb/ || exit 1; \
	done
	cd build/deb && sha256sum *.deb > SHA256SUMS

# A newcomer's way, from the package on a bare root file system to a second device, and to the
# next package; needs root.
walk: DEBS = $(shell dpkg --print-architecture)
walk: deb
	$(call install,debootstrap iproute2)
	rm -rf build/next && mkdir build/next
	ARCH=$(DEBS) PACKAGE_VERSION=$(PACKAGE_VERSION)+next BINARY=build/mpsocks-$(DEBS) \
		$(NFPM) package --config packaging/nfpm.yaml --packager deb --target build/next/
	WALK_DEB=$$(ls $(CURDIR)/build/deb/*.deb) WALK_NEXT=$$(ls $(CURDIR)/build/next/*.deb) go test -count=1 -v ./integration/walk

clean:
	rm -rf mpsocks build run

# install asks Debian for the packages that are not there yet, if it may.
define install
@missing=$$(for p in $(1); do dpkg-query -W -f '$${Status}\n' $$p 2>/dev/null | grep -q '^install ok installed' || echo $$p; done | xargs); \
if [ -z "$$missing" ]; then \
	true; \
elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	echo "installing $$missing"; \
	{ apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $$missing; } >/dev/null || \
		echo "could not install $$missing: tests that need them are skipped"; \
else \
	echo "not installed (that takes root and apt-get): $$missing; tests that need them are skipped"; \
fi
endef
