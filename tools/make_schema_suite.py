"""Turns a checkout of the JSON Schema Test Suite into the selection that the tests of grammars read.

    python tools/make_schema_suite.py CHECKOUT > crates/token/tests/golden/json_schema_suite.json

Draft 2020-12, with the optional formats; one line for each schema, `[data, is_valid]` for each
instance. Left out is what speaks of other documents, and `format` as a mere annotation.
"""

import json
import pathlib
import sys

OMITTED = {"refRemote", "vocabulary", "format"}


def main() -> None:
    checkout = pathlib.Path(sys.argv[1])
    suite = checkout / "tests" / "draft2020-12"
    files = sorted(suite.glob("*.json")) + sorted((suite / "optional" / "format").glob("*.json"))
    lines = []
    for file in files:
        name = file.stem if file.parent == suite else f"format/{file.stem}"
        if name in OMITTED:
            continue
        for group in json.loads(file.read_text(encoding="utf-8")):
            case = {
                "name": f"{name}: {group['description']}",
                "schema": group["schema"],
                "tests": [[test["data"], test["valid"]] for test in group["tests"]],
            }
            lines.append(json.dumps(case, ensure_ascii=False, separators=(",", ":")))
    licence = (checkout / "LICENSE").read_text(encoding="utf-8")
    source = "https://github.com/json-schema-org/JSON-Schema-Test-Suite"
    head = json.dumps({"source": source, "licence": licence}, ensure_ascii=False)
    print(head[:-1] + ', "groups": [\n' + ",\n".join(lines) + "\n]}")


main()
