#!/usr/bin/env bash
# On demand: compiles the kernels for 64-bit ARM and runs their tests there, under qemu.
#     tools/arm.sh [ARGUMENTS OF cargo test]
# Takes compiler, standard library and emulator from Debian's packages (160 MB, unpacked into the cache
# folder, nothing of them is installed) and the C linker from gcc-aarch64-linux-gnu, which has to be installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

command -v aarch64-linux-gnu-gcc >/dev/null ||
  { echo "the linker is missing: apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross" >&2; exit 1; }
tools=${XDG_CACHE_HOME:-$HOME/.cache}/myriad/arm
if [ ! -x "$tools/rustc" ]; then
  echo "Getting a compiler for 64-bit ARM, once."
  mkdir -p "$tools/packages"
  dpkg --print-foreign-architectures | grep -qx arm64 || dpkg --add-architecture arm64
  apt-get update -qq
  library=$(apt-cache depends libstd-rust-web-dev | awk '/Depends: libstd-rust-web-[0-9]/ { print $2; exit }')
  llvm=$(apt-cache depends "$library" | awk '/Depends: libllvm/ { print $2; exit }')
  (cd "$tools/packages" &&
    apt-get download -qq rustc-web "$library" "$llvm" libstd-rust-web-dev libstd-rust-web-dev:arm64 qemu-user-static)
  for package in "$tools"/packages/*.deb; do dpkg -x "$package" "$tools/tree"; done
  cat >"$tools/rustc" <<RUSTC
#!/bin/sh
export LD_LIBRARY_PATH=$tools/tree/usr/lib/x86_64-linux-gnu
exec $tools/tree/usr/bin/rustc --sysroot $tools/tree/usr "\$@"
RUSTC
  chmod +x "$tools/rustc"
fi
export RUSTC=$tools/rustc CARGO_TARGET_DIR=$tools/target
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
emulator="$tools/tree/usr/bin/qemu-aarch64-static -L /usr/aarch64-linux-gnu"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER=$emulator
cargo test --release --locked --package myriad-kernels --target aarch64-unknown-linux-gnu "$@"
