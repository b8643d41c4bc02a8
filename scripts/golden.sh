#!/bin/sh
# Rewrites golden files and generated documents: scripts/golden.sh [GO]
# Only packages whose tests know -update are run with it. The lists of tempest's tests are not
# among them: see docs/HACKING.md.
set -eu
cd "$(dirname "$0")/.."
go=${1:-$(scripts/go.sh)}
pkgs=$(grep -rl --include='*_test.go' 'flag.Bool("update"' cmd internal | xargs -n1 dirname | sort -u | sed 's|^|./|')
for p in $pkgs; do "$go" test "$p" -update; done
"$go" test ./test -run TestTraceDoc -update
git status --short -- docs cmd internal test
