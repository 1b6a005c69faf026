"""Compares Myriad's perplexity on a text with llama.cpp's on the same file.

Development only. Needs PyPI `llama-cpp-python` (0.3.36) and a built `myriad`:

    pip install --no-binary llama-cpp-python llama-cpp-python==0.3.36
    python tools/llama_perplexity.py MODEL.gguf TEXT --myriad PATH [--record FILE]

Both cut the text as llama.cpp's own tool does: windows of `--context` tokens, of which the second
half is predicted. llama.cpp runs with its defaults (keys and values in f16). Tokens are those of
llama.cpp's tokenizer there and of Myriad's here, so that a difference between those shows, too.
Exits with 1 where the two differ by more than one per cent.
"""

import argparse
import ctypes
import datetime
import json
import math
import subprocess
import sys
from pathlib import Path

import llama_cpp as lc
import numpy

LIMIT = 0.01


def perplexity(path, text, context, threads):
    """llama.cpp's perplexity, and how many tokens it is the mean of."""
    quiet = lc.llama_log_callback(lambda level, text, data: None)
    lc.llama_log_set(quiet, ctypes.c_void_p(0))
    model = lc.Llama(path, n_ctx=context, n_batch=context, n_ubatch=context, n_threads=threads,
                     n_threads_batch=threads, logits_all=True, verbose=False)
    vocab = lc.llama_model_get_vocab(model.model)
    begins = lc.llama_vocab_get_add_bos(vocab)
    tokens = model.tokenize(text.encode(), add_bos=begins, special=False)
    total, count = 0.0, 0
    for start in range(0, len(tokens) - context + 1, context):
        window = tokens[start : start + context]
        if begins:
            window[0] = lc.llama_vocab_bos(vocab)
        model.reset()
        model.eval(window)
        logits = numpy.array(model.scores[:context], dtype=numpy.float64)
        first = context // 2
        rows = logits[first - 1 : context - 1]
        rows = rows - rows.max(axis=1, keepdims=True)
        logs = rows - numpy.log(numpy.exp(rows).sum(axis=1, keepdims=True))
        total -= logs[numpy.arange(len(rows)), window[first:]].sum()
        count += len(rows)
        print(f"llama.cpp: {start + context} of {len(tokens)} tokens, "
              f"perplexity {math.exp(total / count):.3f}", file=sys.stderr, end="\r")
    print(file=sys.stderr)
    return math.exp(total / count), count, len(tokens)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("text")
    parser.add_argument("--myriad", default="myriad", help="the binary")
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--record", help="a JSON file that one entry is added to")
    arguments = parser.parse_args()

    ours = subprocess.run(
        [arguments.myriad, "perplexity", arguments.model, arguments.text,
         "--context", str(arguments.context), "--json"],
        check=True, stdout=subprocess.PIPE,
    )
    ours = json.loads(ours.stdout)
    text = Path(arguments.text).read_text(encoding="utf-8")
    theirs, scored, tokens = perplexity(arguments.model, text, arguments.context, arguments.threads)
    entry = {
        "model": Path(arguments.model).name,
        "text": f"{Path(arguments.text).name}, {len(text.encode())} bytes",
        "context": arguments.context,
        "myriad": ours["perplexity"],
        "llama.cpp": theirs,
        "ratio": ours["perplexity"] / theirs,
        "standard_error": ours["standard_error"],
        "tokens": [ours["tokens"], tokens],
        "scored_tokens": [ours["scored_tokens"], scored],
        "kernels": ours["kernels"],
        "date": datetime.date.today().isoformat(),
        "command": "python tools/llama_perplexity.py MODEL TEXT",
        "peer": f"llama-cpp-python {lc.__version__}",
    }
    print(json.dumps(entry, indent=1))
    if arguments.record:
        file = Path(arguments.record)
        entries = json.loads(file.read_text()) if file.exists() else []
        file.write_text(json.dumps([*entries, entry], indent=1) + "\n")
    sys.exit(abs(entry["ratio"] - 1) > LIMIT)


if __name__ == "__main__":
    main()
