#!/usr/bin/env bash
# Writes the lock files: exact versions and hashes for every platform, and no address of a package index.
# New versions are taken only with UPGRADE=1, so that adding one dependency does not move the others.
#   scripts/lock.sh          write them
#   scripts/lock.sh --check  only look for addresses in them; needs no network
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

DEPLOYED=(cluster rates lint xlsx alerts otel) # the extras of deploy/requirements.lock
LOCKS=(requirements.lock examples/requirements.lock scripts/uv-requirements.lock deploy/requirements.lock
  deploy/build-requirements.lock scripts/base-requirements.lock scripts/release-requirements.lock)

say() { printf 'lock: %s\n' "$*"; }
die() { printf 'lock: %s\n' "$*" >&2; exit 1; }

check() {
  if grep -nE '[a-z]+://' "${LOCKS[@]}"; then die "the lock files above name an address of a package index."; fi
}

compile() {
  "$uv" pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header -p 3.11 \
    ${UPGRADE:+--upgrade} "$@"
}

if [ "${1:-}" = --check ]; then
  check
  say "no lock file names an address"
  exit 0
fi
uv=$(command -v uv || true)
[ -n "$uv" ] || uv=.venv/bin/uv
[ -x "$uv" ] || die "there is no uv. Put it on PATH, or run: .venv/bin/python -m pip install --require-hashes -r scripts/uv-requirements.lock"
export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-1}"

compile pyproject.toml --all-extras -o requirements.lock
compile --no-deps examples/requirements.in -o examples/requirements.lock
compile --no-deps scripts/uv-requirements.in -o scripts/uv-requirements.lock
# What servers and workers are deployed with: the same versions, without tools.
compile pyproject.toml "${DEPLOYED[@]/#/--extra=}" --constraints requirements.lock -o deploy/requirements.lock
# The base alone, without extras: what a release is tried, listed and audited with.
compile pyproject.toml --constraints requirements.lock -o scripts/base-requirements.lock
compile scripts/release-requirements.in -o scripts/release-requirements.lock
# What the wheel is built with.
.venv/bin/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' |
  compile - --constraints requirements.lock -o deploy/build-requirements.lock
check
say "wrote ${LOCKS[*]}"
