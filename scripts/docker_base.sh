#!/usr/bin/env bash
# Makes the images that compose.yaml stands on where no image registry can be reached: by debootstrap and apt, from the Debian
# mirror of this machine. They keep to the interface of the official images as far as compose.yaml uses it.
#   scripts/docker_base.sh           makes what is missing, and prints the variables that name the images
#   scripts/docker_base.sh NAME...   only these: python redis postgres mariadb prometheus
#   DOCKER           the client to use; DOCKER_HOST as always
#   DEBIAN_MIRROR    another mirror
# Needs an engine, and debootstrap run by root. Use:  eval "$(scripts/docker_base.sh)"; docker compose up
set -euo pipefail

DOCKER=${DOCKER:-docker}
SUITE=bookworm
PREFIX=tidegate-base
work=

say() { printf 'docker_base: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
present() { "$DOCKER" image inspect "$PREFIX/$1" >/dev/null 2>&1; }

# The first archive of this machine's own sources.
mirror() {
  local found
  found=${DEBIAN_MIRROR:-$(sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/*.sources 2>/dev/null | head -n 1)}
  [ -n "$found" ] || found=$(awk '$1 == "deb" { for (i = 2; i <= NF; i++) if ($i ~ /^http/) { print $i; exit } }' /etc/apt/sources.list)
  [ -n "$found" ] || die "no Debian mirror is known here; name one by DEBIAN_MIRROR"
  printf '%s\n' "$found"
}

# A tree is a Debian with PACKAGE... in it; what apt and the manuals need is left out.
tree() {
  local root=$1
  shift
  debootstrap --variant=minbase --include="$(IFS=,; echo "$*")" "$SUITE" "$root" "$(mirror)" >"$work/log" 2>&1 ||
    { tail -n 20 "$work/log" >&2; die "debootstrap failed"; }
  # The authorities that this machine trusts, its own too.
  if [ -d "$root/etc/ssl/certs" ]; then cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"; fi
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,info,locale}/*
}

# put IMAGE ROOT CHANGE... : the tree becomes an image.
put() {
  local image=$1 root=$2 change changes=()
  shift 2
  for change in "$@"; do changes+=(--change "$change"); done
  tar -C "$root" -c . | "$DOCKER" import --change 'ENV LANG=C.UTF-8' "${changes[@]}" - "$PREFIX/$image" >/dev/null
  rm -rf "$root"
  say "made $PREFIX/$image"
}

# entry ROOT : standard input becomes the program that the image starts.
entry() {
  cat >"$1/usr/local/bin/docker-entrypoint.sh"
  chmod 755 "$1/usr/local/bin/docker-entrypoint.sh"
}

readonly ENTRYPOINT='ENTRYPOINT ["docker-entrypoint.sh"]'

make_python() {
  local root=$work/python
  tree "$root" ca-certificates python3 python3-venv
  ln -s python3 "$root/usr/bin/python"
  put "python:3.11" "$root" 'CMD ["python3"]' 'ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt'
}

make_redis() {
  local root=$work/redis
  tree "$root" redis-server
  mkdir -p "$root/data" && chroot "$root" chown redis:redis /data
  entry "$root" <<'X'
#!/bin/sh
set -e
cd /data
chown redis:redis .
exec setpriv --reuid=redis --regid=redis --clear-groups "$@"
X
  put "redis:7" "$root" "$ENTRYPOINT" 'CMD ["redis-server"]'
}

make_postgres() {
  local root=$work/postgres
  tree "$root" postgresql
  rm -rf "$root"/var/lib/postgresql/*/main
  entry "$root" <<'X'
#!/bin/bash
set -e
PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
as() { setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; }
mkdir -p "$PGDATA" /run/postgresql
chown postgres:postgres "$PGDATA" /run/postgresql
chmod 700 "$PGDATA"
cd "$PGDATA"
if [ ! -s PG_VERSION ]; then
  as initdb --username="$POSTGRES_USER" --auth-local=trust --auth-host=scram-sha-256 \
    --pwfile="$POSTGRES_PASSWORD_FILE" >/dev/null
  echo "host all all all scram-sha-256" >>pg_hba.conf
  as pg_ctl -o "-c listen_addresses=''" -w start >/dev/null
  as createdb --username="$POSTGRES_USER" "$POSTGRES_DB"
  as pg_ctl -m fast -w stop >/dev/null
fi
exec setpriv --reuid=postgres --regid=postgres --clear-groups "$@" -c listen_addresses='*'
X
  put "postgres:15" "$root" "$ENTRYPOINT" 'CMD ["postgres"]' 'ENV PGDATA=/var/lib/postgresql/data'
}

make_mariadb() {
  local root=$work/mariadb
  tree "$root" mariadb-server
  rm -rf "$root"/var/lib/mysql/*
  entry "$root" <<'X'
#!/bin/bash
set -e
data=/var/lib/mysql
for word in "$@"; do case "$word" in --datadir=*) data=${word#*=} ;; esac; done
mkdir -p "$data" /run/mysqld
chown mysql:mysql "$data" /run/mysqld
if [ ! -d "$data/mysql" ]; then
  mariadb-install-db --user=mysql --datadir="$data" --auth-root-authentication-method=normal >/dev/null
  umask 077
  # One statement a line, as --init-file wants it.
  cat >/tmp/first.sql <<SQL
CREATE DATABASE \`$MARIADB_DATABASE\` CHARACTER SET utf8mb4;
CREATE USER '$MARIADB_USER'@'%' IDENTIFIED BY '$(cat "$MARIADB_PASSWORD_FILE")';
GRANT ALL ON \`$MARIADB_DATABASE\`.* TO '$MARIADB_USER'@'%';
ALTER USER root@localhost IDENTIFIED BY '$(cat "$MARIADB_ROOT_PASSWORD_FILE")';
SQL
  chown mysql:mysql /tmp/first.sql
  set -- "$@" --init-file=/tmp/first.sql
fi
exec "$@" --user=mysql --bind-address=0.0.0.0 --skip-name-resolve
X
  put "mariadb:10.11" "$root" "$ENTRYPOINT" 'CMD ["mariadbd"]'
}

make_prometheus() {
  local root=$work/prometheus
  tree "$root" prometheus
  mkdir -p "$root/prometheus" && chroot "$root" chown nobody:nogroup /prometheus
  mkdir -p "$root/etc/prometheus"
  put "prometheus:2" "$root" 'ENTRYPOINT ["/usr/bin/prometheus"]' 'USER nobody' 'WORKDIR /prometheus'
}

version_of() {
  case "$1" in
    python) echo 3.11 ;; redis) echo 7 ;; postgres) echo 15 ;; mariadb) echo 10.11 ;; prometheus) echo 2 ;;
    *) die "there is no image $1 to make: python redis postgres mariadb prometheus" ;;
  esac
}

variable_of() {
  case "$1" in python) echo BASE_IMAGE ;; *) echo "$(tr '[:lower:]' '[:upper:]' <<<"$1")_IMAGE" ;; esac
}

"$DOCKER" version >/dev/null 2>&1 || die "no Docker engine answers (DOCKER_HOST=${DOCKER_HOST:-not set})"
[ $# -gt 0 ] || set -- python redis postgres mariadb prometheus
for name in "$@"; do
  image=$name:$(version_of "$name")
  if ! present "$image"; then
    [ "$(id -u)" = 0 ] || die "debootstrap wants root"
    command -v debootstrap >/dev/null || die "debootstrap is not installed. As root: apt-get install -y debootstrap"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    "make_$name"
    rm -rf "$work"
  fi
  printf 'export %s=%s\n' "$(variable_of "$name")" "$PREFIX/$image"
done
