#!/bin/sh
# Prints the path of a Go command new enough for this repository.
#
#   scripts/go.sh            print it; fail if there is none
#   scripts/go.sh --install  first make that there is one
#
# A Go of 1.21 or later fetches by itself the version that go.mod names. Debian 12 has
# 1.19, which cannot; but the Go release is a module (golang.org/toolchain) on the module
# proxy, and 1.19 can download that, checked against Go's checksum database.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
want=$(sed -n 's/^go //p' "$here/go.mod")
cached=$here/.cache/go/bin/go

# new_enough GO MINIMUM
new_enough() {
	have=$("$1" env GOVERSION 2>/dev/null | sed 's/^go//; s/[^0-9.].*//') || return 1
	[ -n "$have" ] && [ "$(printf '%s\n%s\n' "$2" "$have" | sort -V | head -1)" = "$2" ]
}

find_go() {
	for go in "$(command -v go 2>/dev/null || true)" /usr/local/go/bin/go /usr/lib/go-*/bin/go /usr/lib/go/bin/go "$cached"; do
		[ -x "$go" ] || continue
		# Outside this module, so that the answer is the command's own version.
		if (cd / && GOTOOLCHAIN=local new_enough "$go" "$1"); then
			echo "$go"
			return 0
		fi
	done
	return 1
}

if go=$(find_go "$want") || go=$(find_go 1.21); then
	echo "$go"
	exit 0
fi
if [ "${1:-}" != --install ]; then
	echo "go.sh: no Go found (this needs 1.21 or later, which then fetches $want): run scripts/setup.sh" >&2
	exit 1
fi

old=$(find_go 1.16) || {
	echo "go.sh: no Go at all; install Debian's golang-go, or Go from https://go.dev/dl" >&2
	exit 1
}
module=golang.org/toolchain@v0.0.1-go$want.linux-$(dpkg --print-architecture)
echo "setup: fetching Go $want from the Go module proxy (about 70 MB)" >&2
work=$(mktemp -d)
trap 'chmod -R u+w "$work" 2>/dev/null; rm -rf "$work"' EXIT
if ! (cd "$work" && GOFLAGS='' GO111MODULE=on GOPATH="$work" "$old" mod download "$module") >&2; then
	echo "go.sh: cannot fetch $module; install Go $want from https://go.dev/dl instead" >&2
	exit 1
fi
tree=$work/pkg/mod/$module
chmod -R u+w "$tree"
# A module's files are not executable; the programs of a Go release must be.
find "$tree/bin" "$tree/pkg/tool" -type f -exec chmod 755 {} +
mkdir -p "$here/.cache"
rm -rf "$here/.cache/go"
cp -a "$tree" "$here/.cache/go"
if [ "$(GOTOOLCHAIN=local "$cached" env GOVERSION)" != "go$want" ]; then
	echo "go.sh: the fetched Go does not run here" >&2
	exit 1
fi
echo "$cached"
