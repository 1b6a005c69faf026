"""Turns tool calls and reasoning of a scripted server into checks by the official OpenAI client.

    python openai_tools.py --base-url http://127.0.0.1:8080/v1 --api-key KEY

The server plays answers.json: `myriad serve script:answers.json`. Ends with 0 if everything holds.
"""

import argparse
import json

import openai
from openai import OpenAI

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "temperature",
            "description": "How warm a place is",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "unit": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
]
QUESTION = {"role": "user", "content": "How is it in Köln?"}


def ask(client, model, messages, **fields):
    return client.chat.completions.create(model=model, messages=messages, tools=TOOLS, **fields)


def check_loop(client, model):
    """A call, its result, an answer: the messages go back as the client holds them."""
    messages = [QUESTION]
    choice = ask(client, model, messages).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Let me see."
    assert choice.message.reasoning_content == choice.message.reasoning == "I have to look."
    (call,) = choice.message.tool_calls
    assert call.type == "function" and call.function.name == "temperature"
    assert json.loads(call.function.arguments) == {"city": "Köln", "unit": "°C"}
    messages.append(choice.message)
    messages.append({"role": "tool", "tool_call_id": call.id, "content": "18 degrees"})
    answer = ask(client, model, messages)
    assert answer.choices[0].message.content == "It is 18 degrees in Köln."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.tool_calls is None
    assert answer.usage.completion_tokens_details.reasoning_tokens > 0


def check_stream(client, model):
    calls, text, thoughts, reasons = {}, "", "", []
    for chunk in ask(client, model, [QUESTION], stream=True):
        choice = chunk.choices[0]
        text += choice.delta.content or ""
        thoughts += getattr(choice.delta, "reasoning_content", None) or ""
        reasons.append(choice.finish_reason)
        for piece in choice.delta.tool_calls or []:
            if piece.id is not None:
                assert piece.index not in calls and piece.type == "function"
                calls[piece.index] = [piece.function.name, piece.function.arguments]
            else:
                assert piece.function.name is None
                calls[piece.index][1] += piece.function.arguments
    assert (text, thoughts) == ("Let me see.", "I have to look.")
    assert list(calls) == [0] and calls[0][0] == "temperature"
    assert json.loads(calls[0][1]) == {"city": "Köln", "unit": "°C"}
    assert reasons[-1] == "tool_calls" and set(reasons[:-1]) == {None}


def check_parallel(client, model):
    both = [{"role": "user", "content": "How is it in Köln and Bonn?"}]
    calls = ask(client, model, both).choices[0].message.tool_calls
    assert [json.loads(call.function.arguments)["city"] for call in calls] == ["Köln", "Bonn"]
    assert len({call.id for call in calls}) == 2
    (only,) = ask(client, model, both, parallel_tool_calls=False).choices[0].message.tool_calls
    assert json.loads(only.function.arguments)["city"] == "Köln"


def check_refusals(client, model):
    choice = {"type": "function", "function": {"name": "no-such"}}
    try:
        ask(client, model, [QUESTION], tool_choice=choice)
    except openai.BadRequestError as error:
        assert error.param == "tool_choice.function.name"
    else:
        raise AssertionError("a choice of a tool that is not there was taken")
    try:
        client.fine_tuning.jobs.list()
    except openai.NotFoundError as error:
        assert "fine-tuning" in error.message
    else:
        raise AssertionError("there is no fine-tuning")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--api-key", required=True)
    options = parser.parse_args()
    client = OpenAI(base_url=options.base_url, api_key=options.api_key, max_retries=0)
    model = client.models.list().data[0].id
    for check in (check_loop, check_stream, check_parallel, check_refusals):
        check(client, model)
    print("openai: tool loop, streamed calls, reasoning and refusals are as they should be")


if __name__ == "__main__":
    main()
