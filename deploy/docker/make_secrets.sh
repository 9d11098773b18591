#!/bin/sh
# Runs once before all other services of compose.yaml: writes the passwords that they have among each other into the folder
# that is named, and what follows from them. A password that is there stays.
#   make_secrets.sh [FOLDER]
#   DATABASE   postgresql (default) or mariadb
set -eu
cd "${1:-/run/tidegate/secrets}"
# Read by the users of several images; the volume is mounted nowhere else.
umask 022

put() {
  cat >".$1.new"
  mv ".$1.new" "$1"
}

for name in database_password database_root_password redis_password grafana_password; do
  [ -s "$name" ] || python3 -c 'import secrets; print(secrets.token_urlsafe(24), end="")' | put "$name"
done

case "${DATABASE:-postgresql}" in
  postgresql) scheme=postgresql ;;
  mariadb) scheme=mariadb+pymysql ;;
  *) echo "make_secrets: DATABASE must be postgresql or mariadb, not '$DATABASE'" >&2; exit 2 ;;
esac
printf '%s://tidegate:%s@database/tidegate' "$scheme" "$(cat database_password)" | put database_url
printf 'redis://:%s@redis:6379/0' "$(cat redis_password)" | put celery_broker_url
printf 'redis://:%s@redis:6379/1' "$(cat redis_password)" | put redis_url
put redis.conf <<X
requirepass $(cat redis_password)
dir /data
appendonly yes
maxmemory-policy noeviction
X
