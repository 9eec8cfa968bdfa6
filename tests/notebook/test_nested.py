"""A bot whose callback runs the event loop, as nest_asyncio lets it, gets all in order."""

from __future__ import annotations

import asyncio
from collections import deque
from types import SimpleNamespace

from jupyter_wshandler.kernels.courier import Courier
from jupyter_wshandler.kernels.events import Binary, Text
from jupyter_wshandler.kernels.pipe import write_batch
from jupyter_wshandler.notebook.link import ServerLink


async def test_what_comes_while_a_batch_is_handled_is_handled_behind_the_rest_of_it(
    monkeypatch,
) -> None:
    sent = []
    monkeypatch.setattr(ServerLink, "__init__", lambda self, said: None)
    link = ServerLink(sent)
    courier = Courier(
        asyncio.get_running_loop(),
        lambda batch, buffers: sent.append(batch),
        in_flight=1,
        patience=0.0,
    )
    got = []

    def hear(name, texts):
        got.extend((name, text) for text in texts)
        if "nest" in texts:
            come(2, Text("b", "b3"), Text("a", "a2"))

    def tell(event, buffer):
        got.append((event.name, buffer))

    def come(number, *events, buffers=()):
        batch = {"n": number, "events": list(events)}
        link._piped(write_batch(batch, bytes), list(buffers))

    link._courier, link._due = courier, deque()
    link._connections = SimpleNamespace(hear=hear, tell=tell)
    come(
        1,
        Text("b", "b1"),
        Text("a", "nest"),
        Text("b", "b2"),
        Binary("b"),
        buffers=[b"bytes"],
    )
    expected = [("b", "b1"), ("a", "nest"), ("b", "b2"), ("b", b"bytes"), ("b", "b3"), ("a", "a2")]
    assert got == expected
    await asyncio.sleep(0.01)
    assert sent[-1]["got"] == 2
    courier.close()
