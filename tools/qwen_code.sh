#!/usr/bin/env bash
# On demand: the Qwen Code agent (npm @qwen-code/qwen-code) does one tool task against a scripted
# server: it is asked for a file, calls its own tool, sends the result back and reads the answer.
#     make build && tools/qwen_code.sh
# Needs Node.js 22 or newer: that of `make test` is taken where it is there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=0.24.4
cache=${XDG_CACHE_HOME:-$HOME/.cache}/myriad
myriad=${CARGO_TARGET_DIR:-$cache/target}/release/myriad
PATH=$cache/test-venv/bin:$PATH
agent=$cache/qwen-code-$version
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$work"' EXIT

if [ ! -x "$agent/node_modules/.bin/qwen" ]; then
  echo "Getting @qwen-code/qwen-code $version (150 MB), once."
  mkdir -p "$agent"
  npm --prefix "$agent" install --no-save --ignore-scripts --no-audit --no-fund --loglevel=error "@qwen-code/qwen-code@$version"
fi

mkdir "$work/home" "$work/project"
# The result of the tool is in the second prompt, so its answer is looked for first.
cat >"$work/script.json" <<JSON
{
  "control_tokens": ["<think>", "</think>", "<tool_call>", "</tool_call>"],
  "context": 1000000,
  "answers": [
    { "when": "uccessfully created", "text": "The greeting is there." },
    { "text": "<tool_call>\n{\"name\": \"write_file\", \"arguments\": {\"file_path\": \"$work/project/greeting.txt\", \"content\": \"Grüße, world\\\\n\"}}\n</tool_call>" }
  ]
}
JSON
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$myriad" serve "script:$work/script.json" --port "$port" --api-key agent-key --data "$work/data" 2>"$work/log" &
server=$!
for _ in $(seq 100); do
  curl -sf "http://127.0.0.1:$port/health" >/dev/null && break
  sleep 0.1
done

cd "$work/project"
said=$(env HOME="$work/home" OPENAI_BASE_URL="http://127.0.0.1:$port/v1" OPENAI_API_KEY=agent-key \
  OPENAI_MODEL=scripted QWEN_CODE_SUPPRESS_YOLO_WARNING=1 timeout 120 "$agent/node_modules/.bin/qwen" \
  --auth-type openai --yolo --max-session-turns 3 --telemetry false "Write a greeting into greeting.txt" 2>"$work/errors") ||
  { cat "$work/errors" "$work/log"; exit 1; }
echo "the agent says: $said"
echo "the file holds: $(cat greeting.txt)"
[ "$(cat greeting.txt)" = "Grüße, world" ] && [[ "$said" == *"The greeting is there."* ]]
echo "Qwen Code $version: the task is done"
