#!/usr/bin/env bash
# `make test`: everything that checks the project, the cheap checks first. Called by the Makefile,
# which sets CARGO_TARGET_DIR and has fetched the default model.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cache=${XDG_CACHE_HOME:-$HOME/.cache}/myriad
started=$SECONDS
step() { printf '\n=== %s  (%d s)\n' "$1" $((SECONDS - started)); }

step "format"
if cargo fmt --version >/dev/null 2>&1; then
  cargo fmt --all --check
  cargo fmt --manifest-path fuzz/Cargo.toml --check
else
  echo "rustfmt is not installed (rustup component add rustfmt): skipped"
fi

step "tidy"
cargo xtask tidy

step "clippy"
if cargo clippy --version >/dev/null 2>&1; then
  cargo clippy --release --workspace --all-targets --locked -- -D warnings
else
  echo "clippy is not installed (rustup component add clippy): skipped"
fi

step "a PostgreSQL for the store's tests"
postgres=$(mktemp -d)
trap 'tools/postgres.sh stop "$postgres"' EXIT
MYRIAD_TEST_POSTGRES=$(tools/postgres.sh start "$postgres")
export MYRIAD_TEST_POSTGRES
echo "$MYRIAD_TEST_POSTGRES"

step "unit, golden, property and end-to-end tests"
# One profile for tests and `make serve`: built once, and the tests see the code that users run.
if cargo nextest --version >/dev/null 2>&1; then
  cargo nextest run --release --workspace --locked --no-fail-fast
else
  cargo test --release --workspace --locked --no-fail-fast
fi
cargo test --release --workspace --locked --doc --quiet

# `make test` has built the chat where Node is there: it is checked, and tried in the binary below.
node=$(tools/require.sh node)
if [ -n "$node" ]; then
  step "the chat: format, types, units"
  npm --prefix web run check --silent
  npm --prefix web test --silent
fi

step "fuzz, briefly"
cargo xtask fuzz --seconds "${FUZZ_SECONDS:-10}"

step "official clients"
venv=$cache/test-venv
requirements=crates/server/tests/clients/requirements.txt
if ! cmp -s "$requirements" "$venv/requirements.txt"; then
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements"
  cp "$requirements" "$venv/requirements.txt"
fi
modules=$cache/test-modules
scripts=crates/server/tests/clients/scripted
if ! cmp -s "$scripts/package-lock.json" "$modules/done.json"; then
  rm -rf "$modules"
  mkdir -p "$modules"
  cp "$scripts"/package.json "$scripts"/package-lock.json "$modules"
  PATH=$venv/bin:$PATH npm --prefix "$modules" ci --ignore-scripts --no-audit --no-fund --loglevel=error
  cp "$scripts/package-lock.json" "$modules/done.json"
fi
cargo build --release --locked --package myriad
cargo xtask clients --python "$venv/bin/python" --node "$venv/bin/node" --modules "$modules"

install() { # a command that is a package of the system, too
  if command -v "$1" >/dev/null 2>&1 || [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    return
  fi
  echo "Installing $1 from the system's packages, once."
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1"; } >&2 ||
    echo "Installing $1 failed. Get it: apt-get install $1" >&2
}

[ "$(uname -m)" != x86_64 ] || install valgrind
if [ "$(uname -m)" = x86_64 ] && command -v valgrind >/dev/null 2>&1; then
  step "no more instructions than before"
  cargo xtask bench --guard
fi

[ -z "$node" ] || install chromium
if [ -n "$node" ] && command -v chromium >/dev/null 2>&1; then
  step "the chat in a browser"
  export MYRIAD=$CARGO_TARGET_DIR/release/myriad
  for file in web/tests/e2e/*.test.mjs web/tests/e2e/*/*.test.mjs; do
    # Each journey that a busy machine makes late is tried once more, by itself (harness.mjs).
    node --test "$file"
  done
fi

step "many streams, of which some vanish"
# Latencies are reported only: other programs may use this machine. On a quiet one they are judged
# by `cargo xtask load`.
cargo xtask load --seconds 5 --report

step "schemathesis: what /openapi.json says, and what it does not"
# The same cases in each run; `tools/schemathesis.sh` by itself draws others.
SEED=1 tools/schemathesis.sh 10

step "the README's own commands"
cargo xtask readme --python "$venv/bin/python"

step "all green"
