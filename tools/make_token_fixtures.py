#!/usr/bin/env python3
"""Makes the golden files of the token room: what other implementations make of hard texts.

Development only; nothing at run time or in the test suite needs Python. Usage:

    python3 -m venv VENV && VENV/bin/pip install tokenizers==0.23.3 llama-cpp-python==0.3.36 \\
        gguf==0.19.0 jinja2==3.1.6 sentencepiece==0.2.3 protobuf
    VENV/bin/python tools/make_token_fixtures.py --model MODEL.gguf \\
        --templates ../shared/templates --out crates/token/tests/golden

MODEL is the default model (SmolLM2-135M-Instruct). Written are

    encode_smollm2.json  texts and their ids; `tokenizers` and llama.cpp agree but where a case says so
    decode_smollm2.json  ids whose bytes are no UTF-8, and their text
    pretokens.json       texts and the lengths of their pre-tokens by each pattern
    sentencepiece.json   a small vocabulary, and texts and their ids under several settings
    wordpiece.json       the same for BERT's tokenizer; alone with --only wordpiece
    templates.json       SHA-256 of what jinja2, set up as transformers does, makes of each template

A list of lengths (in characters) is written as one base-36 digit each, or (N) from 36 on.
"""

import argparse
import hashlib
import json
import random
import re
import sys
import time
import unicodedata
from collections import Counter
from importlib.metadata import version
from pathlib import Path

from gguf import GGUFReader
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

SEED = 20261101
RANDOM_TEXTS = 1400
CHARACTER_TEXTS = 1000
# 2023-11-14 12:00 UTC: the same day in every inhabited time zone west of +12.
NOW = 1699963200

GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}DIGITS"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
QWEN35 = (
    CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SEED_CODER = (
    CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}"
    r"| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"
)
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+" + CONTRACTIONS + "?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*" + CONTRACTIONS + "?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEEPSEEK_V3 = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# The letters that DeepSeek-LLM's pattern lists one by one.
CASED = (
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷ"
    "ᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ"
    "-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
)


def splits(*patterns):
    """Patterns that cut one after the other, each the pieces that the one before it made."""
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns])


PATTERNS = {
    "gpt-2": GPT2,
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), GPT2]),
    "qwen2": splits(CL100K.replace("DIGITS", "")),
    "llama-bpe": splits(CL100K.replace("DIGITS", "{1,3}")),
    "qwen35": splits(QWEN35),
    "seed-coder": splits(SEED_CODER),
    "gpt-4o": splits(O200K),
    "deepseek-v3": splits(r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+", DEEPSEEK_V3),
    "deepseek-llm": splits(
        r"[\r\n]", r"\s?[" + CASED + "]+", "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
        r"\s+$", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", r"\p{N}",
    ),
    "deepseek-coder": splits(
        r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", r"\p{N}"
    ),
}

SPACES = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2002\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
NOT_SPACES = "\x1c\x1d\x1e\x1f\u180e\u200b\u200c\u200d\u2060\ufeff"

CORPUS = [
    "", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\r\n\r\n", "\t", "\t\t\t", " \n", "\n ", " \n \n  x",
    "a", " a", "  a", "a ", "a  ", "a\n", "\na", "a\n\nb", "a \n b", "a\r\nb\r\n\r\nc", "a\rb", "   \t \n\t x",
    "Hello, world!", "Hello  world", "Hello   world   ", "The quick brown fox jumps over the lazy dog.",
    "I'm you're we'll they've he'd it's don't", "I'M YOU'RE WE'LL THEY'VE HE'D IT'S DON'T",
    "'s't're've'm'll'd", "'S'T'RE'VE'M'LL'D", "'Ll 'lL 'rE 'Ve", "''s '' ' 's 'sx 'x 're're", "x'ſ X'ſ'ſ ſ ſs",
    "it’s don’t l’été", "'K Kelvin K Å ǅ ß ẞ ﬁ ﬆ İ ı i̇", "o'clock rock'n'roll 'twas", "a's1's 1's 's1",
    "0", "1", "12", "123", "1234", "12345", "123456789012345678901234567890", " 1", "  1", " 12 34", "a1b2c3",
    "1 2  3   4    5", "3.14159", "1,000,000.00", "0x1F 1e-10 1_000", "v1.2.3-rc4", "٣٤٥ १२३ 𝟘𝟙𝟚 ½¾ Ⅷⅸ ²³ ①⑩ 〇一二 ௧", "1½2", "a½b", " ½ x",
    "  123  ", "\n1\n2\n", "x 1", "x  1", "x\n1", "x \n 1", "\t1", "\u30001", "1\u3000",
    "Ünïcödé Straße naïve café façade", "e\u0301te\u0301 a\u030a\u0323 \u0301x x\u0301\u0302\u0303",
    "Привет, мир! Как дела?", "Γειά σου Κόσμε", "שלום עולם", "مرحبا بالعالم ١٢٣", "नमस्ते दुनिया", "สวัสดีชาวโลก",
    "こんにちは世界", "你好，世界！今天天气很好。", "안녕하세요 세계", "ᄒ\u1161\u11ab", "Xin chào thế giới", "ไทย ລາວ မြန်မာ ខ្មែរ",
    "ქართული Հայերեն አማርኛ ᏣᎳᎩ ᐃᓄᒃᑎᑐᑦ", "𐍈𐌰𐌽𐌸 𓀀𓁐 𝕳𝖊𝖑𝖑𝖔 𠮷野家 𒀀", "中文English混合123测试",
    "👍", "👍🏽", "👨‍👩‍👧‍👦 family", "🏳️‍🌈🏴‍☠️🇩🇪🇫🇷", "☺️ ☹ ❤️‍🔥", "a👍b 👍c", "🤦🏼‍♂️!!", "1️⃣2️⃣", "©®™ ℃ № ℠",
    "!!!", "...", "…", "---", "___", "***", "### Title", "a.b.c", "(a)[b]{c}<d>", "a/b\\c", "a-b_c", "#hash @at $5 50% ^x ~y `z`",
    "<|im_end|> <|im_start|>", "<|endoftext|>", "<|im_start|", "<|unknown|>", "</s><s>[INST]", "<file_sep><repo_name>",
    "http://example.com/path?q=1&r=2#frag", "user@example.com", "C:\\Users\\x\\file.txt", "~/a/b.rs:12:5",
    "def f(x):\n    return x + 1\n\n\nclass A:\n\tpass\n", "fn main() {\n    println!(\"{}\", 1);\n}\n",
    "#include <stdio.h>\nint main(void) { return 0; }\n", "for (let i = 0; i < 10; i++) { x[i] += i ** 2; }",
    "SELECT * FROM t WHERE a = 'b''c';", "{\"a\": [1, 2, {\"b\": null}], \"c\": \"\\u00e9\\n\"}", "<div class=\"x\">text</div>",
    "| a | b |\n|---|---|\n| 1 | 2 |\n", "$$\\int_0^\\infty e^{-x^2} dx$$", "    four\n        eight\n\ttab\n  \ttwo", "x" + " " * 100 + "y",
    " " * 257, "\n" * 100, "\t" * 50, "a" * 300, "ab" * 150, "^" * 100, "=" * 80 + "\n", "-" * 33 + ">", "1" * 100, "你" * 50, "é" * 60, " \n" * 40,
    "\r" * 5 + "\n" * 5, "a\n\n\n\nb", "a\n \n \nb", "!\n\n!", "! \n!", "!\r\n\r\nx", "?!\n1", " !\nx", "  !x", " !x", " .x 1", "\n!", "\t!", "\tx", "\xa0x", "\xa0\xa0x", "\u3000x", "x\u3000\u3000y",
    *(f"a{c}b" for c in SPACES), *(f"a{c}{c}b" for c in SPACES), *(f" {c} x" for c in SPACES), *(f"a{c}1" for c in NOT_SPACES),
    "\x00", "a\x00b", "\x01\x02\x03\x04\x05\x06\x07", "\x1b[31mred\x1b[0m", "\x7f", "\x80\x9f", "\u00ad soft\u00adhyphen",
    "\ufeffBOM", "\u200bzero\u200bwidth", "a\u200db", "\u202eRTL\u202c", "\ue000\uf8ff\U000f0000\U0010fffd private", "\uffff\ufffe\ufdd0\ufdd1\U0001ffff\U0010ffff",
    "\u0378\u0379 unassigned \U000e0080", "\ufffd\ufffd", "\ud7ff\ue000", "Ǆ ǅ ǆ ʰʲ ªº", "ﷺ ﷽", "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘!͖̬̰̙̗̿̋ͥͥ̂ͣ̐́́͜͞",
    "helloWORLD HelloWorld HELLOworld HELLO'S Hello'S hello'LL x'ſ ÀÉÎ'RE parseHTTPResponse iPhone XMLHttpRequest",
    "A\u0301B\u0301c \u0301A \u0301ABC \u0301a \u0301\u0301 !\u0301A !\u0301a 1\u0301A \n\u0301A ABªC ABªc ªABC AªBCʰ ǅA aǅ Aǅ ǅ你A 你A A你 你a你B",
    "a/b //\n/ !/\r\n// ./x\n/y http://x/ \n/ ,\n\n/x", "_a -b $c ^D ~é `z \x01a \x01é \u200ba \x00\x01 a\x00\x01b !\x01! \x01\u0301 \u200d1",
    "カタカナと漢字12ひらがな、一二三。「括弧」ー・ 龥龦 ヿ㐀 한글ㄱㅎ ᚁ\u1680ᚂ आ१ \u3000、 \u3000 a\u3000b\u3000, x \u3000\n",
    "ა Ა Ⴧ ᏣᏣ Ա ա ꭰ Ｚａ 𝐀 Ωㄑ ℹ ℼ ‘x’ “y” ，。！", "tail   ", "tail \t", "1 \n2  \n 3 ", "a  1", "1  ", "١  ",
    "The  quick\tbrown\nfox's 12 dogs; it'LL cost $1,234.56 (≈€1.100,50)!\r\n\r\n\"Ça alors\", dit-il… — 东京 2020年", "supercalifragilisticexpialidocious antidisestablishmentarianism",
]

PIECES = [
    "'s", "'S", "'t", "'re", "'VE", "'ll", "'lL", "'d", "'m", "'ſ", "'", "’", "''", "the", "Hello", "WORLD", "a", "Z", "é", "e\u0301", "ß",
    "ſ", "ABC", "Éa", "XmlHttp", "да", "ДА", "नम", "स्ते", "你好", "世", "こ", "한", "ไท", "مر", "ª", "ʰ", "ǅ", "𝕳", "0", "7", "42", "123", "4567", "٣", "½", "Ⅷ", "²", "𝟘", " ", " ", " ", "  ", "   ",
    "\n", "\n", "\r\n", "\r", "\t", "\xa0", "\u3000", "\u2028", "\x85", "\v", "\x1c", "\u200b", "\u200d", "\ufeff", "!", "?", ".", ",", "...", "-", "_", "<|", "|>", "(", "#",
    "👍", "👩‍💻", "🏽", "\ufe0f", "\u0301", "\ue000", "\uffff", "\x00", "\u0378", "€", "\x01", "。", "、", "ー", "カ", "龦", "$", "+", "^", "/", "\\",
]


def random_texts():
    generator = random.Random(SEED)
    assigned = [c for c in map(chr, range(0x110000)) if unicodedata.category(c) not in ("Cn", "Cs", "Co")]
    texts = []
    for _ in range(RANDOM_TEXTS):
        parts = generator.choices(PIECES, k=generator.randint(2, 9))
        if generator.random() < 0.3:
            parts.insert(generator.randrange(len(parts)), generator.choice(assigned))
        texts.append("".join(parts))
    return texts


def character_texts():
    """Few characters in every mixture: of each class, case and script that some pattern asks about."""
    generator = random.Random(SEED + 1)
    alphabet = "aAbBéÉßǅʰªא\u0301\u0903\u20dd中文龥龦かカー・゠!/-'sSlLdD  \n\r\t\u00a01２Ⅷ½\u200b\u00ad\x01€_"
    return ["".join(generator.choices(alphabet, k=generator.randint(2, 12))) for _ in range(CHARACTER_TEXTS)]


def lengths(pre_tokenizer, text):
    spans = [span for _, span in pre_tokenizer.pre_tokenize_str(text)]
    assert "".join(text[a:b] for a, b in spans) == text, text
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    return "".join(digits[b - a] if b - a < 36 else f"({b - a})" for a, b in spans)


def versions(*names):
    return {name: version(name) for name in names}


def write(path, head, cases):
    """One case a line, so that a change of the fixtures can be read."""
    lines = ",\n".join(json.dumps(case, ensure_ascii=False, separators=(",", ":")) for case in cases)
    path.write_text(json.dumps(head, ensure_ascii=False)[:-1] + ', "cases": [\n' + lines + "\n]}\n")
    print(f"{path.name}: {len(cases)} cases, {path.stat().st_size} bytes", file=sys.stderr)


def huggingface(model):
    fields = GGUFReader(model).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    merges = fields["tokenizer.ggml.merges"].contents()
    assert fields["tokenizer.ggml.pre"].contents() == "smollm"
    vocab = {token: index for index, token in enumerate(tokens)}
    bpe = models.BPE(vocab=vocab, merges=[tuple(merge.split(" ")) for merge in merges])
    tokenizer = Tokenizer(bpe)
    tokenizer.pre_tokenizer = PATTERNS["smollm"]
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def encode(model, out):
    from llama_cpp import Llama

    tokenizer = huggingface(model)
    llama = Llama(model, vocab_only=True, verbose=False)
    cases, disagree = [], 0
    for text in dict.fromkeys(CORPUS):
        ids = tokenizer.encode(text).ids
        other = llama.tokenize(text.encode(), add_bos=False, special=False) if text else []
        case = {"text": text, "ids": ids}
        if other != ids:
            disagree += 1
            case["llama.cpp"] = other
        cases.append(case)
    print(f"{disagree} texts where llama.cpp differs", file=sys.stderr)
    head = {"versions": versions("tokenizers", "llama-cpp-python")}
    write(out / "encode_smollm2.json", head, cases)

    generator = random.Random(SEED)
    byte_ids = [i for i in range(17, 300) if tokenizer.id_to_token(i) and len(tokenizer.id_to_token(i)) == 1]
    texts = ["é", "你好", "👍🏽", "\U0010ffff", "नमस्ते", "ab"]
    cases = []
    for _ in range(150):
        ids = []
        for _ in range(generator.randint(1, 5)):
            if generator.random() < 0.5:
                ids += tokenizer.encode(generator.choice(texts)).ids[: generator.randint(1, 3)]
            else:
                ids.append(generator.choice(byte_ids))
        cases.append({"ids": ids, "text": tokenizer.decode(ids, skip_special_tokens=False)})
    write(out / "decode_smollm2.json", {"versions": versions("tokenizers")}, cases)


def pretokens(out):
    texts = list(dict.fromkeys(CORPUS + random_texts() + character_texts()))
    cases = [[text] + [lengths(pattern, text) for pattern in PATTERNS.values()] for text in texts if text]
    head = {"versions": versions("tokenizers"), "seed": SEED, "patterns": list(PATTERNS)}
    write(out / "pretokens.json", head, cases)


NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
# As in Gemma's vocabulary: runs of spaces and of newlines, and tags.
USER_SYMBOLS = [
    *("\n" * n for n in range(1, 9)), *("\u2581" * n for n in range(2, 17)),
    "[multimodal]", "<b>", "</b>", "<code>", "</code>", "<table>",
]


def train(folder):
    """A vocabulary of Gemma's kind, as the protocol buffer that `sentencepiece` reads."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    text = folder / "text.txt"
    license = (Path(__file__).resolve().parent.parent / "LICENSE").read_text()
    text.write_text(license + "\n".join(line for case in CORPUS for line in case.split("\n") if "\0" not in case))
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(folder / "small"), model_type="bpe", vocab_size=1000, byte_fallback=True,
        pad_id=0, eos_id=1, bos_id=2, unk_id=3, control_symbols=["<start_of_turn>", "<end_of_turn>"],
        user_defined_symbols=USER_SYMBOLS, normalization_rule_name="identity", add_dummy_prefix=False,
        remove_extra_whitespaces=False, character_coverage=0.995, split_digits=True, num_threads=1,
        max_sentence_length=100000, minloglevel=2,
    )
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString((folder / "small.model").read_bytes())
    return model


def variants(model):
    """The same vocabulary under other settings."""
    from sentencepiece.sentencepiece_model_pb2 import ModelProto

    kinds = ModelProto.SentencePiece
    copies = {name: ModelProto() for name in ("gemma", "prefix", "unused", "unknown")}
    for copy in copies.values():
        copy.CopyFrom(model)
    copies["prefix"].normalizer_spec.add_dummy_prefix = True
    for index, piece in enumerate(copies["unused"].pieces):
        if piece.type == kinds.NORMAL and len(piece.piece) > 1 and index % 3 == 0:
            piece.type = kinds.UNUSED
    copies["unknown"].trainer_spec.byte_fallback = False
    for piece in copies["unknown"].pieces:
        if piece.type == kinds.BYTE:
            piece.type = kinds.UNUSED
    return copies


def pieces_of(model):
    """(text, score, type) as a GGUF file has them: user-defined tokens with spaces of their own."""
    kinds = {1: NORMAL, 2: UNKNOWN, 3: CONTROL, 4: USER_DEFINED, 5: UNUSED, 6: BYTE}
    for piece in model.pieces:
        kind = kinds[piece.type]
        text = piece.piece.replace("\u2581", " ") if kind == USER_DEFINED else piece.piece
        yield text, piece.score, kind


def llama_of(folder, model):
    """llama.cpp with a vocabulary."""
    from gguf import GGUFWriter
    from llama_cpp import Llama

    path = folder / "vocabulary.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_feed_forward_length(32)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("llama")
    texts, scores, kinds = zip(*pieces_of(model))
    writer.add_token_list(texts)
    writer.add_token_scores(scores)
    writer.add_token_types(kinds)
    writer.add_pad_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_bos_token_id(2)
    writer.add_unk_token_id(3)
    writer.add_add_space_prefix(model.normalizer_spec.add_dummy_prefix)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return Llama(str(path), vocab_only=True, verbose=False)


def sentencepieces(out):
    import tempfile

    import sentencepiece

    texts = [text for text in dict.fromkeys(CORPUS + random_texts()[:200]) if text and len(text) <= 150]
    cases, disagree = [], Counter()
    with tempfile.TemporaryDirectory() as name:
        model = train(Path(name))
        for variant, changed in variants(model).items():
            processor = sentencepiece.SentencePieceProcessor(model_proto=changed.SerializeToString())
            llama = llama_of(Path(name), changed) if variant in ("gemma", "prefix") else None
            for text in texts if variant == "gemma" else texts[::5]:
                ids = processor.encode(text)
                other = llama.tokenize(text.encode(), add_bos=False, special=False) if llama else ids
                disagree[variant] += other != ids
                # With a space before the text they differ at user-defined tokens: llama.cpp puts one after
                # each. What runs GGUF files decides.
                cases.append([variant, text, other])
        pieces = [[text, round(score, 3), kind] for text, score, kind in pieces_of(model)]
        unused = [index for index, piece in enumerate(variants(model)["unused"].pieces) if piece.type == 5]
    print(f"texts where llama.cpp differs from sentencepiece: {dict(disagree)}", file=sys.stderr)
    assert disagree["gemma"] == 0
    head = {"versions": versions("sentencepiece", "llama-cpp-python"), "unused": unused, "pieces": pieces}
    write(out / "sentencepiece.json", head, cases)


# What BERT's BasicTokenizer and WordPiece can be told, by the names of `tokenizer.json`.
USUAL = dict(clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True)
WORD_RULES = {
    "uncased": USUAL,
    "cased": dict(USUAL, lowercase=False),
    "accents": dict(USUAL, strip_accents=False),
    "raw": dict(clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False),
}
WORD_MAX = 24
SPECIAL_WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
BERT_TEXTS = [
    "[CLS] a [SEP] b [SEP]", "[UNK][MASK]x[PAD]", "[cls]", "[unused1]", "##a # #a ##", "a##b", "don't o'clock", "a" * 23,
    "a" * 24, "a" * 25, "é" * 24, "e\u0301" * 13, "naïve café Ångström ĲSSELMEER ŒUVRE ﬁn", "ÇA İI ıi ẞß ΣΑΣ ὈΔΥΣΣΕΎΣ",
    "北京dabei上海 𠀀x 㐀 豈 ｆｕｌｌ", "한국어 가각 日本語テキスト ガギグ", "tab\tnl\nCR\r\x0b\x0c\x85\u2028end", "a\u00adb\u200bc\ufeffd\u2060e",
    "x\ufffdy\x00z\ue000w\U000f0000v", "$5.00+10%=~x^2|`y`<z>", "«quote» – — … ‚low’ ¿que? ¡ya! ٪ ؟ 、。・", "नमस्ते हिन्दी தமிழ் ไทย",
    "𝔘𝔫𝔦 Ⅷ ½ ² ™ ℃", "👍🏽 👨‍👩‍👧‍👦", "supercalifragilistic unbelievably retokenizing", "a\u0332b\u20ddc\u0903d",
]


def word_vocabulary(texts):
    """Special tokens, then the most frequent characters, parts of words and words of `texts`."""
    normalizer = normalizers.BertNormalizer(**dict(WORD_RULES["accents"], lowercase=False))
    splitter = pre_tokenizers.BertPreTokenizer()
    counts = Counter()
    for text in texts:
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)):
            for start in range(len(word)):
                for end in {start + 1, start + 2, start + 3, start + 4, len(word)}:
                    if end <= len(word):
                        counts[("##" if start else "") + word[start:end]] += 1
    # Characters first; of equally frequent ones the first by its text.
    ranked = sorted(counts, key=lambda piece: (-counts[piece] * len(piece.removeprefix("##")) ** 2, piece))
    characters = [piece for piece in ranked if len(piece.removeprefix("##")) == 1]
    longer = [piece for piece in ranked if len(piece.removeprefix("##")) > 1]
    pieces = [*SPECIAL_WORDS, *characters[:1100], *longer[:700]]
    return {piece: index for index, piece in enumerate(pieces)}


def word_pieces(out):
    """A small vocabulary of BERT's kind, whose letters are in both sizes and some with accents."""
    texts = [text for text in dict.fromkeys(BERT_TEXTS + CORPUS + random_texts()[:300]) if len(text) <= 150]
    license = (Path(__file__).resolve().parent.parent / "LICENSE").read_text()
    vocab = word_vocabulary([license, license.lower(), *texts, *(text.lower() for text in texts)])
    cases = []
    for name, rules in WORD_RULES.items():
        tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=WORD_MAX))
        tokenizer.normalizer = normalizers.BertNormalizer(**rules)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.add_special_tokens(SPECIAL_WORDS)
        for text in texts if name == "uncased" else BERT_TEXTS + texts[::4]:
            cases.append([name, text, tokenizer.encode(text, add_special_tokens=False).ids])
    known = sum(1 not in ids for _, _, ids in cases)
    print(f"{known} of {len(cases)} texts without unknown words", file=sys.stderr)
    head = {"versions": versions("tokenizers"), "rules": WORD_RULES, "characters_max": WORD_MAX,
            "vocab": sorted(vocab, key=vocab.get)}
    write(out / "wordpiece.json", head, cases)


CALL = {"name": "get_weather", "arguments": {"city": "Zürich <&> 'x'", "days": 3, "exact": True, "note": None, "ratio": 0.5}}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "A city."}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}
SYSTEM = {"role": "system", "content": "You are terse."}
USER = {"role": "user", "content": "  What is 1 < 2 & \"so\" on?\nGrüße 👋  "}
ANSWER = {"role": "assistant", "content": "True."}
AGAIN = {"role": "user", "content": "Why?"}
CHATS = [
    {"messages": [USER], "add_generation_prompt": True},
    {"messages": [SYSTEM, USER, ANSWER, AGAIN], "add_generation_prompt": True},
    {"messages": [SYSTEM, USER, ANSWER], "add_generation_prompt": False},
    {"messages": [USER, ANSWER, AGAIN], "add_generation_prompt": True, "enable_thinking": False},
    {"messages": [SYSTEM, USER], "add_generation_prompt": True, "tools": [TOOL]},
    {
        "messages": [
            USER,
            {"role": "assistant", "content": "", "tool_calls": [{"id": "call12345", "type": "function", "function": CALL}]},
            {"role": "tool", "content": "{\"sky\": \"blue\"}", "tool_call_id": "call12345", "name": "get_weather"},
        ],
        "add_generation_prompt": True,
        "tools": [TOOL],
    },
]
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}


def environment():
    """As transformers.utils.chat_template_utils sets it up."""
    import jinja2
    import jinja2.ext
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(jinja2.ext.Extension):
        tags = {"generation"}

        def parse(self, parser):
            line = next(parser.stream).lineno
            body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
            return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

        def _body(self, caller):
            return caller()

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda fmt: time.strftime(fmt, time.gmtime(NOW))
    return env


def templates(folder, out, full):
    env = environment()
    cases = []
    for path in sorted(folder.glob("*.jinja")):
        template = env.from_string(path.read_text())
        hashes = []
        for index, chat in enumerate(CHATS):
            try:
                text = template.render(**{"tools": None, "documents": None, **TOKENS, **chat})
                hashes.append(hashlib.sha256(text.encode()).hexdigest())
            except Exception as error:  # The template's refusals, and the errors of Python in it.
                text, refused = f"{type(error).__name__}: {error}", type(error).__name__ == "TemplateError"
                hashes.append("raised: " + str(error) if refused else "error")
            if full:
                (full / f"{path.stem}.{index}.txt").write_text(text)
        cases.append([path.name, hashes])
    head = {"versions": versions("jinja2"), "now": NOW, "tokens": TOKENS, "chats": CHATS}
    write(out / "templates.json", head, cases)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="the default model's GGUF file")
    parser.add_argument("--templates", type=Path, help="a folder of *.jinja files")
    parser.add_argument("--full", type=Path, help="a folder for the rendered templates themselves, to compare by eye")
    parser.add_argument("--only", choices=["wordpiece"], help="this fixture alone")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.only:
        return word_pieces(arguments.out)
    word_pieces(arguments.out)
    if arguments.model:
        encode(arguments.model, arguments.out)
    pretokens(arguments.out)
    sentencepieces(arguments.out)
    if arguments.templates:
        templates(arguments.templates, arguments.out, arguments.full)


if __name__ == "__main__":
    main()
