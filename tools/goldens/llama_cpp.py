"""Runs llama.cpp's own converter over a row, so that its idea of names and layouts is what is tested."""

import importlib
import json
import logging
import shutil
import sys
import tempfile
from pathlib import Path


def converter(root):
    """The converter's modules, from a source tree of llama.cpp; ahead of any installed `gguf`."""
    sys.path[:0] = [str(root), str(root / "gguf-py")]
    conversion = importlib.import_module("conversion")
    conversion.logger.setLevel(logging.ERROR)
    return conversion


def write_gguf(conversion, name, folder, path, vocab_size):
    """The row `name` in `folder` as a GGUF file with the same weights: BF16, and MXFP4 where it is that."""
    gguf = importlib.import_module("gguf")
    hparams = conversion.ModelBase.load_hparams(folder, False)
    architecture = conversion.get_model_architecture(hparams, conversion.ModelType.TEXT)
    base = conversion.get_model_class(architecture)

    class Converter(base):
        # Rows have no layers that predict further tokens.
        no_mtp = True
        model_arch = base.model_arch

        def set_vocab(self):
            set_vocabulary(self.gguf_writer, vocab_size, gguf.TokenType)

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(shutil.copytree(folder, Path(scratch) / name))
        # Some read the number of tokens from there.
        tokens = {str(token): token for token in range(vocab_size)}
        (source / "tokenizer.json").write_text(json.dumps(dict(model=dict(vocab=tokens), added_tokens=[])))
        Converter(source, gguf.LlamaFileType.MOSTLY_BF16, path, model_name=name).write()


def set_vocabulary(writer, size, types):
    """Three tokens of structure, a token for each of the first bytes, and one merge: BPE must have some."""
    structure, merged = ["<pad>", "<s>", "</s>"], "th"
    count = size - len(structure) - 1
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([*structure, *byte_characters()[:count], merged])
    writer.add_token_types([types.CONTROL] * len(structure) + [types.NORMAL] * (count + 1))
    writer.add_token_merges(["t h"])
    writer.add_pad_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)


def byte_characters():
    """GPT-2's alphabet for bytes: those that can be printed, then the others from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [chr(byte) for byte in printable] + [chr(0x100 + index) for index in range(256 - len(printable))]
