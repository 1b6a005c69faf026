"""Turns moderations and decisions of a scripted server into checks by the official OpenAI client.

    python openai_judge.py --base-url http://127.0.0.1:8080/v1 --api-key KEY

The server plays answers.json: `myriad serve script:answers.json`. Ends with 0 if everything holds.
"""

import argparse

import openai
from openai import OpenAI


def check_moderations(client):
    answer = client.moderations.create(input=["He hit the child.", "Hello."])
    assert answer.id.startswith("modr-") and answer.model
    violent, quiet = answer.results
    assert violent.flagged and violent.categories.violence
    assert not violent.categories.violence_graphic and not violent.categories.self_harm
    assert violent.category_scores.violence == 1.0
    assert violent.category_applied_input_types.violence == ["text"]
    # Parts are one text.
    parts = [{"type": "text", "text": "Hello."}, {"type": "text", "text": "And goodbye."}]
    (result,) = client.moderations.create(input=parts).results
    assert not quiet.flagged and not result.flagged
    try:
        image = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
        client.moderations.create(input=[image])
    except openai.BadRequestError as error:
        assert error.param == "input[0].type" and error.code == "unsupported_parameter"
    else:
        raise AssertionError("an image was taken")


def check_decisions(client, model):
    decision = client.decisions.create(
        model=model,
        input=[{"role": "user", "content": "I was charged twice!"}],
        questions=[
            {"type": "predicate", "name": "twice", "instructions": "It is about money."},
            {
                "type": "choice",
                "instructions": "Which team?",
                "choices": [{"value": "technical"}, {"value": "billing", "description": "Money"}],
            },
            {
                "type": "score",
                "instructions": "How angry?",
                "levels": [{"label": "calm"}, {"label": "cross"}, {"label": "furious"}],
            },
        ],
    )
    predicate, choice, score = decision.answers
    assert predicate.type == "predicate" and predicate.name == "twice"
    assert predicate.probability == 1.0
    assert choice.type == "choice" and choice.name is None and choice.choice == "billing"
    assert [(it.value, it.probability) for it in choice.probabilities] == [
        ("technical", 0.0),
        ("billing", 1.0),
    ]
    assert score.type == "score" and score.score == 1.0 and score.confidence == 1.0
    assert [it.label for it in score.probabilities] == ["calm", "cross", "furious"]
    assert decision.usage.input_tokens == decision.usage.total_tokens > 0
    assert decision.usage.output_tokens_details.reasoning_tokens == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--api-key", required=True)
    options = parser.parse_args()
    client = OpenAI(base_url=options.base_url, api_key=options.api_key, max_retries=0)
    check_moderations(client)
    check_decisions(client, client.models.list().data[0].id)
    print("openai: moderations and decisions are as they should be")


if __name__ == "__main__":
    main()
