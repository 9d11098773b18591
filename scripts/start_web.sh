#!/usr/bin/env bash
# Starts the servers of a cluster on this machine: checks the variables, brings the tables up to date, serves.
#   DATABASE_URL, CELERY_BROKER_URL, NFS_SHARE_ROOT_PATH   needed; REDIS_URL wanted (NAME_FILE instead reads a file)
#   CONSUL_HOST, CONSUL_PORT    where Consul is wanted
#   WEB_PROCESSES               servers beside each other on the one port; default: 2, with ENVIRONMENT=development 1
#   FIRST_KEY_FILE              where a new database's first API key is, or is written; without it nobody makes one
#   TIDEGATE                    the command to use
#   LOG_FILE                    of several servers each has its own: server.log becomes server-1.log, server-2.log
# Arguments are for `tidegate serve`. Exit code 2: a variable is missing or wrong; 5: the folder is not there yet. SIGTERM
# stops all servers in order; when one of them ends by itself the others are stopped too, and a supervisor starts all again.
set -euo pipefail
PROGRAM=start_web
# shellcheck source=scripts/environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

check_environment
need_number WEB_PROCESSES 1 64
find_tidegate
end_if_wrong

"$TIDEGATE" db upgrade
if [ -n "${FIRST_KEY_FILE:-}" ]; then "$TIDEGATE" key first --file "$FIRST_KEY_FILE"; fi

if [ "${ENVIRONMENT:-production}" = development ]; then processes=${WEB_PROCESSES:-1}; else processes=${WEB_PROCESSES:-2}; fi
if [ "$processes" = 1 ]; then exec "$TIDEGATE" serve "$@"; fi

export TIDEGATE_SHARE_PORT=true
# Servers stop with this script, also when it is killed.
bound=()
if command -v setpriv >/dev/null; then bound=(setpriv --pdeathsig TERM --); fi
servers=()
stopping=0
stop() {
  stopping=1
  for server in "${servers[@]}"; do kill -TERM "$server" 2>/dev/null || true; done
}
trap stop TERM INT
# Two that rotate one file lose lines.
log_file=${TIDEGATE_LOG_FILE:-${LOG_FILE:-}}
log_name=${log_file##*/}
log_end=
case "$log_name" in ?*.*) log_end=.${log_name##*.} ;; esac
for ((number = 1; number <= processes && stopping == 0; number++)); do
  if [ -n "$log_file" ]; then export TIDEGATE_LOG_FILE="${log_file%"$log_end"}-$number$log_end"; fi
  "${bound[@]}" "$TIDEGATE" serve "$@" &
  servers+=($!)
done

# A signal ends `wait` early; the loop then goes on to wait for what it has told to stop.
status=0
left=${#servers[@]}
while [ "$left" -gt 0 ]; do
  code=0
  wait -n || code=$?
  running=$(jobs -pr | wc -l)
  if [ "$running" -lt "$left" ] && [ "$stopping" = 0 ]; then
    printf '%s: a server has ended with %s; the others are stopped.\n' "$PROGRAM" "$code" >&2
    status=$((code == 0 ? 1 : code))
    stop
  fi
  left=$running
done
exit "$status"
