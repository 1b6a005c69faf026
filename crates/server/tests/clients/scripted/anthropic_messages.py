"""Turns messages of a scripted server into checks by the official Anthropic client.

    python anthropic_messages.py --base-url http://127.0.0.1:8080/v1 --api-key KEY

The server plays answers.json: `myriad serve script:answers.json`. Ends with 0 if everything holds.
"""

import argparse

import anthropic
from anthropic import Anthropic

TOOLS = [
    {
        "name": "temperature",
        "description": "How warm a place is",
        "input_schema": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"type": "string"}},
        },
    }
]
QUESTION = {"role": "user", "content": "How is it in Köln?"}


def check_loop(client, common):
    messages = [QUESTION]
    answer = client.messages.create(messages=messages, **common)
    thinking, text, call = answer.content
    assert (thinking.type, thinking.thinking) == ("thinking", "I have to look.")
    assert (text.type, text.text) == ("text", "Let me see.")
    assert (call.type, call.name) == ("tool_use", "temperature")
    assert call.input == {"city": "Köln", "unit": "°C"}
    assert answer.stop_reason == "tool_use"
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "18 degrees"}
    messages.append({"role": "assistant", "content": answer.content})
    messages.append({"role": "user", "content": [result]})
    answer = client.messages.create(messages=messages, **common)
    assert answer.content[-1].text == "It is 18 degrees in Köln."
    assert answer.stop_reason == "end_turn"
    assert answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0


def check_stream(client, common):
    """The client's own way of putting a stream together."""
    whole = client.messages.create(messages=[QUESTION], **common)
    with client.messages.stream(messages=[QUESTION], **common) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == "Let me see."
    strip = lambda message: [block.model_dump(exclude={"id"}) for block in message.content]
    assert strip(final) == strip(whole)
    assert final.stop_reason == "tool_use"
    assert final.usage.output_tokens == whole.usage.output_tokens


def check_counts(client, common):
    fields = {name: value for name, value in common.items() if name != "max_tokens"}
    counted = client.messages.count_tokens(messages=[QUESTION], **fields).input_tokens
    used = client.messages.create(messages=[QUESTION], **common).usage
    assert counted == used.input_tokens + used.cache_read_input_tokens


def check_stops(client, model):
    count = [{"role": "user", "content": "Count."}]
    answer = client.messages.create(
        model=model, max_tokens=100, messages=count, stop_sequences=["four"], system="Be brief."
    )
    assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", "four")
    assert answer.content[0].text == "one two three "
    answer = client.messages.create(model=model, max_tokens=3, messages=count)
    assert (answer.stop_reason, answer.content[0].text) == ("max_tokens", "one")


def check_errors(client, common):
    def raised(kind, call):
        try:
            call()
        except kind as error:
            assert error.body["type"] == "error" and error.request_id
            return error
        raise AssertionError(f"no {kind.__name__}")

    create = client.messages.create
    wrong = common | {"model": "no-such"}
    raised(anthropic.NotFoundError, lambda: create(messages=[QUESTION], **wrong))
    forced = {"tool_choice": {"type": "tool", "name": "no-such"}}
    raised(anthropic.BadRequestError, lambda: create(messages=[QUESTION], **common, **forced))
    stranger = client.with_options(api_key="wrong")
    call = lambda: stranger.messages.create(messages=[QUESTION], **common)
    raised(anthropic.AuthenticationError, call)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--api-key", required=True)
    options = parser.parse_args()
    base = options.base_url.removesuffix("/v1")
    client = Anthropic(base_url=base, api_key=options.api_key, max_retries=0)
    (model,) = [entry.id for entry in client.models.list()]
    common = {"model": model, "max_tokens": 1000, "tools": TOOLS}
    check_loop(client, common)
    check_stream(client, common)
    check_counts(client, common)
    check_stops(client, model)
    check_errors(client, common)
    print("anthropic: tool loop, events, thinking, counts, stops and errors are as they should be")


if __name__ == "__main__":
    main()
