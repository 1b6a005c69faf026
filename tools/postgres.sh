#!/usr/bin/env bash
# Starts a PostgreSQL of its own for the store's tests, in a folder, on a free port:
#     tools/postgres.sh start FOLDER    prints its address; installs PostgreSQL where it is missing
#     tools/postgres.sh stop FOLDER
set -euo pipefail
command=${1:?start or stop}
folder=${2:?a folder}

# Where Debian keeps them, which is not in the path.
programs() {
  local newest
  newest=$(find /usr/lib/postgresql -name initdb 2>/dev/null | sort -V | tail -1 || true)
  dirname "${newest:-$(command -v initdb || echo /missing/initdb)}"
}
# PostgreSQL refuses to run as root.
as_server() { if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi; }

bin=$(programs)
if [ "$command" = start ] && [ ! -x "$bin/initdb" ]; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "PostgreSQL is missing (for the store's tests). Get it: apt-get install postgresql" >&2
    exit 1
  fi
  echo "Installing PostgreSQL from the system's packages, once." >&2
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends postgresql; } >&2 ||
    { echo "Installing PostgreSQL failed. Get it: apt-get install postgresql" >&2; exit 1; }
  bin=$(programs)
fi

case $command in
start)
  mkdir -p "$folder"
  chmod 755 "$folder"
  if [ "$(id -u)" = 0 ]; then chown postgres "$folder"; fi
  as_server "$bin/initdb" --pgdata "$folder/data" --username postgres --auth trust --no-sync >"$folder/initdb.log"
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  # Tests kill the programs that write, never this server: it need not wait for disks.
  as_server "$bin/pg_ctl" --pgdata "$folder/data" --log "$folder/data/log" --wait --silent start \
    --options "-p $port -h 127.0.0.1 -k $folder/data -c fsync=off -c max_connections=200" >/dev/null
  echo "postgres://postgres@127.0.0.1:$port/postgres"
  ;;
stop)
  if [ -d "$folder/data" ]; then
    as_server "$bin/pg_ctl" --pgdata "$folder/data" --mode immediate --silent stop >/dev/null || true
  fi
  rm -rf "$folder"
  ;;
*) echo "start or stop, not '$command'" >&2; exit 2 ;;
esac
