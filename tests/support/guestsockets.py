"""Guests of one link in all the ways in which they come, and how long they are in after its end."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import websockets.exceptions

from support.server import RunningServer
from support.sharing import bearer, cookie_of, token_of

BROWSER = {"Accept": "text/html,*/*;q=0.8"}


def page_ticket(server: RunningServer, path: str, cookie: str) -> str:
    """Return the ticket that stands in the page of a guest with a cookie."""
    status, _, body = server.fetch(path, token=False, headers={"Cookie": cookie, **BROWSER})
    assert status == 200, body
    return re.search(r'name="wshandler-guest" content="([\w-]{32})"', body.decode())[1]


def socket_ticket(server: RunningServer, ticket: str) -> tuple[int, str]:
    """Ask for the ticket of one socket as a guest's page does; return it, or why there is none."""
    path = f"/wshandler/guest/{ticket}/ticket"
    status, _, body = server.fetch(path, method="POST", token=False, headers={"Origin": "null"})
    return status, json.loads(body)["ticket"] if status == 200 else body.decode()


@contextmanager
def guests_of(server: RunningServer, made: dict, path: str) -> Iterator[dict]:
    """Open a socket for a guest by cookie, by header, in the query and by the ticket of a page.

    Args:
        server: The server.
        made: The share, with its `url`.
        path: The path that it opens.
    """
    page = cookie_of(server, made, path)
    ticket = socket_ticket(server, page_ticket(server, path, page))[1]
    ways = {
        "cookie": (path, {"Cookie": cookie_of(server, made, path)}),
        "header": (path, bearer(made)),
        "query": (f"{path}?share_token={token_of(made)}", {}),
        "page": (f"{path}?ws_token={ticket}", {"Origin": "null"}),
    }
    with ExitStack() as stack:
        sockets = {}
        for way, (where, fields) in ways.items():
            opened = server.connect_sync(where, token=False, headers=fields)
            sockets[way] = stack.enter_context(opened)
        yield sockets


def seconds_after(
    server: RunningServer, path: str, sockets: dict, end: Callable[[], object]
) -> dict[str, tuple[float, int, str]]:
    """End a share; return how each socket was closed, and seconds after `end` had returned.

    A message of the owner's, sent there and back in the meantime, tells how long this process, and
    a machine that has much to do, take for anything at all: that is no time of the server's.

    Args:
        server: The server.
        path: A route that answers its owner.
        sockets: By their names.
        end: Ends the share.
    """
    closed: dict[str, tuple[float, int, str]] = {}

    def listen(name, socket) -> None:
        try:
            while True:
                socket.recv(timeout=60)
        except websockets.exceptions.ConnectionClosed as error:
            frame = error.rcvd
            closed[name] = time.monotonic(), *((frame.code, frame.reason) if frame else (0, ""))

    threads = [threading.Thread(target=listen, args=item, name=item[0]) for item in sockets.items()]
    with server.connect_sync(path) as owner:
        owner.send("hello")
        owner.recv(timeout=30)
        for thread in threads:
            thread.start()
        end()
        answered = time.monotonic()
        owner.send("hello")
        owner.recv(timeout=30)
        slow = time.monotonic() - answered
        for thread in threads:
            thread.join(60)
    return {name: (at - answered - slow, *how) for name, (at, *how) in closed.items()}


def gone_within_a_second(found: dict[str, tuple[float, int, str]], reason: str) -> None:
    """Check what `seconds_after` returns: all four were closed in time, and told why."""
    assert found.keys() == {"cookie", "header", "query", "page"}
    for way, (seconds, code, words) in found.items():
        assert (code, words) == (4403, reason), way
        assert seconds < 1, (way, seconds)
