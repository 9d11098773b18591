#!/usr/bin/env bash
# Writes the lock files: exact versions and hashes for every platform, and no address of a package index.
# New versions are taken only with UPGRADE=1, so that adding one dependency does not move the others.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-1}" UV_NO_CONFIG=1 UV_CUSTOM_COMPILE_COMMAND="make lock"
uv=$(command -v uv || true)
[ -n "$uv" ] || uv=.venv/bin/uv
[ -x "$uv" ] || { echo "lock: there is no uv. Run 'make setup' first." >&2; exit 1; }

compile() {
  "$uv" pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header -p 3.11 ${UPGRADE:+--upgrade} "$@"
}

compile pyproject.toml --extra dev -o requirements.lock
compile --no-deps examples/requirements.in -o examples/requirements.lock
compile --no-deps scripts/uv-requirements.in -o scripts/uv-requirements.lock

if grep -nE '[a-z]+://' requirements.lock examples/requirements.lock scripts/uv-requirements.lock; then
  echo "lock: a lock file names an address; see the lines above." >&2
  exit 1
fi
echo "lock: requirements.lock, examples/requirements.lock and scripts/uv-requirements.lock are written"
