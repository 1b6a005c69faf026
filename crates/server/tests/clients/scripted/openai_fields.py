"""Turns the request types of the official OpenAI client into a check of the page of parameters.

    python openai_fields.py --base-url http://127.0.0.1:8080/v1 --api-key KEY

Each parameter that the client can send must have its row in docs/api-fields.md, under its route: it
is honoured, refused with an error, or a hint. Ends with 0 if everything holds.
"""

import argparse
import re
import typing
from pathlib import Path

from openai.types import (
    batch_create_params,
    completion_create_params,
    decision_create_params,
    embedding_create_params,
    file_create_params,
    moderation_create_params,
    upload_complete_params,
    upload_create_params,
)
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.chat import completion_update_params
from openai.types.conversations import (
    conversation_create_params,
    conversation_update_params,
    item_create_params,
)
from openai.types.responses import (
    input_token_count_params,
    response_compact_params,
    response_create_params,
)
from openai.types.uploads import part_create_params

PAGE = Path(__file__).parents[5] / "docs" / "api-fields.md"

# What is no part of the body: `include` of a conversation's items stands in the query.
ELSEWHERE = {("/v1/conversations/{id}/items", "include")}

ROUTES = {
    "/v1/chat/completions": chat_create_params.CompletionCreateParamsBase,
    "/v1/chat/completions/{id}": completion_update_params.CompletionUpdateParams,
    "/v1/completions": completion_create_params.CompletionCreateParamsBase,
    "/v1/embeddings": embedding_create_params.EmbeddingCreateParams,
    "/v1/moderations": moderation_create_params.ModerationCreateParams,
    "/v1/decisions": decision_create_params.DecisionCreateParams,
    "/v1/responses": response_create_params.ResponseCreateParamsBase,
    "/v1/responses/input_tokens": input_token_count_params.InputTokenCountParams,
    "/v1/responses/compact": response_compact_params.ResponseCompactParams,
    "/v1/conversations": conversation_create_params.ConversationCreateParams,
    "/v1/conversations/{id}": conversation_update_params.ConversationUpdateParams,
    "/v1/conversations/{id}/items": item_create_params.ItemCreateParams,
    "/v1/files": file_create_params.FileCreateParams,
    "/v1/uploads": upload_create_params.UploadCreateParams,
    "/v1/uploads/{id}/parts": part_create_params.PartCreateParams,
    "/v1/uploads/{id}/complete": upload_complete_params.UploadCompleteParams,
    "/v1/batches": batch_create_params.BatchCreateParams,
}


def known(page):
    """The parameters of each route, by its path; tables that another route has are that one's."""
    tables = {}
    for part in page.split("\n## `POST ")[1:]:
        path, rest = part.split("`", 1)
        same = re.search(r"^As `POST (\S+)`", rest, re.MULTILINE)
        rows = re.findall(r"^\| `([^`\[]+)", rest, re.MULTILINE)
        tables[path] = tables[same.group(1)] if same else set(rows)
    return tables


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--api-key", required=True)
    parser.parse_args()
    tables = known(PAGE.read_text(encoding="utf-8"))
    missing, count = [], 0
    for path, params in ROUTES.items():
        for name in typing.get_type_hints(params):
            count += 1
            if name not in tables[path] and (path, name) not in ELSEWHERE:
                missing.append(f"{path}: {name}")
    assert not missing, "not in docs/api-fields.md: " + ", ".join(missing)
    assert count > 120, count
    print(f"fields: {count} parameters of {len(ROUTES)} routes")


if __name__ == "__main__":
    main()
