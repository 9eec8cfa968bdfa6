"""A server whose sessions, shares and rooms are on a service with Sentinels."""

from __future__ import annotations

import json
from functools import partial

import pytest
import websockets.exceptions
from support.clusters import SERVICE
from support.nodes import health, node
from support.server import RunningServer, free_port, wait_for
from support.sharing import API, ask, bearer, shares
from support.tcpproxy import TcpProxy, running_proxy

PREFIX = "before-its-sentinels"

SECRET = "a-word-that-only-the-store-knows"


def says(server: RunningServer, **options) -> dict:
    """Return what the bot says of who asks."""
    with server.connect_sync("/who", **options) as ws:
        ws.send("hi")
        return json.loads(ws.recv(timeout=10))


def made(server: RunningServer, **asked) -> dict | None:
    """Return a share that was made; None where the store is not there yet."""
    status, _, body = ask(server, "POST", API, {"route": "who", "label": "Class", **asked})
    assert status in {201, 503}, body
    return json.loads(body) if status == 201 else None


def contains(service, word: bytes) -> bool:
    return word in service.say("KEYS", f"{PREFIX}:*")


def test_a_server_that_starts_before_its_sentinels_is_degraded_until_they_are_there(
    shared_service, tmp_path
):
    port = free_port()
    url = f"redis+sentinel://127.0.0.1:{port}/{SERVICE}?sentinel_username=x&sentinel_password="
    for one in shared_service.sentinels:
        one.say("ACL", "SETUSER", "x", "on", f">{SECRET}", "+@all")
    person = {"token": False, "headers": {"X-Person": "ada"}}
    arguments = ["session_store=backplane", f"backplane_prefix={PREFIX}"]
    arguments = [f"--WSHandlerApp.{one}" for one in arguments]
    with node(tmp_path, url + SECRET, *arguments) as server:
        wait_for(lambda: health(server) == "degraded", 20, "a server that says so")
        assert says(server, **person)["count"] == 1  # with an empty session
        header = {"Authorization": f"Bearer {'A' * 22}"}
        with pytest.raises(websockets.exceptions.InvalidStatus, match="503"):
            server.connect_sync("/who", token=False, headers=header)
        with running_proxy(TcpProxy, shared_service.sentinels[0].port, port):
            wait_for(lambda: health(server) == "ok", 30, "a server that has found its store")
            # The shares have a way of their own to the store, which may rest for a moment longer.
            shared = wait_for(partial(made, server, uses=1), 30, "a share that can be stored")
            assert says(server, token=False, headers=bearer(shared))["name"] == "Class"
            (found,) = shares(server, "?route=who")
            assert found["used"] == 1
            has_session = partial(contains, shared_service, b":session:")
            wait_for(has_session, 10, "the session of before, which is saved now")
        log = server.log_text()
    told = (
        f"redis+sentinel://127.0.0.1:{port}/{SERVICE} cannot be used: no Sentinel names the primary"
    )
    assert f"The backplane {told} of '{SERVICE}': " in log
    assert f"The shares cannot be read: the store {told} of '{SERVICE}': " in log
    assert SECRET not in log
