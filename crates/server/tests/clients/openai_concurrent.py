"""Turns many clients at once into the check that each gets the answer it would get alone.

    python openai_concurrent.py --base-url http://127.0.0.1:8080/v1 --api-key KEY

Needs the packages of requirements.txt. Ends with 0 if everything holds.
"""

import argparse
import asyncio

from openai import AsyncOpenAI

SUBJECTS = ["the sea", "bread", "a clock", "snow", "a river", "iron", "a song", "the moon"]


def fields(model, number):
    question = f"Write one sentence about {SUBJECTS[number % len(SUBJECTS)]}."
    return {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": 16,
        "seed": number,
        "temperature": 0.8,
    }


async def whole(client, model, number):
    answer = await client.chat.completions.create(**fields(model, number))
    return answer.choices[0].message.content


async def streamed(client, model, number):
    text = ""
    async for chunk in await client.chat.completions.create(**fields(model, number), stream=True):
        text += chunk.choices[0].delta.content or ""
    return text


async def abandoned(client, model, number):
    """Goes away in the middle of its answer."""
    extra = {"ignore_eos": True}
    stream = await client.chat.completions.create(
        **fields(model, number) | {"max_tokens": 400}, stream=True, extra_body=extra
    )
    async for _ in stream:
        break
    await stream.close()


async def check(base_url, api_key):
    async with AsyncOpenAI(
        base_url=base_url, api_key=api_key, max_retries=0, timeout=120
    ) as client:
        model = (await client.models.list()).data[0].id
        alone = [await whole(client, model, number) for number in range(8)]
        asked = [(whole, streamed, abandoned)[number % 3] for number in range(24)]
        together = await asyncio.gather(
            *(ask(client, model, number % 8) for number, ask in enumerate(asked))
        )
        for number, (ask, text) in enumerate(zip(asked, together)):
            if ask is not abandoned:
                assert text == alone[number % 8], (number, text, alone[number % 8])
        # Those that went away hold up nobody.
        assert await whole(client, model, 0) == alone[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--api-key", required=True)
    options = parser.parse_args()
    asyncio.run(check(options.base_url, options.api_key))
    print("24 clients at once: each has the answer it has alone")


if __name__ == "__main__":
    main()
