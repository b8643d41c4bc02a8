#!/bin/sh
# Everything that can be checked without root: scripts/check.sh [GO]
set -eu
cd "$(dirname "$0")/.."
go=${1:-$(scripts/go.sh)}
bad=$("$("$go" env GOROOT)/bin/gofmt" -l ./*.go cmd internal test)
if [ -n "$bad" ]; then
	echo "not formatted:" >&2
	echo "$bad" >&2
	exit 1
fi
"$go" vet ./...
# A tool of ours only: it is not in go.mod, so that users do not fetch it.
if ! "$go" run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...; then
	exit 1
fi
run="$go test ./..."
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
	# As root the tests that need root would run as well; so step down for them.
	run="$go test -exec $PWD/scripts/unprivileged.sh ./..."
fi
sh -c "$run"
