"""Measures llama.cpp's prefill and decode speed on one model file, as the peer in `cargo xtask bench`.

Development only. Needs PyPI `llama-cpp-python` built for the native processor:

    CMAKE_ARGS="-DGGML_NATIVE=ON" pip install --no-binary llama-cpp-python llama-cpp-python==0.3.36

Goes through the low-level API (the same calls as llama.cpp's own `llama-bench`): one prompt of
`--prompt` tokens in one batch, then `--generate` single-token steps at depth `--depth`.
Prints one JSON line per repetition: {"prefill": tokens/s, "decode": tokens/s}.
"""

import argparse
import ctypes
import json
import random
import sys
import time

import llama_cpp as lc


def decode(context, tokens):
    """Feeds `tokens` (one batch) and waits until the logits are there."""
    array = (lc.llama_token * len(tokens))(*tokens)
    batch = lc.llama_batch_get_one(array, len(tokens))
    status = lc.llama_decode(context, batch)
    if status != 0:
        sys.exit(f"llama_decode failed with {status}")
    lc.llama_synchronize(context)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--generate", type=int, default=128)
    parser.add_argument("--depth", type=int, default=0, help="tokens in the cache before decoding")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--flash-attention", choices=["on", "off"], default="on")
    arguments = parser.parse_args()

    quiet = lc.llama_log_callback(lambda level, text, data: None)
    lc.llama_log_set(quiet, ctypes.c_void_p(0))
    lc.llama_backend_init()
    model = lc.llama_model_load_from_file(
        arguments.model.encode(), lc.llama_model_default_params()
    )
    if not model:
        sys.exit(f"cannot load {arguments.model}")
    parameters = lc.llama_context_default_params()
    parameters.n_ctx = max(arguments.prompt, arguments.depth + arguments.generate) + 16
    parameters.n_batch = 2048
    parameters.n_ubatch = 512
    parameters.n_threads = arguments.threads
    parameters.n_threads_batch = arguments.threads
    parameters.flash_attn_type = 1 if arguments.flash_attention == "on" else 0
    context = lc.llama_init_from_model(model, parameters)
    if not context:
        sys.exit("cannot make a context")
    vocabulary = lc.llama_vocab_n_tokens(lc.llama_model_get_vocab(model))
    memory = lc.llama_get_memory(context)
    source = random.Random(1)
    prompt = [source.randrange(vocabulary) for _ in range(arguments.prompt)]

    decode(context, prompt)  # warm: pages, repacked weights, thread pool
    for _ in range(arguments.repeat):
        lc.llama_memory_clear(memory, True)
        start = time.perf_counter()
        decode(context, prompt)
        prefill = arguments.prompt / (time.perf_counter() - start)
        lc.llama_memory_clear(memory, True)
        if arguments.depth:
            decode(context, [source.randrange(vocabulary) for _ in range(arguments.depth)])
        start = time.perf_counter()
        for _ in range(arguments.generate):
            decode(context, [source.randrange(vocabulary)])
        generated = arguments.generate / (time.perf_counter() - start)
        print(json.dumps({"prefill": prefill, "decode": generated}), flush=True)


main()
