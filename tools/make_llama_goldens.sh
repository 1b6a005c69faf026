#!/usr/bin/env bash
# Makes crates/model/tests/golden/*.logits: llama.cpp's logits of small random models of each family.
# Development only. PYTHON has llama-cpp-python (see llama_logits.py), MODEL is the default model.
set -euo pipefail
python=${1:?usage: make_llama_goldens.sh PYTHON MODEL}
model=${2:?usage: make_llama_goldens.sh PYTHON MODEL}
model=$(realpath "$model")
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
names="llama qwen2 qwen2moe qwen2moe-widths qwen3 qwen3moe seed_oss smollm3"
names="$names llama-rope-freqs llama-linear qwen2-yarn smollm3-yarn"
for name in $names; do
    options=$(cargo run --quiet --release -p myriad-model --example golden_model -- "$name" "$folder/$name.gguf")
    # shellcheck disable=SC2086 # options is a list of words
    "$python" tools/llama_logits.py "$folder/$name.gguf" $options \
        --out "crates/model/tests/golden/$name.logits"
done
# The ids of text.txt, for the perplexity of the default model.
"$python" tools/llama_logits.py "$model" \
    --text crates/model/tests/golden/text.txt --ids crates/model/tests/golden/text.ids
