#!/bin/sh
# Runs each fuzz target for a while: scripts/fuzz.sh GO TIME
set -eu
cd "$(dirname "$0")/.."
go=${1:-$(scripts/go.sh)}
time=${2:-30s}
grep -rno --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' cmd internal test | while IFS=: read -r file _ func; do
	name=${func#func }
	echo "== $(dirname "$file") $name"
	"$go" test "./$(dirname "$file")" -run '^$' -fuzz "^$name\$" -fuzztime "$time"
done
