"""``jupyter wshandler tail``: follow what happens to connections, as `tail -f` does a file."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any
from urllib.parse import urlencode

from ..config.printing import printable
from ..errors import ConnectError, RequestRefused, ServerNotFound
from .asking import Asking
from .send import name_of
from .tables import duration
from .transcript import harmless

KINDS = ("opened", "closed", "failed", "refused")
"""What can happen."""

WAIT = 20
"""Seconds that the server is asked to wait for something to happen."""

PATIENCE = 30.0
"""Seconds that it has for its answer."""

SOON = 1.0
"""Seconds between two questions at least, where nothing has happened."""

TOGETHER = 0.2
"""Seconds where something has: what happens within them is asked for at once."""

LATEST = 5.0
"""Seconds between two looks for a server that is away, at most."""

SHOWN = 2000
"""Characters of a message that are printed."""


def tail(
    bot: str = "",
    *,
    only: Collection[str] = (),
    last: int = 10,
    traceback: bool = False,
    as_json: bool = False,
    url: str = "",
    token: str | None = None,
) -> int:
    """Print a line for each connection that opens or closes, each failure and each refusal.

    Args:
        bot: The path, the pattern or the name of the bot that is followed; all where empty.
        only: Kinds of events, of `KINDS`; all where empty.
        last: Errors of before to begin with, at most.
        traceback: Print the traceback of each error, and the message that it came of.
        as_json: Print a line of JSON for each event, for programs.
        url: Base URL of the server; the one that runs here where empty.
        token: What to log in with, "" for nothing; found as `client.connect` does where None.

    Returns:
        130 once it is interrupted; 1 where there is no server at the begin, or it refuses; 2 for
        what cannot be meant.
    """
    ask = Asking("tail", bot, url, token)

    def work() -> None:
        route = name_of(ask, bot) if bot.startswith("/") else bot
        _Follower(ask, route, only or KINDS, traceback, as_json).follow(last)

    return ask.run(work)


class _Follower:
    """One who follows a server, through its restarts."""

    def __init__(
        self, ask: Asking, route: str, only: Collection[str], traceback: bool, as_json: bool
    ) -> None:
        self._ask = ask
        self._of = {"route": route} if route else {}
        self._only = only
        self._traceback = traceback
        self._print: Callable[[Mapping[str, Any]], None] = self._as_json if as_json else self._line
        self._seen: set[str] = set()

    def follow(self, last: int) -> None:
        """Follow until somebody stops it."""
        place = str(self._events()["next"])
        if sys.stderr.isatty():  # nothing may happen for a while
            _say(f"follows {printable(self._ask.server.url)}; Ctrl-C ends")
        if last and "failed" in self._only:
            self._begin(last)
        while True:
            asked = time.monotonic()
            try:
                answer = self._events(since=place, wait=WAIT)
            except (ConnectError, RequestRefused) as error:
                if isinstance(error, RequestRefused) and error.status < 500:
                    raise
                place = self._wait_for_server()
                continue
            place = str(answer["next"])
            if not answer["complete"]:
                _say("some of what has happened is missing: too much at once, or a restart")
            for event in answer["events"]:
                if event["event"] in self._only and event.get("id") not in self._seen:
                    self._show(event)
            least = TOGETHER if answer["events"] else SOON
            time.sleep(max(0.0, least - (time.monotonic() - asked)))

    def _events(self, **asked: Any) -> Any:
        query = urlencode({**self._of, **asked})
        return self._ask("GET", f"events?{query}" if query else "events", timeout=PATIENCE)

    def _begin(self, last: int) -> None:
        """Show the last errors of before; what happens from now on is written down already."""
        query = urlencode({**self._of, "limit": last})
        for error in reversed(self._ask("GET", f"errors?{query}")["errors"]):
            self._seen.add(str(error["id"]))
            self._show({"event": "failed", **error})

    def _wait_for_server(self) -> str:
        """Wait until there is a server again; return where to go on."""
        _say("the server is away; waiting for it")
        pause = SOON
        while True:
            time.sleep(pause)
            pause = min(2 * pause, LATEST)
            self._ask.look_again()
            try:
                place = str(self._events()["next"])
            except (ConnectError, ServerNotFound):
                continue
            except RequestRefused as error:
                if error.status < 500 and error.status != 404:  # as long as it still starts
                    raise
                continue
            _say("the server is back")
            return place

    def _show(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "failed" and self._traceback and "traceback" not in event:
            event = {**event, **self._whole(str(event["id"]))}
        self._print(event)

    def _whole(self, error_id: str) -> Mapping[str, Any]:
        """Return what else is known of an error; nothing where it is not kept, or nobody there."""
        try:
            return dict(self._ask("GET", f"errors/{error_id}"))
        except (ConnectError, RequestRefused):
            return {}

    def _as_json(self, event: Mapping[str, Any]) -> None:
        print(json.dumps(event), flush=True)

    def _line(self, event: Mapping[str, Any]) -> None:
        words = (_clock(event["at"]), event["event"].ljust(7), event["route"], event["user"] or "-")
        print("  ".join(printable(str(word)) for word in (*words, _detail(event))), flush=True)
        if not self._traceback or event["event"] != "failed":
            return
        said = event.get("message") or {}
        if said:
            text = str(said.get("text", said.get("binary", "")))[:SHOWN]
            print(f"  its message, of {said['size']}: {printable(text)}")
        for line in str(event.get("traceback") or "").splitlines():
            print(f"  {harmless(line)}", flush=True)


def _detail(event: Mapping[str, Any]) -> str:
    """Return what a line says of an event behind route and user."""
    kind, connection = event["event"], event["connection"]
    if kind == "opened":
        return f"{connection} from {event['address']}"
    if kind == "closed":
        reason = f" {event['reason']!r}" if event["reason"] else ""
        after = "" if event["seconds"] is None else f" after {duration(event['seconds'])}"
        return f"{connection} with {event['code']}{reason}{after}"
    if kind == "failed":
        place = f" at {event['place']}" if event.get("place") else ""
        what = f"{event['exception']} in {event['callback']}{place}"
        return f"{connection} {what}, error {event['id']}"
    return f"{event['code']}: {event['reason']}"


def _clock(when: float) -> str:
    then, today = time.localtime(when), time.localtime()
    form = "%H:%M:%S" if then[:3] == today[:3] else "%Y-%m-%d %H:%M:%S"
    return time.strftime(form, then)


def _say(sentence: str) -> None:
    print(f"jupyter wshandler tail: {sentence}", file=sys.stderr, flush=True)
