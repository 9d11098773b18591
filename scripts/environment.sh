# Sourced by start_web.sh and start_worker.sh: looks at the variables before anything starts. Each one that is missing or
# cannot be right has a line of its own on standard error; the exit code is then 2. It is 5 where it may become right without
# anybody's help, as a folder that is not mounted yet: to start again later is then worth it.
#
# A value may come from a file, such as a secret of a container: NAME_FILE=/run/secrets/name instead of NAME. Tidegate reads
# that itself, so the value is looked at here, and does not get into the environment.

faults=0
absent=0

fault() {
  printf '%s: %s\n' "$PROGRAM" "$1" >&2
  faults=1
}

not_yet() {
  printf '%s: %s\n' "$PROGRAM" "$1" >&2
  absent=1
}

end_if_wrong() {
  [ "$faults" = 0 ] || exit 2
  [ "$absent" = 0 ] || exit 5
}

# from_file NAME : look at the value in the file that NAME_FILE names, if that is set; NAME itself goes before it.
from_file() {
  local file_name="$1_FILE"
  [ -n "${!file_name:-}" ] || return 0
  if [ ! -r "${!file_name}" ]; then
    fault "$file_name names a file that cannot be read: ${!file_name}"
  elif [ -z "${!1:-}" ]; then
    export -n "$1=$(<"${!file_name}")"
  fi
}

# need_url NAME WHAT SCHEME... : it is set and begins with one of the schemes. The value may hold a password: never shown.
need_url() {
  local name=$1 what=$2 scheme
  shift 2
  if [ -z "${!name:-}" ]; then
    fault "$name is not set: $what"
    return 0
  fi
  for scheme in "$@"; do
    case "${!name}" in "$scheme"://?*) return 0 ;; esac
  done
  fault "$name must begin with one of $(printf '%s:// ' "$@")($what)"
}

need_folder() {
  if [ -z "${NFS_SHARE_ROOT_PATH:-}" ]; then
    fault "NFS_SHARE_ROOT_PATH is not set: the folder that all servers and workers share, such as /srv/tidegate"
  elif [ ! -d "$NFS_SHARE_ROOT_PATH" ]; then
    not_yet "NFS_SHARE_ROOT_PATH is no folder: $NFS_SHARE_ROOT_PATH (is it mounted?)"
  elif [ ! -w "$NFS_SHARE_ROOT_PATH" ]; then
    not_yet "NFS_SHARE_ROOT_PATH cannot be written by user $(id -un 2>/dev/null || id -u): $NFS_SHARE_ROOT_PATH"
  fi
}

# need_number NAME LEAST MOST : if it is set, it is a whole number between the two.
need_number() {
  local value="${!1:-}"
  [ -n "$value" ] || return 0
  if ! [[ $value =~ ^[0-9]{1,9}$ ]] || ((10#$value < $2 || 10#$value > $3)); then
    fault "$1 must be a whole number from $2 to $3, not '$value'"
  fi
}

# Consul is wanted when one of its two variables is set; then both have to be right.
check_consul() {
  [ -n "${CONSUL_HOST:-}${CONSUL_PORT:-}" ] || return 0
  [ -n "${CONSUL_HOST:-}" ] || fault "CONSUL_HOST is not set, but CONSUL_PORT is: the host of Consul's agent"
  case "${CONSUL_HOST:-}" in *://* | */* | *[[:space:]]*)
    fault "CONSUL_HOST must be a host name or address alone, without scheme or path: $CONSUL_HOST" ;;
  esac
  need_number CONSUL_PORT 1 65535
}

check_environment() {
  local name
  for name in DATABASE_URL CELERY_BROKER_URL REDIS_URL; do from_file "$name"; done
  need_url DATABASE_URL "the database of record, such as postgresql://user:password@host/tidegate" \
    postgresql postgresql+psycopg mysql mysql+pymysql mariadb mariadb+pymysql
  need_url CELERY_BROKER_URL "Celery's broker, such as redis://host:6379/0" redis rediss amqp amqps
  need_folder
  check_consul
}

# The tidegate beside this checkout, unless another one is meant.
find_tidegate() {
  if [ -z "${TIDEGATE:-}" ]; then
    TIDEGATE="$(dirname "${BASH_SOURCE[0]}")/../.venv/bin/tidegate"
    [ -x "$TIDEGATE" ] || TIDEGATE=tidegate
  fi
  command -v "$TIDEGATE" >/dev/null || fault "the command tidegate is not on PATH: install it, or name it by TIDEGATE"
}
