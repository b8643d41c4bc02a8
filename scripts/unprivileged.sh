#!/bin/sh
# Runs a test binary without privileges, for go test -exec: scripts/unprivileged.sh BINARY [ARG ...]
# go keeps it in a directory that only root may enter, and some tests start themselves anew.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
chmod 755 "$dir"
cp "$1" "$dir/"
binary=$dir/$(basename "$1")
shift
setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all "$binary" "$@"
