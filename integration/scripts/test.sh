#!/usr/bin/env bash
# Everything that CI runs: prerequisites, lint, all Go tests with -race, the web phone's checks. Prints a line per step.
set -euo pipefail
cd "$(dirname "$0")/../.."
export GOFLAGS="${GOFLAGS:--buildvcs=false}"
step() { printf '\n== %s (%ss)\n' "$1" "$SECONDS"; }

step "prerequisites"
integration/scripts/need.sh build test gen
step "web phone: install, check, test, build"
(cd mgc/web && npm ci --no-audit --no-fund --loglevel=error && npm run --silent check && npm test --silent && npm run --silent build)
step "gofmt, vet, staticcheck"
make --no-print-directory lint-go
step "generated code"
make --no-print-directory verify-gen
step "build"
make --no-print-directory build
for m in proto pkg mgc mgw integration; do
  step "go test -race ./$m/..."
  go list "./$m/..." | grep -v /scenarios/ | xargs go test -race -vet=off -shuffle=on -timeout 15m -p 2
done
step "what the race detector leaves out or allows for, without it: arithmetic, 100,000 random calls and negotiations, allocations and memory"
uses='race[.](Slow|Fewer|Allocs|Enabled)'
files=$(grep -rlE --include='*_test.go' "$uses" pkg mgc mgw integration)
names=$(awk -v uses="$uses" '/^func /{name = match($0, /^func Test[A-Za-z0-9_]+/) ? substr($0, 6, RLENGTH - 5) : ""} name && $0 ~ uses {print name}' $files | sort -u | paste -sd'|')
dirname $files | sort -u | sed 's|^|./|' | xargs go test -vet=off -shuffle=on -timeout 15m -p 1 -run "^(${names:?no test uses pkg/race})\$"
step "scenarios, two at a time, each in a network namespace of its own"
export ISTHMUS_PROGRAMS=$PWD/bin
go list ./integration/scenarios/... | grep -vE '/(browser|ims|nat)$' | xargs go test -race -vet=off -shuffle=on -count=1 -timeout 15m -p 2
step "real Chromium with an IMS core, and behind NATs"
go test -race -vet=off -shuffle=on -count=1 -timeout 10m -p 1 ./integration/scenarios/ims ./integration/scenarios/nat
step "real Chromium - Isthmus - Kamailio - baresip: each scenario, and the times from INVITE to audio"
go test -race -vet=off -v -count=1 -timeout 10m ./integration/scenarios/browser | grep -v '^=== '
step "self-test calls, then real Chromium with the web phone: register, call both ways, DTMF, hold, busy, message"
bin/isthmus-try --leak --prefer relay --then "cd mgc/web && node test/browser/live.mjs"
bin/isthmus-try --prefer opus --then "cd mgc/web && node test/browser/live.mjs"
step "without cgo: MGC, and MGW with G.711, G.722 and relay"
CGO_ENABLED=0 go build -o /dev/null ./mgc/cmd/mgc
CGO_ENABLED=0 go build -o /dev/null ./mgw/cmd/mgw
CGO_ENABLED=0 go test -vet=off -shuffle=on -timeout 5m ./mgw/internal/app
if [ "$(go env GOHOSTARCH)" = amd64 ]; then
  step "32 bits: what the kernel is given"
  GOARCH=386 CGO_ENABLED=0 go test -vet=off -shuffle=on -timeout 5m ./mgw/internal/udpio
fi
step "done"
