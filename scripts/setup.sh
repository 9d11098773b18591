#!/usr/bin/env bash
# Makes .venv with every dependency and tool, from the lock files alone. Safe to run again: it does nothing
# when nothing changed. Never asks. Needs Python 3.11 or later.
#   scripts/setup.sh                  make or renew .venv
#   scripts/setup.sh --test-packages  install the Debian packages of the tests, or name the missing ones and stop
#   PYTHON=/path/to/python            chooses the interpreter of a new .venv
#   TIDEGATE_SETUP_UV=no              installs with pip alone
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

VENV=.venv
STAMP=$VENV/.tidegate-setup # what is installed: the hash of all that decides it
ROOT=$VENV/.tidegate-root   # where it was made: an environment does not survive being moved or copied
# uv and pip compile what they install, also when the environment forbids Python to write bytecode.
unset PYTHONDONTWRITEBYTECODE PYTHONHOME PYTHONPATH
POLICY=/usr/sbin/policy-rc.d
# Trust what this machine trusts: without this uv would use a certificate list of its own.
export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-1}" PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$@" >&2; exit 1; }

# Prints the first interpreter that is Python 3.11 or later and can make virtual environments. Debian splits
# ensurepip off into python3-venv.
find_python() {
  local candidate
  for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3.14 python3}; do
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  return 1
}

can_apt() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

# need PACKAGE... : installs Debian packages when allowed, otherwise names them and stops.
need() {
  can_apt || die "these Debian packages are needed and cannot be installed from here: $*" \
    "run as root:  apt-get update && apt-get install -y $*"
  say "installing Debian packages: $*"
  export DEBIAN_FRONTEND=noninteractive
  # Servers among them must not start as services: tests run their own. Debian asks this program first.
  if [ ! -e $POLICY ]; then
    printf '#!/bin/sh\nexit 101\n' >$POLICY && chmod 755 $POLICY
    trap 'rm -f $POLICY' EXIT
  fi
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@"; } </dev/null >/dev/null ||
    die "these Debian packages are needed, and apt-get could not install them: $*"
}

fingerprint() {
  cat pyproject.toml requirements.lock examples/requirements.lock scripts/uv-requirements.lock scripts/setup.sh |
    sha256sum | cut -d' ' -f1
}

# Installs those of scripts/debian-packages.txt that are missing.
test_packages() {
  local package missing=()
  while read -r package; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done < <(sed 's/#.*//' scripts/debian-packages.txt | awk 'NF { print $1 }')
  if [ ${#missing[@]} -gt 0 ]; then need "${missing[@]}"; fi
}

make_venv() {
  local python
  if ! python=$(find_python); then
    [ -z "${PYTHON:-}" ] || die "PYTHON=$PYTHON is no Python 3.11 or later with the venv and ensurepip modules."
    need python3 python3-venv
    python=$(find_python) || die "this system's python3 is older than 3.11." \
      "Install Python 3.11 or later and name it: PYTHON=/path/to/python3 make setup"
  fi
  say "making $VENV with $("$python" --version) ($python)"
  "$python" -m venv --clear "$VENV"
  pwd -P >$ROOT
}

# Prints the uv to use: the one on PATH, or one of the pinned version put into .venv. Fails when none is to be had.
find_uv() {
  if [ "${TIDEGATE_SETUP_UV:-auto}" = no ]; then return 1; fi
  if uv --version >/dev/null 2>&1; then command -v uv; return; fi
  if [ ! -x $VENV/bin/uv ]; then
    $VENV/bin/python -m pip install --quiet --require-hashes -r scripts/uv-requirements.lock >&2 || return 1
  fi
  printf '%s\n' "$VENV/bin/uv"
}

install_with_uv() {
  say "installing requirements.lock with $("$1" --version | cut -d' ' -f1,2)"
  "$1" pip install --quiet --python $VENV/bin/python --compile-bytecode --require-hashes -r requirements.lock &&
    "$1" pip install --quiet --python $VENV/bin/python --compile-bytecode --no-deps --no-build-isolation -e . &&
    say "installing the data of the examples" &&
    "$1" pip install --quiet --python $VENV/bin/python --no-deps --no-build-isolation \
      --require-hashes -r examples/requirements.lock
}

install_with_pip() {
  say "installing requirements.lock with pip"
  $VENV/bin/python -m pip install --quiet --compile --require-hashes -r requirements.lock
  $VENV/bin/python -m pip install --quiet --no-deps --no-build-isolation -e .
  say "installing the data of the examples"
  $VENV/bin/python -m pip install --quiet --no-compile --no-deps --no-build-isolation --use-pep517 \
    --require-hashes -r examples/requirements.lock
}

# Two runs at once wait for each other.
exec 9<scripts/setup.sh
flock 9

if [ "${1:-}" = --test-packages ]; then
  test_packages
  exit 0
fi
if [ "$(cat $ROOT 2>/dev/null)" != "$(pwd -P)" ] || ! $VENV/bin/python -c '' 2>/dev/null; then
  make_venv
elif [ "$(cat $STAMP 2>/dev/null)" = "$(fingerprint)" ]; then
  say "$VENV is up to date"
  exit 0
fi
rm -f $STAMP
if uv=$(find_uv); then
  install_with_uv "$uv" || { say "uv failed, going on with pip"; install_with_pip; }
else
  say "without uv, which only makes this slower"
  install_with_pip
fi
fingerprint >$STAMP
say "done: $($VENV/bin/python -m pip list 2>/dev/null | tail -n +3 | wc -l) packages in $VENV"
