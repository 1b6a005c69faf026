#!/usr/bin/env bash
# schemathesis (PyPI) asks every route of /openapi.json what it allows and what it does
# not, against a scripted server: no 5xx, no status, content type or body that is not described.
#     make build && tools/schemathesis.sh [CASES FOR EACH ROUTE]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cases=${1:-60}
seed=${SEED:-$RANDOM}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/myriad
myriad=${CARGO_TARGET_DIR:-$cache/target}/release/myriad
venv=$cache/schemathesis-venv
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$work"' EXIT

if [ ! -x "$venv/bin/schemathesis" ]; then
  python3 -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check schemathesis==4.32.5
fi
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
# Files that it sends are many, and no one's.
"$myriad" serve script:crates/server/tests/clients/scripted/answers.json --port "$port" --api-key schema-key \
  --data "$work/data" 2>"$work/log" &
server=$!
for _ in $(seq 100); do
  curl -sf "http://127.0.0.1:$port/health" >/dev/null && break
  sleep 0.1
done
echo "seed $seed (SEED=$seed runs the same again)"
cd "$work"
"$venv/bin/schemathesis" run "http://127.0.0.1:$port/openapi.json" --header "authorization: Bearer schema-key" \
  --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
  --phases examples,coverage,fuzzing --max-examples "$cases" --seed "$seed" --continue-on-failure --warnings off
