"""Turns a scripted server into checks by LangChain's client for OpenAI.

    python langchain_chat.py --base-url http://127.0.0.1:8080/v1 --api-key KEY

The server plays answers.json: `myriad serve script:answers.json`. Ends with 0 if everything holds.
"""

import argparse
import asyncio
from typing import Literal

import openai
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel


@tool
def temperature(city: str, unit: str = "°C") -> str:
    """How warm a place is."""
    return "18 degrees"


class Colour(BaseModel):
    """A colour."""

    colour: Literal["red", "blue"]


def check_answers(model):
    answer = model.invoke("Hello?")
    assert answer.content == "Hello there."
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.usage_metadata["output_tokens"] > 0
    pieces = [piece.content for piece in model.stream("Count.")]
    assert "".join(pieces) == "one two three four five six seven eight nine ten"
    assert len([piece for piece in pieces if piece]) > 5
    assert [answer.content for answer in model.batch(["Hello?"] * 8)] == ["Hello there."] * 8
    assert asyncio.run(model.ainvoke("Hello?")).content == "Hello there."


def check_tools(model):
    bound = model.bind_tools([temperature])
    messages = [HumanMessage("How is it in Köln?")]
    call = bound.invoke(messages)
    assert call.response_metadata["finish_reason"] == "tool_calls"
    (wanted,) = call.tool_calls
    assert (wanted["name"], wanted["args"]) == ("temperature", {"city": "Köln", "unit": "°C"})
    streamed = None
    for piece in bound.stream(messages):
        streamed = piece if streamed is None else streamed + piece
    assert streamed.tool_calls[0]["args"] == wanted["args"]
    result = temperature.invoke(wanted)
    assert isinstance(result, ToolMessage)
    answer = bound.invoke([*messages, call, result])
    assert answer.content == "It is 18 degrees in Köln."


def check_structure(model):
    for method in ["json_schema", "json_mode"]:
        structured = model.with_structured_output(Colour, method=method)
        assert structured.invoke("Name a colour.") == Colour(colour="blue")


def check_errors(arguments):
    wrong = ChatOpenAI(model="scripted", base_url=arguments.base_url, api_key="wrong", max_retries=0)
    try:
        wrong.invoke("Hello?")
    except openai.AuthenticationError as error:
        assert error.code == "invalid_api_key"
    else:
        raise AssertionError("a wrong key came in")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--api-key", required=True)
    arguments = parser.parse_args()
    model = ChatOpenAI(model="scripted", base_url=arguments.base_url, api_key=arguments.api_key)
    check_answers(model)
    check_tools(model)
    check_structure(model)
    check_errors(arguments)
    print("LangChain: all checks passed")


if __name__ == "__main__":
    main()
