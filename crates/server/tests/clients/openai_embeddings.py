"""Turns embeddings by the official OpenAI client into checks that a live server answers as OpenAI's does.

    python openai_embeddings.py --base-url http://127.0.0.1:8080/v1 --api-key KEY [--model NAME]

Needs the packages of requirements.txt. Ends with 0 if everything holds.
"""

import argparse
import math

import openai
from openai import OpenAI

TEXTS = ["The capital of Germany is Berlin.", "Berlin is the capital of Germany.", "Bread needs flour and water."]


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def check_vectors(client, model, is_embedder):
    # The client asks for Base64 by itself, and decodes it.
    answer = client.embeddings.create(model=model, input=TEXTS)
    assert answer.object == "list" and answer.model == model
    assert [item.index for item in answer.data] == [0, 1, 2]
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 10
    vectors = [item.embedding for item in answer.data]
    for vector in vectors:
        assert isinstance(vector[0], float) and math.isclose(dot(vector, vector), 1, rel_tol=1e-4)
    # Models that were made to chat tell other things apart.
    assert not is_embedder or dot(vectors[0], vectors[1]) > dot(vectors[0], vectors[2]) + 0.3
    plain = client.embeddings.create(model=model, input=TEXTS[0], encoding_format="float").data[0].embedding
    # Base64 holds 32 bits, text as many digits as those need.
    assert all(math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9) for a, b in zip(plain, vectors[0], strict=True))
    return vectors[0]


def check_dimensions(client, model, whole):
    short = client.embeddings.create(model=model, input=TEXTS[0], dimensions=16).data[0].embedding
    length = math.sqrt(dot(whole[:16], whole[:16]))
    assert len(short) == 16 and math.isclose(dot(short, short), 1, rel_tol=1e-4)
    assert all(math.isclose(a, b / length, rel_tol=1e-4, abs_tol=1e-6) for a, b in zip(short, whole[:16]))


def check_ids(client, model):
    single = client.embeddings.create(model=model, input=[5, 6, 7])
    several = client.embeddings.create(model=model, input=[[5, 6, 7], [8]])
    assert len(single.data) == 1 and len(several.data) == 2
    assert single.data[0].embedding == several.data[0].embedding


def check_errors(client, model):
    for fields in [dict(input=""), dict(input=[]), dict(input="a", dimensions=10**6), dict(input=["a"] * 2049),
                   dict(input="hello " * 100_000)]:
        try:
            client.embeddings.create(model=model, **fields)
        except openai.BadRequestError as error:
            assert error.param in ("input", "dimensions"), error
            last = error
        else:
            raise AssertionError(f"no error for {str(fields)[:60]}")
    assert last.code == "context_length_exceeded"
    try:
        client.embeddings.create(model="no/such-model", input="a")
    except openai.NotFoundError as error:
        assert error.code == "model_not_found"
    else:
        raise AssertionError("no error for an unknown model")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--api-key", required=True)
    parser.add_argument("--model", help="an embedder; default: the first model that is listed")
    arguments = parser.parse_args()
    client = OpenAI(base_url=arguments.base_url, api_key=arguments.api_key, max_retries=0)
    model = arguments.model or client.models.list().data[0].id
    whole = check_vectors(client, model, bool(arguments.model))
    check_dimensions(client, model, whole)
    check_ids(client, model)
    check_errors(client, model)
    print("embeddings: all checks passed")


if __name__ == "__main__":
    main()
