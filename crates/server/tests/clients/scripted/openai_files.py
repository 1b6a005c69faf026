"""Turns files, uploads and batches of a scripted server into checks by the official OpenAI client.

    python openai_files.py --base-url http://127.0.0.1:8080/v1 --api-key KEY

The server plays answers.json: `myriad serve script:answers.json`. Ends with 0 if everything holds.
"""

import argparse
import hashlib
import io
import json
import tempfile
import time
from pathlib import Path

import openai
from openai import OpenAI

CONTENT = bytes(range(256)) * 1000


def check_files(client):
    before = {file.id for file in client.files.list()}
    file = client.files.create(
        file=("Grüße.bin", io.BytesIO(CONTENT)),
        purpose="user_data",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert file.object == "file" and file.bytes == len(CONTENT) and file.filename == "Grüße.bin"
    assert file.purpose == "user_data" and file.expires_at == file.created_at + 3600
    assert client.files.retrieve(file.id) == file
    assert client.files.content(file.id).read() == CONTENT
    others = [client.files.create(file=(f"{n}.txt", b"x"), purpose="evals") for n in range(3)]
    # Pages follow each other by themselves.
    listed = [other.id for other in client.files.list(purpose="evals", limit=1, order="asc")]
    assert listed == [other.id for other in others], listed
    for made in [file, *others]:
        assert client.files.delete(made.id).deleted
    assert {file.id for file in client.files.list()} == before
    try:
        client.files.retrieve(file.id)
    except openai.NotFoundError as error:
        assert error.code == "not_found"
    else:
        raise AssertionError("a deleted file is still there")


def check_uploads(client):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.jsonl"
        path.write_bytes(CONTENT)
        upload = client.uploads.upload_file_chunked(
            file=path,
            mime_type="text/jsonl",
            purpose="fine-tune",
            part_size=100_000,
            md5=hashlib.md5(CONTENT).hexdigest(),
        )
    assert upload.status == "completed" and upload.file.filename == "large.jsonl"
    assert client.files.content(upload.file.id).read() == CONTENT
    client.files.delete(upload.file.id)
    upload = client.uploads.create(
        bytes=3, filename="a.txt", mime_type="text/plain", purpose="assistants"
    )
    part = client.uploads.parts.create(upload.id, data=b"abc")
    assert part.upload_id == upload.id and part.object == "upload.part"
    assert client.uploads.cancel(upload.id).status == "cancelled"
    try:
        client.uploads.complete(upload.id, part_ids=[part.id])
    except openai.BadRequestError as error:
        assert "cancelled" in error.message
    else:
        raise AssertionError("a cancelled upload was completed")


def lines(questions):
    for number, question in enumerate(questions):
        body = {"messages": [{"role": "user", "content": question}]}
        line = {"custom_id": str(number), "method": "POST", "url": "/v1/chat/completions"}
        yield json.dumps({**line, "body": body})


def begin(client, questions):
    content = "\n".join(lines(questions)).encode()
    file = client.files.create(file=("in.jsonl", content), purpose="batch")
    return client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"made by": "openai_files.py"},
    )


def wait(client, batch, statuses):
    for _ in range(600):
        batch = client.batches.retrieve(batch.id)
        if batch.status in statuses:
            return batch
        time.sleep(0.05)
    raise AssertionError(f"the batch stays {batch.status}")


def check_batches(client):
    batch = begin(client, ["Count.", "Hi"])
    assert batch.status == "validating" and batch.request_counts.total == 0
    batch = wait(client, batch, ["completed"])
    assert batch.request_counts.completed == batch.request_counts.total == 2
    assert batch.usage.output_tokens > 0 and batch.usage.total_tokens > batch.usage.output_tokens
    assert batch.metadata == {"made by": "openai_files.py"}
    output = client.files.content(batch.output_file_id).text.splitlines()
    answers = [json.loads(line)["response"]["body"] for line in output]
    texts = [answer["choices"][0]["message"]["content"] for answer in answers]
    assert texts == ["one two three four five six seven eight nine ten", "Hello there."], texts
    assert batch.error_file_id is None and batch.errors is None
    assert batch.id in [other.id for other in client.batches.list(limit=1)]

    batch = begin(client, ["Count."] * 2000)
    wait(client, batch, ["in_progress"])
    assert client.batches.cancel(batch.id).status == "cancelling"
    batch = wait(client, batch, ["cancelled"])
    counts = batch.request_counts
    assert counts.completed + counts.failed == counts.total == 2000 and counts.failed > 0
    errors = client.files.content(batch.error_file_id).text.splitlines()
    assert json.loads(errors[-1])["error"]["code"] == "batch_cancelled"

    twice = "\n".join(list(lines(["a"])) * 2).encode()
    file = client.files.create(file=("twice.jsonl", twice), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    (error,) = wait(client, batch, ["failed"]).errors.data
    assert error.code == "duplicate_custom_id" and error.line == 2


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--api-key", required=True)
    options = parser.parse_args()
    client = OpenAI(base_url=options.base_url, api_key=options.api_key, max_retries=0)
    for check in (check_files, check_uploads, check_batches):
        check(client)
    print("openai: files, uploads and batches are as they should be")


if __name__ == "__main__":
    main()
