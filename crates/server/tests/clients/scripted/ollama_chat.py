"""Turns chats of a scripted server into checks by the official Ollama client.

    python ollama_chat.py --base-url http://127.0.0.1:8080/v1 --api-key KEY

The server plays answers.json: `myriad serve script:answers.json`. Ends with 0 if everything holds.
"""

import argparse

import ollama
from ollama import Client

QUESTION = {"role": "user", "content": "How is it in Köln?"}


def temperature(city: str, unit: str = "") -> str:
    """How warm a place is.

    Args:
        city: The place.
        unit: The scale.
    """
    return f"18 degrees in {city}, in {unit}"


def check_loop(client, model):
    messages = [QUESTION]
    answer = client.chat(model=model, messages=messages, tools=[temperature])
    assert answer.message.content == "Let me see."
    assert answer.message.thinking == "I have to look."
    (call,) = answer.message.tool_calls
    assert call.function.name == "temperature"
    assert dict(call.function.arguments) == {"city": "Köln", "unit": "°C"}
    messages.append(answer.message)
    content = temperature(**call.function.arguments)
    messages.append({"role": "tool", "tool_name": "temperature", "content": content})
    answer = client.chat(model=model, messages=messages, tools=[temperature])
    assert answer.message.content == "It is 18 degrees in Köln."
    assert answer.done and answer.done_reason == "stop"
    assert answer.eval_count > 0 and answer.prompt_eval_count > 0


def check_stream(client, model):
    pieces = list(client.chat(model=model, messages=[QUESTION], tools=[temperature], stream=True))
    text = "".join(piece.message.content or "" for piece in pieces)
    thoughts = "".join(piece.message.thinking or "" for piece in pieces)
    calls = [call for piece in pieces for call in piece.message.tool_calls or []]
    assert (text, thoughts, len(calls)) == ("Let me see.", "I have to look.", 1)
    assert [piece.done for piece in pieces] == [False] * (len(pieces) - 1) + [True]


def check_generate(client, model):
    answer = client.generate(model=model, prompt="Count.", options={"num_predict": 7})
    assert (answer.response, answer.done_reason) == ("one two", "length")
    pieces = client.generate(model=model, prompt="Count.", stream=True)
    assert "".join(piece.response for piece in pieces).endswith("nine ten")


def check_models(client, model):
    assert model in [entry.model for entry in client.list().models]
    assert model in [entry.model for entry in client.ps().models]
    assert client.show(model).capabilities == ["completion", "tools", "thinking"]


def check_errors(client, model):
    for call, status in (
        (lambda: client.chat(model="no-such", messages=[QUESTION]), 404),
        (lambda: client.chat(model=model, messages=[QUESTION], format={"not": {}}), 400),
        (lambda: client.embed(model=model, input="a"), 400),
    ):
        try:
            call()
        except ollama.ResponseError as error:
            assert error.status_code == status and error.error
        else:
            raise AssertionError("no error")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--api-key", required=True)
    options = parser.parse_args()
    headers = {"authorization": f"Bearer {options.api_key}"}
    client = Client(host=options.base_url.removesuffix("/v1"), headers=headers)
    model = "scripted"
    for check in (check_loop, check_stream, check_generate, check_models, check_errors):
        check(client, model)
    print("ollama: tool loop, lines, thinking, models and errors are as they should be")


if __name__ == "__main__":
    main()
