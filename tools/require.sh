#!/usr/bin/env bash
# Says exactly what is missing to build or to test Myriad, and how to get it.
set -euo pipefail
purpose=${1:-build}
missing=0

need() { # command, what for, how to get it
  if ! command -v "$1" >/dev/null 2>&1; then
    printf 'missing: %-9s %s\n         get it: %s\n' "$1" "($2)" "$3" >&2
    missing=1
  fi
}

wish() { # what is missing, what is left out without it, how to get it
  printf 'without:  %-9s %s\n         get it: %s\n' "$1" "($2)" "$3" >&2
}

# Says "yes" where the chat can be built: what the Makefile asks with the purpose `node`.
node_builds() {
  command -v npm >/dev/null 2>&1 && node -e '
    const [major, minor] = process.versions.node.split(".").map(Number);
    if (major > 20 || (major === 20 && minor >= 19)) console.log("yes");' 2>/dev/null
}

if [ "$purpose" = node ]; then
  node_builds || true
  exit 0
fi
if [ -z "$(node_builds)" ]; then
  wish node "no chat at the server's address" "Node.js 20.19 or newer with npm: https://nodejs.org"
fi
need cargo "compiles Myriad; Rust 1.92 or newer" "https://rustup.rs, or your system's packages"
need cc "links Myriad and compiles the TLS library that \`myriad pull\` uses" "apt-get install gcc    (or your system's C compiler)"
need python3 "fetches the default model" "apt-get install python3 python3-pip python3-venv"
if [ "$purpose" = test ]; then
  if ! command -v chromium >/dev/null 2>&1; then
    wish chromium "the chat is not tried in a browser" "apt-get install chromium"
  fi
  if ! command -v valgrind >/dev/null 2>&1; then
    wish valgrind "instructions are not counted" "apt-get install valgrind"
  fi
  need c++ "compiles the fuzzer" "apt-get install g++"
  need curl "runs the README's examples" "apt-get install curl"
  need git "lists the files that \`cargo xtask tidy\` reads" "apt-get install git"
  if command -v python3 >/dev/null 2>&1 && ! python3 -c 'import ensurepip, venv' >/dev/null 2>&1; then
    printf 'missing: venv      (holds the official client for its test)\n         get it: apt-get install python3-venv\n' >&2
    missing=1
  fi
fi
if command -v python3 >/dev/null 2>&1 && ! python3 -m pip --version >/dev/null 2>&1; then
  printf 'missing: pip       (fetches the default model)\n         get it: apt-get install python3-pip\n' >&2
  missing=1
fi
if command -v rustc >/dev/null 2>&1; then
  version=$(rustc --version | sed -E 's/^rustc ([0-9]+)\.([0-9]+).*/\1 \2/')
  read -r major minor <<<"$version"
  if [ "$major" -eq 1 ] && [ "$minor" -lt 92 ]; then
    printf 'too old: rustc 1.%s; Myriad needs 1.92 or newer\n         get it: rustup update stable\n' "$minor" >&2
    missing=1
  fi
fi
exit $missing
