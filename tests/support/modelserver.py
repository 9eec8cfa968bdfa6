"""A stand-in for a language model: an OpenAI-compatible endpoint on loopback.

It answers ``POST /v1/chat/completions`` as a stream of server-sent events, and its answer depends
on the last message: a key of `ANSWERS` is answered so, anything else with "You said: ...".
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

KEY = "sk-a-key-only-tests-know"
MODEL = "stand-in"

STORY = ["Once ", "upon ", "a ", "time ", "— ", "“über” ", "line\u2028one", "\u0085", "🙂"]
"""What a naive reader breaks: characters of several bytes, and two that `splitlines` splits at."""


@dataclass
class Model:
    """What a test knows of a running stand-in.

    Attributes:
        url: The base URL, as a client's configuration takes it.
        requests: The body of each question, read as JSON.
        left: How many clients have gone before the end of their answer.
    """

    url: str = ""
    requests: list[dict] = field(default_factory=list)
    left: int = 0


def event(value: object, newline: str = "\n") -> bytes:
    """Return one server-sent event; text is not escaped, as some servers do not."""
    return f"data: {json.dumps(value, ensure_ascii=False)}{newline}{newline}".encode()


def piece(text: str | None) -> dict:
    """Return one chunk of an answer."""
    delta = {"role": "assistant"} if text is None else {"content": text}
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta}]}


class _Answer:
    """One answer, in chunks of HTTP/1.1."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    async def head(self, status: str = "200 OK", kind: str = "text/event-stream") -> None:
        self._writer.write(
            f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n"
            "Connection: close\r\n\r\n".encode()
        )

    async def send(self, data: bytes) -> None:
        self._writer.write(b"%x\r\n%s\r\n" % (len(data), data))
        await self._writer.drain()

    async def end(self) -> None:
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()


async def _said(answer: _Answer, text: str) -> None:
    await answer.head()
    for word in f"You said: {text}".split(" "):
        await answer.send(event(piece(word + " ")))
    await answer.send(b"data: [DONE]\n\n")


async def _byte_by_byte(answer: _Answer, text: str) -> None:
    stream = b": a comment, as some send to keep a connection alive\n\n"
    stream += event(piece(None)) + b"".join(event(piece(part)) for part in STORY)
    stream += event({"object": "chat.completion.chunk", "choices": [], "usage": {}})
    await answer.head()
    for at in range(len(stream)):
        await answer.send(stream[at : at + 1])
    await answer.send(b"data: [DONE]\n\n")


async def _other_newlines(answer: _Answer, text: str) -> None:
    await answer.head()
    await answer.send(b"".join(event(piece(part), "\r\n") for part in STORY))
    await answer.send(b"event: message\r\ndata:[DONE]\r\n\r\n")


async def _refused(answer: _Answer, text: str) -> None:
    await answer.head("401 Unauthorized", "application/json")
    words = f"Incorrect API key provided: {KEY}"
    await answer.send(json.dumps({"error": {"message": words}}).encode())


async def _another_page(answer: _Answer, text: str) -> None:
    await answer.head(kind="text/html")
    await answer.send(b"<!doctype html>\n<p>Log in, please</p>\n")


async def _breaks_off(answer: _Answer, text: str) -> None:
    await answer.head()
    await answer.send(event(piece("Once ")))
    await answer.send(event({"error": {"message": f"overloaded, and you sent {KEY}"}}))


async def _hangs_up(answer: _Answer, text: str) -> None:
    await answer.head()
    await answer.send(event(piece("Once ")))
    raise ConnectionResetError


async def _never_ends(answer: _Answer, text: str) -> None:
    await answer.head()
    while True:
        await answer.send(event(piece("and ")))
        await asyncio.sleep(0.02)


async def _is_silent(answer: _Answer, text: str) -> None:
    await answer.head()
    await answer.send(event(piece("Hm… ")))
    await asyncio.sleep(3600)


ANSWERS = {
    "byte by byte": _byte_by_byte,
    "other newlines": _other_newlines,
    "a wrong key": _refused,
    "another page": _another_page,
    "break off": _breaks_off,
    "hang up": _hangs_up,
    "for ever": _never_ends,
    "silence": _is_silent,
}


async def _serve(model: Model, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    answer = _Answer(writer)
    task = None
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:-2])
        fields = {name.lower(): value for name, value in fields.items()}
        body = json.loads(await reader.readexactly(int(fields["content-length"])))
        if head.split(" ")[:2] != ["POST", "/v1/chat/completions"]:
            await answer.head("404 Not Found", "text/plain")
        elif fields.get("authorization") != f"Bearer {KEY}" or not body.get("stream"):
            await answer.head("400 Bad Request", "text/plain")
        else:
            model.requests.append(body)
            text = body["messages"][-1]["content"]
            gone = asyncio.ensure_future(reader.read(1))
            task = asyncio.ensure_future(ANSWERS.get(text, _said)(answer, text))
            await asyncio.wait({gone, task}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                model.left += 1
                return
            gone.cancel()
            task.result()
        await answer.end()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        if task is not None:
            task.cancel()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextmanager
def running_model() -> Iterator[Model]:
    """Start a stand-in on a free port of loopback, and stop it at the end."""
    model = Model()
    loop = asyncio.new_event_loop()

    async def main(started: threading.Event, ended: asyncio.Event) -> None:
        server = await asyncio.start_server(lambda r, w: _serve(model, r, w), "127.0.0.1", 0)
        model.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        started.set()
        await ended.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    started, ended = threading.Event(), asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(main(started, ended)))
    thread.start()
    try:
        assert started.wait(10)
        yield model
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(10)
        loop.close()
