#!/bin/sh
# Installs Tidegate and what it needs, as the image does. Run it at the root of the repository, or of what is copied from it.
#   install.sh dependencies PREFIX   makes the environment PREFIX from deploy/requirements.lock: exact versions, checked by hash
#   install.sh tidegate PREFIX       builds the wheel, and puts it there
#   PYTHON                           the interpreter; default: python3
set -eu

prefix=$2
build=$prefix-build
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_NO_CACHE_DIR=1
# An empty variable would be an index without a name.
[ -n "${PIP_INDEX_URL:-}" ] || unset PIP_INDEX_URL

case "$1" in
  dependencies)
    "${PYTHON:-python3}" -m venv "$prefix"
    "$prefix/bin/python" -m pip install --quiet --compile --require-hashes -r deploy/requirements.lock
    ;;
  tidegate)
    "${PYTHON:-python3}" -m venv "$build"
    "$build/bin/python" -m pip install --quiet --require-hashes -r deploy/build-requirements.lock
    "$build/bin/python" -m pip wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir "$build/wheel" .
    "$prefix/bin/python" -m pip install --quiet --compile --no-deps --no-index "$build"/wheel/*.whl
    rm -rf "$build"
    # Nothing is installed there any more.
    "$prefix/bin/python" -m pip uninstall --quiet --yes pip setuptools
    ;;
  *)
    sed -n 's/^# \{0,1\}//p' "$0" | sed -n 2,5p >&2
    exit 2
    ;;
esac
