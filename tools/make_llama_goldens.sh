#!/usr/bin/env bash
# Makes crates/model/tests/golden/*.logits: llama.cpp's logits of small random models of each family.
# Development only; the first argument is a Python that has llama-cpp-python (see llama_logits.py).
set -euo pipefail
python=${1:?usage: make_llama_goldens.sh PYTHON}
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for name in llama qwen2 qwen3 llama-rope-freqs llama-linear qwen2-yarn; do
    options=$(cargo run --quiet --release -p myriad-model --example golden_model -- "$name" "$folder/$name.gguf")
    # shellcheck disable=SC2086 # options is a list of words
    "$python" tools/llama_logits.py "$folder/$name.gguf" $options \
        --out "crates/model/tests/golden/$name.logits"
done
