"""Turns calls of the official OpenAI client into checks that a live server answers as OpenAI's does.

    python openai_chat.py --base-url http://127.0.0.1:8080/v1 --api-key KEY

Needs the packages of requirements.txt. Ends with 0 if everything holds.
"""

import argparse
import json

import openai
from openai import OpenAI

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


def raised(kind, call):
    """The error of a call that must fail in this way."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def check_models(client):
    models = client.models.list().data
    assert models and all(model.object == "model" for model in models)
    model = models[0].id
    assert client.models.retrieve(model).id == model
    raised(openai.NotFoundError, lambda: client.models.retrieve("no/such-model"))
    return model


def check_whole(client, model):
    answer = client.chat.completions.create(
        model=model, messages=QUESTION, max_completion_tokens=24, temperature=0
    )
    assert answer.id.startswith("chatcmpl-") and answer.object == "chat.completion"
    assert answer.model == model
    choice = answer.choices[0]
    assert choice.message.role == "assistant" and choice.message.content
    assert choice.finish_reason in ("stop", "length")
    usage = answer.usage
    assert usage.prompt_tokens > 0 and 0 < usage.completion_tokens <= 24
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.prompt_tokens_details.cached_tokens >= 0
    return choice.message.content


def check_stream(client, model, whole):
    stream = client.chat.completions.create(
        model=model,
        messages=QUESTION,
        max_completion_tokens=24,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    *pieces, last = chunks
    text = "".join(chunk.choices[0].delta.content or "" for chunk in pieces)
    assert text == whole, (text, whole)
    assert all(chunk.usage is None for chunk in pieces)
    assert last.choices == [] and last.usage.total_tokens > 0
    assert pieces[-1].choices[0].finish_reason in ("stop", "length")
    assert all(chunk.choices[0].finish_reason is None for chunk in pieces[:-1])


def check_best(client, model):
    text = "The capital of France is"
    best = client.completions.create(model=model, prompt=text, max_tokens=8, best_of=4, seed=1)
    assert len(best.choices) == 1 and best.usage.completion_tokens > 8
    scored = client.completions.create(
        model=model, prompt=text, max_tokens=0, echo=True, logprobs=2
    )
    logprobs = scored.choices[0].logprobs
    assert scored.choices[0].text == text == "".join(logprobs.tokens)
    assert logprobs.token_logprobs[0] is None and all(p < 0 for p in logprobs.token_logprobs[1:])
    assert len(logprobs.text_offset) == len(logprobs.top_logprobs) == len(logprobs.tokens)
    error = raised(
        openai.BadRequestError,
        lambda: client.completions.create(model=model, prompt=text, suffix=" of Europe."),
    )
    assert error.param == "suffix"


def check_helper(client, model, whole):
    """The client's own way of putting a stream together; it wants answers that were not cut."""
    word = whole.split()[2]
    with client.chat.completions.stream(
        model=model, messages=QUESTION, max_completion_tokens=24, temperature=0, stop=word
    ) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
        assert final.choices[0].message.content == whole[: whole.index(word)]


def check_early_end(client, model):
    """A stream that is closed early leaves the server in good order."""
    stream = client.chat.completions.create(
        model=model, messages=QUESTION, stream=True, extra_body={"ignore_eos": True}
    )
    for _, _ in zip(range(3), stream):
        pass
    stream.close()


def check_choices(client, model):
    def ask(seed):
        answer = client.chat.completions.create(
            model=model, messages=QUESTION, max_tokens=12, n=3, seed=seed, temperature=1.5
        )
        assert [choice.index for choice in answer.choices] == [0, 1, 2]
        return [choice.message.content for choice in answer.choices]

    assert ask(7) == ask(7)
    assert len(set(ask(7))) > 1 and ask(7) != ask(8)


def check_logprobs(client, model):
    answer = client.chat.completions.create(
        model=model, messages=QUESTION, max_tokens=6, logprobs=True, top_logprobs=3, temperature=0
    )
    choice = answer.choices[0]
    entries = choice.logprobs.content
    assert "".join(entry.token for entry in entries) == choice.message.content
    for entry in entries:
        assert entry.logprob <= 0 and len(entry.top_logprobs) == 3
        assert entry.top_logprobs[0].token == entry.token, "greedy takes the likeliest"
        assert bytes(entry.bytes).decode("utf-8", "replace") == entry.token


def check_stop(client, model, whole):
    word = whole.split()[2]
    answer = client.chat.completions.create(
        model=model, messages=QUESTION, max_tokens=24, temperature=0, stop=[word, "<none>"]
    )
    assert answer.choices[0].message.content == whole[: whole.index(word)]
    assert answer.choices[0].finish_reason == "stop"


def check_second_turn(client, model):
    turns = [
        {"role": "system", "content": "You are a helpful assistant. " * 12},
        {"role": "user", "content": "Say hello."},
    ]
    first = client.chat.completions.create(model=model, messages=turns, max_tokens=8)
    # The answer goes back just as the client holds it, with all its nulls.
    turns.append(first.choices[0].message)
    turns.append({"role": "user", "content": "Again."})
    second = client.chat.completions.create(model=model, messages=turns, max_tokens=8)
    assert second.usage.prompt_tokens_details.cached_tokens >= 64


def check_completions(client, model):
    prompt = "The capital of France is"
    answer = client.completions.create(
        model=model, prompt=prompt, max_tokens=4, temperature=0, echo=True, logprobs=2
    )
    choice = answer.choices[0]
    assert answer.object == "text_completion" and choice.text.startswith(prompt)
    lists = choice.logprobs
    count = answer.usage.prompt_tokens + answer.usage.completion_tokens
    for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
        assert len(getattr(lists, name)) == count, name
    assert lists.token_logprobs[0] is None and "".join(lists.tokens).startswith(prompt)
    scored = client.completions.create(
        model=model, prompt=prompt, max_tokens=0, echo=True, logprobs=0
    )
    assert scored.choices[0].text == prompt and scored.usage.completion_tokens == 0
    expected = lists.token_logprobs[: answer.usage.prompt_tokens]
    assert scored.choices[0].logprobs.token_logprobs == expected
    batch = client.completions.create(model=model, prompt=["One", "Two"], max_tokens=3)
    assert [choice.index for choice in batch.choices] == [0, 1]
    pieces = client.completions.create(
        model=model, prompt=prompt, max_tokens=4, temperature=0, stream=True
    )
    assert prompt + "".join(piece.choices[0].text for piece in pieces) == choice.text


def check_errors(client, model, base_url):
    def ask(**fields):
        return client.chat.completions.create(**{"model": model, "messages": QUESTION} | fields)

    error = raised(openai.BadRequestError, lambda: ask(temperature=3))
    assert error.param == "temperature" and error.type == "invalid_request_error"
    error = raised(openai.BadRequestError, lambda: ask(extra_body={"surprise": 1}))
    assert error.param == "surprise"
    error = raised(openai.BadRequestError, lambda: ask(messages=[]))
    assert error.param == "messages"
    error = raised(openai.BadRequestError, lambda: ask(max_tokens=10_000_000, stream=True))
    assert error.code == "context_length_exceeded"
    error = raised(openai.NotFoundError, lambda: ask(model="no/such-model"))
    assert error.code == "model_not_found" and error.request_id
    wrong = OpenAI(base_url=base_url, api_key="wrong", max_retries=0)
    error = raised(openai.AuthenticationError, wrong.models.list)
    assert error.code == "invalid_api_key"
    function = {"name": "f", "strict": True, "parameters": {"not": {}}}
    tools = [{"type": "function", "function": function}]
    error = raised(openai.BadRequestError, lambda: ask(tools=tools))
    assert error.param == "tools[0]"


def check_forced_call(client, model):
    parameters = {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    }
    function = {"name": "weather", "parameters": parameters, "strict": True}
    answer = client.chat.completions.create(
        model=model, messages=QUESTION, max_tokens=100, temperature=1, seed=1,
        tools=[{"type": "function", "function": function}], tool_choice="required",
        parallel_tool_calls=False,
    )
    (choice,) = answer.choices
    (call,) = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls" and call.function.name == "weather"
    assert json.loads(call.function.arguments)["city"] in ("Paris", "Rome")


def check_request_id(client, model):
    create = client.chat.completions.with_raw_response.create
    fields = {"model": model, "messages": QUESTION, "max_tokens": 1}
    raw = create(**fields, extra_headers={"x-request-id": "from-the-client-1"})
    assert raw.headers["x-request-id"] == "from-the-client-1"
    assert raw.parse().choices
    assert create(**fields).headers["x-request-id"].startswith("req_")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--api-key", required=True)
    options = parser.parse_args()
    # Without retries an error shows at once.
    client = OpenAI(base_url=options.base_url, api_key=options.api_key, max_retries=0, timeout=120)
    model = check_models(client)
    whole = check_whole(client, model)
    check_stream(client, model, whole)
    check_helper(client, model, whole)
    check_early_end(client, model)
    check_choices(client, model)
    check_logprobs(client, model)
    check_stop(client, model, whole)
    check_second_turn(client, model)
    check_completions(client, model)
    check_best(client, model)
    check_errors(client, model, options.base_url)
    check_forced_call(client, model)
    check_request_id(client, model)
    print(f"openai {openai.__version__}: all checks hold")


if __name__ == "__main__":
    main()
