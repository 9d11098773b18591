#!/usr/bin/env bash
# Starts the worker of this machine: checks the variables, brings the tables up to date, works.
#   DATABASE_URL, CELERY_BROKER_URL, NFS_SHARE_ROOT_PATH   needed; REDIS_URL wanted (NAME_FILE instead reads a file)
#   TIDEGATE                    the command to use
# Arguments are for `tidegate worker`. Exit code 2: a variable is missing or wrong; 5: the folder is not there yet.
set -euo pipefail
PROGRAM=start_worker
# shellcheck source=scripts/environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

check_environment
find_tidegate
end_if_wrong

"$TIDEGATE" db upgrade
exec "$TIDEGATE" worker "$@"
