#!/usr/bin/env bash
# Makes a release in dist/ and tries it: sdist and wheel, an installation of the base in an empty environment, a list of all that
# is in it (CycloneDX), and a look for known weaknesses. Publishes nothing. docs/releasing.md says when and how.
#   scripts/release.sh            all of it; the changelog must have a section for the version, and nothing may be uncommitted
#   scripts/release.sh --build    only build and try the installation
#   scripts/release.sh --parts    the same, and the list of what is in it
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=.venv/bin/python
WORK=build/release
export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-1}" PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
unset PYTHONPATH PYTHONHOME

say() { printf 'release: %s\n' "$*"; }
die() { printf 'release: %s\n' "$@" >&2; exit 1; }

version=$($PYTHON -c 'import tidegate; print(tidegate.__version__)')
wheel=dist/tidegate-$version-py3-none-any.whl
sdist=dist/tidegate-$version.tar.gz

check_tree() {
  grep -q "^## \[$version\]" CHANGELOG.md || die "CHANGELOG.md has no section for $version. See docs/releasing.md."
  [ -z "$(git status --porcelain)" ] || die "there is something uncommitted; a release is what a commit says."
}

# environment NAME : an empty one in $WORK/NAME.
environment() {
  rm -rf "${WORK:?}/$1"
  $PYTHON -m venv "$WORK/$1"
}

# try WHAT FILE : the base in an empty environment, from that file, does what it says.
try() {
  say "trying $1"
  environment smoke
  "$WORK/smoke/bin/pip" install --quiet --require-hashes -r scripts/base-requirements.lock
  "$WORK/smoke/bin/pip" install --quiet --no-deps --no-index "$2"
  "$WORK/smoke/bin/pip" check
  $PYTHON scripts/smoke.py "$WORK/smoke/bin"
}

build() {
  rm -f dist/tidegate-*
  $PYTHON -m hatchling build -d dist >/dev/null
  [ -f "$wheel" ] && [ -f "$sdist" ] || die "the files that were built are not called after version $version"
  rm -rf $WORK/from-sdist && mkdir -p $WORK/from-sdist/wheel
  tar -xzf "$sdist" -C $WORK/from-sdist
  (cd "$WORK/from-sdist/tidegate-$version" && "$OLDPWD/$PYTHON" -m hatchling build -t wheel -d ../wheel >/dev/null)
  cmp "$wheel" "$WORK/from-sdist/wheel/$(basename "$wheel")" || die "the wheel from the sdist is another one than from the tree"
  try "the wheel, also as made from the sdist" "$wheel"
}

tools() {
  environment tools
  "$WORK/tools/bin/pip" install --quiet --require-hashes -r scripts/release-requirements.lock
}

list_parts() {
  local list=dist/tidegate-$version.cdx.json
  "$WORK/tools/bin/cyclonedx-py" environment "$WORK/smoke/bin/python" --pyproject pyproject.toml --output-reproducible \
    --output-format JSON -o "$list"
  # It does not ask the build backend for a version that is not written in pyproject.toml.
  $PYTHON -c 'import json, sys
path, version = sys.argv[1:]
with open(path) as file: parts = json.load(file)
parts["metadata"]["component"]["version"] = version
with open(path, "w") as file: json.dump(parts, file, indent=2)' "$list" "$version"
  say "wrote $list"
  list=dist/tidegate-$version-deployed.cdx.json
  "$WORK/tools/bin/cyclonedx-py" requirements deploy/requirements.lock --pyproject pyproject.toml --output-reproducible \
    --output-format JSON -o "$list"
  say "wrote $list"
}

# Without --strict a package that the service does not know is left out, and an audit of nothing passes.
audit() {
  local lock
  for lock in scripts/base-requirements.lock requirements.lock; do
    "$WORK/tools/bin/pip-audit" --strict --progress-spinner off --require-hashes --disable-pip -r $lock ||
      die "not every package of $lock was found free of known weaknesses: one has some, or PyPI could not be asked. See above."
  done
}

mkdir -p dist $WORK
what=${1:-all}
if [ "$what" = all ]; then check_tree; fi
build
if [ "$what" != --build ]; then
  tools
  list_parts
fi
if [ "$what" = all ]; then
  audit
  (cd dist && sha256sum tidegate-"$version"* >SHA256SUMS)
fi
say "done: $(ls dist)"
