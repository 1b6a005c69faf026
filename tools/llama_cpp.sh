#!/usr/bin/env bash
# Development only: builds llama.cpp's own tools for this processor, the peer in `cargo xtask bench`.
#     tools/llama_cpp.sh FOLDER
# The source is the one that PyPI's llama-cpp-python carries. Needs Python 3, a C++ compiler, cmake.
# FOLDER/bin then has llama-bench, llama-batched-bench, llama-server, llama-perplexity, llama-quantize.
set -euo pipefail

version=0.3.36
folder=${1:?"usage: tools/llama_cpp.sh FOLDER"}
mkdir -p "$folder"
cd "$folder"
source=llama_cpp_python-$version
if [ ! -d "$source" ]; then
  python3 -m pip download --quiet --no-deps --no-binary llama-cpp-python "llama-cpp-python==$version"
  tar xzf "$source.tar.gz"
fi
cmake -S "$source/vendor/llama.cpp" -B build -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DLLAMA_CURL=OFF \
  -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_UI=OFF
cmake --build build --parallel "$(nproc)" --target llama-bench llama-batched-bench llama-server llama-perplexity \
  llama-quantize
ln -sfn build/bin bin
# Once more for processors with AVX2 alone, against which Myriad's kernels for those are held.
mkdir -p avx2
cmake -S "$source/vendor/llama.cpp" -B avx2 -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=OFF -DGGML_AVX2=ON \
  -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF \
  -DLLAMA_BUILD_UI=OFF
cmake --build avx2 --parallel "$(nproc)" --target llama-bench
echo "llama-cpp-python $version" >version
echo "$folder/bin is ready:  cargo xtask bench --peers $folder"
