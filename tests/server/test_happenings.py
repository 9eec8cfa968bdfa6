"""Jupyter events of connections, failures and reloads, on a real server and beside its loop."""

from __future__ import annotations

import asyncio
import json
import threading
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import websockets.exceptions
from jupyter_events import EventLogger
from support.memory import until
from support.server import running_server, wait_for

from jupyter_wshandler.manager import WebSocketManager
from jupyter_wshandler.server.access.eventwriter import SCHEMAS, EventWriter
from jupyter_wshandler.server.happenings import OPENED

YAML = """
url:
  bot: {pattern: /bot, handler: WebSocketHandler, kwargs: {on_message: bot.answer}}
"""

BOT = """
def answer(handler, message):
    if message == "fail":
        raise ValueError("words with a secret of " + message)
    return message
"""

CONFIG = """
import logging
c.EventLogger.handlers = [logging.FileHandler({path!r})]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("happenings")
    (folder / "config.py").write_text(CONFIG.format(path=str(folder / "events.log")))
    options = [f"--config={folder / 'config.py'}"]
    with running_server(
        YAML, folder=folder, modules={"bot.py": BOT}, extra_args=options
    ) as running:
        yield running


def events(server) -> list[dict]:
    lines = Path(server.folder, "events.log").read_text().splitlines()
    return [json.loads(line) for line in lines]


def named(server, kind: str) -> list[dict]:
    found = [one for one in events(server) if one["__schema__"] == f"urn:jupyter-wshandler:{kind}"]
    return [{k: v for k, v in one.items() if not k.startswith("__")} for one in found]


def test_a_connection_that_opens_and_closes_is_two_events_with_its_id(server):
    with server.connect_sync("/bot") as socket:
        socket.send("hello")
        socket.recv(timeout=10)
    wait_for(lambda: named(server, "closed"), what="the event")
    opened, closed = named(server, "opened")[0], named(server, "closed")[0]
    assert opened.pop("address") == "127.0.0.1"
    assert closed.pop("seconds") >= 0
    assert (closed.pop("code"), closed.pop("reason")) == (1000, "")
    assert opened == closed
    assert (opened["route"], opened["kind"], bool(opened["user"])) == ("bot", "user", True)
    assert "hello" not in json.dumps(events(server))


def test_a_failure_is_an_event_without_its_words(server):
    with server.connect_sync("/bot") as socket:
        socket.send("fail")
        with pytest.raises(websockets.exceptions.ConnectionClosedError) as caught:
            socket.recv(timeout=10)
    wait_for(lambda: named(server, "failed"), what="the event")
    (failed,) = named(server, "failed")
    assert failed["error"] == caught.value.rcvd.reason.rpartition(" ")[2]
    assert (failed["callback"], failed["exception"]) == ("bot.answer", "ValueError")
    assert failed["place"].endswith("bot.py:4")
    assert "secret" not in json.dumps(events(server))


def test_a_reload_is_an_event_and_so_is_one_that_fails(server):
    file = Path(server.folder, "bot.py")
    file.write_text(BOT.replace("return message", "return message.upper()"))
    wait_for(lambda: named(server, "reloaded"), what="the event")
    first = named(server, "reloaded")[0]
    assert (first["files"], first["code"], first["errors"]) == (["bot.py"], True, [])
    file.write_text("def answer(handler, message:\n")
    wait_for(lambda: named(server, "reloaded")[-1]["errors"], what="the event of a mistake")
    assert "bot.py:1" in named(server, "reloaded")[-1]["errors"][0]


def test_every_time_is_a_date_that_others_can_read(server):
    with server.connect_sync("/bot"):
        pass
    wait_for(lambda: named(server, "closed"), what="the event")
    for one in events(server):
        written = one["__timestamp__"]
        assert written.endswith("Z")
        read = datetime.fromisoformat(written)
        assert read.utcoffset() == timedelta(0)


async def test_what_is_told_in_a_thread_is_heard_on_the_loop(manager: WebSocketManager):
    logger = EventLogger()
    writer = EventWriter(manager, logger)
    assert {f"urn:jupyter-wshandler:{path.stem}" for path in SCHEMAS.glob("*.yaml")} <= {
        *logger.schemas.schema_ids
    }
    heard: list[tuple[int, str]] = []

    async def hear(logger: EventLogger, schema_id: str, data: dict) -> None:
        heard.append((threading.get_ident(), data["route"]))

    logger.add_listener(schema_id=OPENED, listener=hear)
    said = {"route": "bot", "connection": "1", "user": None, "kind": None, "address": ""}
    await asyncio.to_thread(writer.emit, OPENED, said)
    await until(lambda: bool(heard))
    writer.emit(OPENED, {**said, "route": "another"})
    await until(lambda: len(heard) == 2)
    here = threading.get_ident()
    assert heard == [(here, "bot"), (here, "another")]


async def test_an_event_that_nobody_can_take_is_a_line_and_no_more(manager, caplog):
    events = SimpleNamespace(
        schemas=(), register_event_schema=lambda path: None, emit=lambda **_: 1 / 0
    )
    EventWriter(manager, events).emit(OPENED, {})
    assert f"The event {OPENED} could not be recorded" in caplog.text
    EventWriter(manager, None).emit(OPENED, {})
