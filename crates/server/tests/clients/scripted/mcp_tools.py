"""Turns the official server of MCP into a check that the chat calls its tools, in both eras.

    MYRIAD_TOOLS_PORT=9000 python mcp_tools.py --base-url http://127.0.0.1:8080/v1 --api-key KEY

The server plays answers.json, with tools at /modern and /legacy of that port:
`myriad serve script:answers.json --tools tools.toml`. Ends with 0 if everything holds.
"""

import argparse
import contextlib
import json
import os
import threading
import time
import urllib.request

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount

tools = MCPServer("sums")


@tools.tool()
async def add(a: int, b: int, context: Context) -> str:
    """Adds two numbers."""
    await context.report_progress(1, 2)
    return f"The sum is {a + b}"


@tools.tool()
def fail() -> str:
    """Fails always."""
    raise ToolError("out of sums")


class Legacy:
    """Knows nothing of the modern era, as servers of before it."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            if headers.get(b"mcp-protocol-version", b"").startswith(b"2026"):
                await PlainTextResponse("Bad Request", 400)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def serve(port):
    app = tools.streamable_http_app(streamable_http_path="/")

    @contextlib.asynccontextmanager
    async def lifespan(_):
        async with app.router.lifespan_context(app):
            yield

    routes = [Mount("/modern", app), Mount("/legacy", Legacy(app))]
    config = uvicorn.Config(
        Paths(Starlette(routes=routes, lifespan=lifespan)),
        port=port,
        log_level="warning",
    )
    server = uvicorn.Server(config)
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.02)


class Paths:
    """Adds the slash that a mount wants: no redirect is followed."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http" and not scope["path"].endswith("/"):
            path = scope["path"] + "/"
            scope = {**scope, "path": path, "raw_path": path.encode()}
        await self.app(scope, receive, send)


class Chat:
    def __init__(self, base, key):
        self.base = base.removesuffix("/v1")
        self.key = key

    def ask(self, method, path, body=None):
        request = urllib.request.Request(
            self.base + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"authorization": f"Bearer {self.key}", "content-type": "application/json"},
        )
        return urllib.request.urlopen(request, timeout=30)

    def answer(self, text, tool):
        """Asks in a new conversation, allows each call that waits, and returns the answer."""
        chat = f"mcp{time.monotonic_ns()}"
        self.ask("PUT", f"/app/chats/{chat}", {"title": text})
        question = {"id": "q", "role": "user", "content": text, "created": 1}
        answer = {
            "id": "a", "parent": "q", "role": "assistant", "created": 2, "status": "streaming",
        }
        self.ask("PUT", f"/app/chats/{chat}/messages", {"messages": [question, answer]})
        messages = [{"role": "user", "content": text}]
        body = {"messages": messages, "app_tools": [tool]}
        events = self.ask("POST", f"/app/chats/{chat}/messages/a/run", body)
        for line in events:
            data = line.decode().strip().removeprefix("data: ")
            if not data.startswith("{"):
                continue
            event = json.loads(data)
            call = event.get("call")
            if call and call["state"] == "waiting":
                path = f"/app/chats/{chat}/messages/a/calls/{call['id']}"
                self.ask("POST", path, {"decision": "once"})
            if "message" in event:
                return event["message"]
        raise AssertionError("no end")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--api-key", required=True)
    arguments = parser.parse_args()
    serve(int(os.environ["MYRIAD_TOOLS_PORT"]))
    chat = Chat(arguments.base_url, arguments.api_key)
    servers = {server["name"]: server for server in json.load(chat.ask("GET", "/app/tools"))["servers"]}
    for era in ["modern", "legacy"]:
        assert servers[era]["failure"] is None, servers[era]
        assert [tool["own"] for tool in servers[era]["tools"]] == ["add", "fail"], servers[era]
        assert all(tool["unavailable"] is None for tool in servers[era]["tools"]), servers[era]
        message = chat.answer(f"Add with {era}.", f"{era}__add")
        (call,) = message["calls"]
        assert (call["state"], call["result"]) == ("done", "The sum is 5"), message
        assert message["content"] == "It is five.", message
        message = chat.answer(f"Fail with {era}.", f"{era}__fail")
        (call,) = message["calls"]
        assert call["state"] == "failed" and "out of sums" in call["result"], message
        assert message["content"] == "It failed.", message


if __name__ == "__main__":
    main()
