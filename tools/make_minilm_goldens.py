"""Makes crates/server/tests/golden/minilm.json: texts, and what transformers makes of them with all-MiniLM-L6-v2.

Development only. Needs the packages of tools/requirements-goldens.txt, and the model:

    tools/minilm_model.sh FOLDER && python tools/make_minilm_goldens.py FOLDER/all-MiniLM-L6-v2

For each text its ids, and its vector as sentence-transformers makes it: the mean of the last states, of length 1.
"""

import json
import sys
from pathlib import Path

import torch
import transformers

OUT = Path(__file__).resolve().parent.parent / "crates/server/tests/golden/minilm.json"
TEXTS = [
    "The capital of Germany is Berlin.",
    "Berlin ist die Hauptstadt von Deutschland.",
    "How do I bake sourdough bread?",
    "def fibonacci(n):\n    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)",
    "Ünïcödé, ÇA 北京 — 42€ 👍🏽 …",
    "a",
    "The quick brown fox jumps over the lazy dog. " * 40,
]


@torch.no_grad()
def main():
    folder = Path(sys.argv[1])
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    cases = []
    for text in TEXTS:
        ids = tokenizer(text, truncation=False, padding=False, return_tensors="pt")
        mean = model(**ids).last_hidden_state[0].mean(dim=0)
        vector = [round(value, 7) for value in (mean / mean.norm()).tolist()]
        cases.append({"text": text, "ids": ids["input_ids"][0].tolist(), "vector": vector})
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    OUT.write_text('{"cases": [\n' + lines + "\n]}\n")
    print(f"{OUT.name}: {len(cases)} cases, {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
