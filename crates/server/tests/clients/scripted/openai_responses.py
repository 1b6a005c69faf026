"""Turns responses, conversations and stored chats into checks by the official OpenAI client.

    python openai_responses.py --base-url http://127.0.0.1:8080/v1 --api-key KEY

The server plays answers.json: `myriad serve script:answers.json`. Ends with 0 if everything holds.
"""

import argparse
import json
import time

import openai
from openai import OpenAI
from pydantic import BaseModel

TOOLS = [
    {
        "type": "function",
        "name": "temperature",
        "description": "How warm a place is",
        "strict": False,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"type": "string"}},
            "required": ["city"],
        },
    }
]


class Weather(BaseModel):
    city: str
    degrees: int


def raised(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} did not come")


def check_loop(client, model):
    """A call, its result, an answer: by the items themselves, and by the response's name."""
    items = [{"role": "user", "content": "How is it in Köln?"}]
    first = client.responses.create(model=model, input=items, tools=TOOLS)
    thoughts, message, call = first.output
    assert thoughts.content[0].text == "I have to look." and first.output_text == "Let me see."
    assert json.loads(call.arguments) == {"city": "Köln", "unit": "°C"}
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "18 degrees"}
    whole = client.responses.create(model=model, input=items + first.output + [result], tools=TOOLS)
    named = client.responses.create(
        model=model, input=[result], tools=TOOLS, previous_response_id=first.id
    )
    assert whole.output_text == named.output_text == "It is 18 degrees in Köln."
    assert whole.status == "completed" and whole.usage.output_tokens_details.reasoning_tokens > 0
    assert client.responses.retrieve(named.id).to_dict() == named.to_dict()
    listed = client.responses.input_items.list(first.id)
    assert [item.content[0].text for item in listed] == ["How is it in Köln?"]
    client.responses.delete(named.id)
    raised(openai.NotFoundError, lambda: client.responses.retrieve(named.id))


def check_stream(client, model):
    with client.responses.stream(model=model, input="How is it in Köln?", tools=TOOLS) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    thoughts = "".join(e.delta for e in events if e.type == "response.reasoning_text.delta")
    assert (text, thoughts) == ("Let me see.", "I have to look.") and final.output_text == text
    done = [e for e in events if e.type == "response.function_call_arguments.done"]
    assert [json.loads(e.arguments)["city"] for e in done] == ["Köln"]
    again = list(client.responses.retrieve(final.id, stream=True, starting_after=5))
    assert [event.sequence_number for event in again] == list(range(6, len(events)))


def check_parse(client, model):
    response = client.responses.parse(model=model, input="As JSON.", text_format=Weather)
    assert response.output_parsed == Weather(city="Köln", degrees=18)
    counted = client.responses.input_tokens.count(model=model, input="As JSON.")
    assert counted.input_tokens == response.usage.input_tokens


def check_background(client, model):
    response = client.responses.create(model=model, input="Count.", background=True)
    assert response.status in ("queued", "in_progress")
    while response.status in ("queued", "in_progress"):
        time.sleep(0.02)
        response = client.responses.retrieve(response.id)
    assert response.status == "completed" and response.output_text.endswith("nine ten")
    begun = client.responses.create(model=model, input="Count.", background=True)
    assert client.responses.cancel(begun.id).status in ("cancelled", "completed")


def check_conversations(client, model):
    conversation = client.conversations.create(
        items=[{"type": "message", "role": "user", "content": "How is it in Köln?"}],
        metadata={"topic": "weather"},
    )
    response = client.responses.create(
        model=model, input="Please.", conversation=conversation.id, tools=TOOLS
    )
    assert response.conversation.id == conversation.id
    items = list(client.conversations.items.list(conversation.id, order="asc", limit=2))
    kinds = [item.type for item in items]
    assert kinds == ["message", "message", "reasoning", "message", "function_call"]
    added = client.conversations.items.create(
        conversation.id,
        items=[
            {"type": "function_call_output", "call_id": items[4].call_id, "output": "18 degrees"}
        ],
    )
    assert client.conversations.items.retrieve(added.data[0].id, conversation_id=conversation.id)
    last = client.responses.create(model=model, input="So?", conversation=conversation.id)
    assert last.output_text == "It is 18 degrees in Köln."
    client.conversations.items.delete(items[0].id, conversation_id=conversation.id)
    changed = client.conversations.update(conversation.id, metadata={"topic": "none"})
    assert client.conversations.retrieve(conversation.id).to_dict() == changed.to_dict()
    assert client.conversations.delete(conversation.id).deleted
    raised(openai.NotFoundError, lambda: client.conversations.retrieve(conversation.id))


def check_stored_chats(client, model):
    messages = [{"role": "user", "content": "Hi"}]
    answers = [
        client.chat.completions.create(
            model=model, messages=messages, store=True, metadata={"number": str(number)}
        )
        for number in range(3)
    ]
    found = list(client.chat.completions.list(limit=2, order="desc"))
    assert [chat.id for chat in found[:3]] == [answer.id for answer in reversed(answers)]
    only = list(client.chat.completions.list(metadata={"number": "1"}))
    assert answers[1].id in [chat.id for chat in only] and answers[0].id not in [c.id for c in only]
    kept = client.chat.completions.retrieve(answers[0].id)
    assert kept.choices == answers[0].choices and kept.usage == answers[0].usage
    (message,) = client.chat.completions.messages.list(answers[0].id)
    assert (message.role, message.content) == ("user", "Hi")
    client.chat.completions.update(answers[0].id, metadata={"number": "9"})
    for answer in answers:
        assert client.chat.completions.delete(answer.id).deleted
    raised(openai.NotFoundError, lambda: client.chat.completions.retrieve(answers[0].id))


def check_refusals(client, model):
    call = lambda: client.responses.create(model=model, input="Hi", tools=[{"type": "web_search"}])
    assert raised(openai.BadRequestError, call).param == "tools[0].type"
    call = lambda: client.responses.create(model=model, input="x", previous_response_id="resp_1")
    assert raised(openai.NotFoundError, call).code == "previous_response_not_found"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--api-key", required=True)
    options = parser.parse_args()
    client = OpenAI(base_url=options.base_url, api_key=options.api_key, max_retries=0)
    model = client.models.list().data[0].id
    for check in (
        check_loop,
        check_stream,
        check_parse,
        check_background,
        check_conversations,
        check_stored_chats,
        check_refusals,
    ):
        check(client, model)
    print("openai: responses, their streams and state, conversations and stored chats are right")


if __name__ == "__main__":
    main()
