"""Turns a server that is too busy into a check that official clients come again and are answered.

    python retries.py --base-url http://127.0.0.1:8080/v1 --api-key KEY

The server plays answers.json: `myriad serve script:answers.json`. Ends with 0 if everything holds.
"""

import argparse
import threading
import time

import anthropic
import openai

# Together more than may wait.
PROMPTS = ["Take your time."] * 64
CROWD = 6


def crowd(options):
    """Fills the queue; returns the threads that do."""
    client = openai.OpenAI(**options, max_retries=0)

    def ask():
        try:
            client.completions.create(model="scripted", prompt=PROMPTS)
        except openai.RateLimitError:
            # One of them is too many.
            pass

    threads = [threading.Thread(target=ask) for _ in range(CROWD)]
    for thread in threads:
        thread.start()
    return threads


def when_busy(options, ask):
    """Asks while the queue is full, as often as it takes to meet that."""
    for _ in range(5):
        threads = crowd(options)
        time.sleep(0.1)
        seen = []

        def note(response, seen=seen):
            seen.append((response.status_code, response.headers.get("retry-after")))

        answer = ask({"event_hooks": {"response": [note]}})
        for thread in threads:
            thread.join()
        assert answer.startswith("Hello there."), answer
        if len(seen) > 1:
            return seen
    raise AssertionError("the queue was never full")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--api-key", required=True)
    arguments = parser.parse_args()
    options = {"base_url": arguments.base_url, "api_key": arguments.api_key}
    messages = [{"role": "user", "content": "Hi"}]

    def with_openai(hooks):
        http = openai.DefaultHttpxClient(**hooks)
        client = openai.OpenAI(**options, max_retries=6, http_client=http)
        answer = client.chat.completions.create(model="scripted", messages=messages)
        return answer.choices[0].message.content

    def with_anthropic(hooks):
        http = anthropic.DefaultHttpxClient(**hooks)
        base = {**options, "base_url": arguments.base_url.removesuffix("/v1")}
        client = anthropic.Anthropic(**base, max_retries=6, http_client=http)
        answer = client.messages.create(model="scripted", messages=messages, max_tokens=20)
        return answer.content[0].text

    for name, ask in [("openai", with_openai), ("anthropic", with_anthropic)]:
        seen = when_busy(options, ask)
        assert all(status == 429 and int(after) > 0 for status, after in seen[:-1]), seen
        assert seen[-1][0] == 200, seen
        print(f"retries: {name} was answered at attempt {len(seen)}")


if __name__ == "__main__":
    main()
