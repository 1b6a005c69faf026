"""Turns a GGUF file and token ids into llama.cpp's logits, the outside oracle of `crates/model`.

Development only. Needs PyPI `llama-cpp-python` (0.3.36):

    pip install --no-binary llama-cpp-python llama-cpp-python==0.3.36

Everything that llama.cpp rounds by default is switched off: keys and values are kept in f32, flash
attention is off, one thread. Each `--tokens` is a prompt of its own, evaluated from an empty cache.
Writes the logits of each prompt's last `--rows` tokens as little-endian f32, one row after the
other, to `--out`; without it prints the five best tokens of each prompt.

With `--text FILE --ids OUT` writes the ids of a text instead, as little-endian u16.
"""

import argparse
import ctypes
import sys

import llama_cpp as lc
import numpy

GGML_TYPE_F32 = 0


def open_context(path, length):
    quiet = lc.llama_log_callback(lambda level, text, data: None)
    lc.llama_log_set(quiet, ctypes.c_void_p(0))
    lc.llama_backend_init()
    parameters = lc.llama_model_default_params()
    # The repacked layouts of the processor change the order of sums, not what is computed.
    parameters.use_extra_bufts = False
    model = lc.llama_model_load_from_file(path.encode(), parameters)
    if not model:
        sys.exit(f"llama.cpp cannot load {path}")
    parameters = lc.llama_context_default_params()
    parameters.n_ctx = length + 8
    parameters.n_batch = parameters.n_ubatch = length + 8
    parameters.n_threads = parameters.n_threads_batch = 1
    parameters.type_k = parameters.type_v = GGML_TYPE_F32
    parameters.flash_attn_type = 0
    context = lc.llama_init_from_model(model, parameters)
    if not context:
        sys.exit("llama.cpp cannot make a context")
    vocab = lc.llama_vocab_n_tokens(lc.llama_model_get_vocab(model))
    # The callback must outlive every call.
    return context, vocab, quiet


def logits_of(context, vocab, tokens):
    """The logits of every token of a prompt. [tokens, vocab]"""
    lc.llama_memory_clear(lc.llama_get_memory(context), True)
    batch = lc.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for index, token in enumerate(tokens):
        batch.token[index] = token
        batch.pos[index] = index
        batch.n_seq_id[index] = 1
        batch.seq_id[index][0] = 0
        batch.logits[index] = 1
    status = lc.llama_decode(context, batch)
    if status != 0:
        sys.exit(f"llama_decode failed with {status}")
    rows = [
        numpy.ctypeslib.as_array(lc.llama_get_logits_ith(context, index), shape=(vocab,)).copy()
        for index in range(len(tokens))
    ]
    lc.llama_batch_free(batch)
    return numpy.stack(rows)


def write_ids(path, text_path, ids_path):
    """Tokenises a text by the model's own vocabulary; no special tokens, none added."""
    model = lc.Llama(path, vocab_only=True, verbose=False)
    with open(text_path, "rb") as file:
        ids = model.tokenize(file.read(), add_bos=False, special=False)
    numpy.array(ids, dtype="<u2").tofile(ids_path)
    print(len(ids), "ids")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--tokens", action="append", help="ids with commas")
    parser.add_argument("--rows", type=int, default=1 << 30, help="last rows of each prompt kept")
    parser.add_argument("--out", help="file for the logits")
    parser.add_argument("--text", help="a text to write the ids of")
    parser.add_argument("--ids", help="file for the ids")
    arguments = parser.parse_args()
    if arguments.text and arguments.ids:
        write_ids(arguments.model, arguments.text, arguments.ids)
        return
    if not arguments.tokens:
        parser.error("--tokens, or --text and --ids, are needed")

    prompts = [[int(token) for token in text.split(",")] for text in arguments.tokens]
    context, vocab, _quiet = open_context(arguments.model, max(map(len, prompts)))
    kept = [logits_of(context, vocab, prompt)[-arguments.rows :] for prompt in prompts]
    if arguments.out:
        numpy.concatenate(kept).astype("<f4").tofile(arguments.out)
        return
    for prompt, rows in zip(prompts, kept):
        best = numpy.argsort(-rows[-1])[:5]
        print(len(prompt), "tokens:", ", ".join(f"{id} {rows[-1][id]:.4f}" for id in best))


if __name__ == "__main__":
    main()
