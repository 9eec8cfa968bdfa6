"""Nobody can say whether a login still holds: what is written, and when it has an end."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace

import httpx
import pytest
from jupyter_server.auth import AllowAllAuthorizer, User
from jupyter_server.auth.identity import IdentityProvider
from support.memory import until
from tornado.httpclient import HTTPClientError
from tornado.iostream import StreamClosedError
from tornado.web import Application, HTTPError

from jupyter_wshandler.config.model import AuthConfig
from jupyter_wshandler.connection.request import Request
from jupyter_wshandler.metrics import Metrics
from jupyter_wshandler.server.access import asking
from jupyter_wshandler.server.access.recheck import Recheck
from jupyter_wshandler.server.access.refusals import UNANSWERED

PERIOD = 0.1

ENDED = (4401, "your login has ended")
FORBIDDEN = (4403, "you are no longer allowed here")


class Provider(IdentityProvider):
    """A proxy's word is the identity: a field of the header, without token or cookie."""

    raises: BaseException | None = None
    asked = 0
    hangs = 0.0
    elsewhere = False

    async def get_user(self, handler):
        self.asked += 1
        while self.hangs:
            try:
                await asyncio.sleep(self.hangs)
            except asyncio.CancelledError:
                continue
        if self.raises is not None:
            raise self.raises
        if self.elsewhere:
            handler.redirect("/login")
            return None
        name = handler.request.headers.get("X-Forwarded-User")
        return User(name) if name else None


class Route:
    """What the recheck needs of a route."""

    def __init__(self, name: str, auth: AuthConfig) -> None:
        self.name, self.config = name, SimpleNamespace(auth=auth)


class Connection:
    """What the recheck needs of a connection."""

    def __init__(self, user: str, auth: AuthConfig, route: str, fields=()) -> None:
        self.entry = Route(route, auth)
        self.route, self.id, self.current_user = route, f"{user}-{id(self)}", None
        pairs = [("X-Forwarded-User", user), ("Host", "localhost"), *fields]
        pairs.append(("Sec-WebSocket-Key", str(id(self))))
        self.request = Request(pairs, f"/{route}", "127.0.0.1", "http", "localhost")
        self.credential = None
        self.closed: tuple[int, str] | None = None

    def take_credential(self, digest):
        self.credential = digest

    def end(self, code, reason):
        self.closed = (int(code), reason)


class House:
    """A recheck that runs on a plain server, and what it works with."""

    def __init__(self) -> None:
        self.provider = Provider()
        self.authorizer = AllowAllAuthorizer()
        application = Application(
            identity_provider=self.provider,
            authorizer=self.authorizer,
            base_url="/",
            cookie_secret="s",
            headers={},
            allow_remote_access=True,
        )
        self.metrics = Metrics()
        self.manager = SimpleNamespace(
            connections={}, log=logging.getLogger("test"), metrics=self.metrics
        )
        self.events: list[dict] = []
        refusals = SimpleNamespace(closed=lambda *args: None, emit=self.emitted)
        self.recheck = Recheck(application, self.manager, refusals)

    def emitted(self, event, data) -> None:
        assert event == UNANSWERED
        self.events.append(data)

    async def open(self, user="ada", route="chat", fields=(), **auth) -> Connection:
        connection = Connection(user, AuthConfig(**{"recheck": PERIOD} | auth), route, fields)
        handler = self.recheck._handler(connection)
        handler.current_user = await self.provider.get_user(handler)
        connection.current_user = handler.current_user
        assert self.recheck.note_login(handler, connection)
        self.manager.connections[connection.id] = connection
        return connection


@pytest.fixture
async def house():
    built = House()
    built.recheck.start()
    yield built
    built.provider.hangs = 0
    await asyncio.wait_for(built.recheck.stop(), 5)
    await until(lambda: not [t for t in asyncio.all_tasks() if t.get_name().startswith("wshandl")])


async def test_what_proves_a_login_is_found_out_once_in_a_handshake(house, monkeypatch):
    connection = Connection("ada", AuthConfig(recheck=PERIOD), "chat")
    handler = house.recheck._handler(connection)
    handler.current_user = connection.current_user = User("ada")
    asked = []
    monkeypatch.setattr(house.recheck, "proof", asked.append)
    assert house.recheck.note_login(handler, connection)
    assert house.recheck.note_login(handler, connection)
    assert asked == [handler]


async def questions(house, count: int) -> None:
    """Wait until the provider has been asked so often from now on."""
    before = house.provider.asked
    await until(lambda: house.provider.asked >= before + count)


UNREACHABLE = [
    HTTPError(500, "Failed to connect"),
    HTTPError(503),
    HTTPClientError(599, "Timeout"),
    HTTPClientError(502),
    ConnectionRefusedError(111, "no"),
    TimeoutError(),
    StreamClosedError(),
    OSError("the network is down"),
    httpx.ConnectTimeout("late"),
]

FAULTS = [
    ZeroDivisionError("a fault"),
    KeyError("name"),
    RuntimeError("Calling `JupyterHandler.current_user` before `prepare`"),
    HTTPClientError(404),
    asyncio.CancelledError(),
    SystemExit(3),
    KeyboardInterrupt(),
    BaseExceptionGroup("several", [GeneratorExit()]),
]


def name_of(error: BaseException) -> str:
    return f"{type(error).__name__} {error}"


@pytest.mark.parametrize("error", UNREACHABLE, ids=name_of)
async def test_who_cannot_be_reached_has_not_said_no_and_is_written_once_without_a_traceback(
    house, caplog, error
):
    one = await house.open()
    house.provider.raises = error
    await questions(house, 4)
    assert one.closed is None
    lines = [r for r in caplog.records if "cannot be asked for again" in r.getMessage()]
    assert [(r.levelname, r.exc_info) for r in lines] == [("WARNING", None)]
    assert type(error).__name__ in lines[0].getMessage()
    assert house.metrics.rechecks["unreachable"] >= 3
    assert house.metrics.rechecks["failed"] == 0
    assert [(e["result"], e["error"]) for e in house.events] == [
        ("unreachable", type(error).__name__)
    ]


@pytest.mark.parametrize("asked", ["provider", "authorizer"])
@pytest.mark.parametrize("error", FAULTS, ids=name_of)
async def test_a_fault_in_code_is_no_answer_and_is_written_once_with_its_traceback(
    house, caplog, error, asked
):
    one = await house.open()
    if asked == "provider":
        house.provider.raises = error
    else:

        def is_authorized(*args):
            raise error

        house.authorizer.is_authorized = is_authorized
    await questions(house, 4)
    assert one.closed is None
    lines = [r for r in caplog.records if "cannot be asked for again" in r.getMessage()]
    assert [r.levelname for r in lines] == ["ERROR"]
    assert lines[0].exc_info[1] is error
    assert house.metrics.rechecks["failed"] >= 3
    assert house.metrics.rechecks["unreachable"] == house.metrics.rechecks["allowed"] == 0
    assert [(e["result"], e["asked"].split()[-1].lower()) for e in house.events] == [
        ("failed", asked)
    ]


async def test_an_answer_of_the_authorizer_that_is_neither_yes_nor_no_is_a_fault_of_the_authorizer(
    house, caplog
):
    class Neither:
        def __bool__(self) -> bool:
            raise ValueError("ambiguous")

    one = await house.open()
    house.authorizer.is_authorized = lambda *args: Neither()
    await until(lambda: house.events)
    assert (house.events[0]["result"], house.events[0]["asked"]) == ("failed", "the Authorizer")
    assert "ambiguous" in caplog.text
    assert one.closed is None


async def test_a_fault_of_our_own_is_named_as_ours_and_has_an_end_too(house, caplog, monkeypatch):
    one = await house.open(recheck_grace=5 * PERIOD)

    def fails(*args):
        raise AttributeError("a fault of ours")

    monkeypatch.setattr("jupyter_wshandler.server.access.recheck.is_allowed", fails)
    await until(lambda: house.events)
    assert house.events[0]["asked"] == "jupyter_wshandler"
    assert "a fault of ours" in caplog.text
    assert one.closed is None
    await until(lambda: one.closed is not None)
    assert one.closed[0] == 4401
    assert "nobody could be asked" in one.closed[1]


async def test_another_kind_of_fault_is_written_too_and_the_same_one_again_after_a_minute(
    house, caplog, monkeypatch
):
    now = [1000.0]
    monkeypatch.setattr("jupyter_wshandler.server.access.unanswered.monotonic", lambda: now[0])
    await house.open()
    house.provider.raises = ZeroDivisionError()
    await questions(house, 3)
    house.provider.raises = KeyError()
    await questions(house, 3)
    assert [e["error"] for e in house.events] == ["ZeroDivisionError", "KeyError"]
    now[0] += 61
    await questions(house, 2)
    last = house.events[-1]
    assert (last["error"], last["times"] >= 3) == ("KeyError", True)
    assert f"({last['times']} times since" in caplog.text


async def test_where_nobody_can_be_asked_for_the_grace_connections_close_with_4401(house):
    one, patient = await house.open(recheck_grace=4 * PERIOD), await house.open(recheck_grace=0)
    usual = await house.open()
    assert usual.entry.config.auth.grace == 10 * PERIOD
    started = asyncio.get_running_loop().time()
    house.provider.raises = ConnectionRefusedError()
    await until(lambda: one.closed is not None)
    assert asyncio.get_running_loop().time() - started >= 3 * PERIOD
    assert one.closed[0] == 4401
    assert one.closed[1].startswith("nobody could be asked about your login for ")
    assert usual.closed is None
    await until(lambda: usual.closed is not None)
    assert asyncio.get_running_loop().time() - started >= 9 * PERIOD
    assert usual.closed[0] == 4401
    await questions(house, 3)
    assert patient.closed is None


async def test_an_answer_begins_the_grace_anew(house):
    one = await house.open(recheck_grace=5 * PERIOD)
    for _ in range(4):
        house.provider.raises = ConnectionRefusedError()
        await questions(house, 2)
        house.provider.raises = None
        await questions(house, 2)
    assert one.closed is None


async def test_an_authorizer_that_fails_for_one_route_ends_that_one_only(house):
    one = await house.open(recheck_grace=4 * PERIOD)
    other = await house.open(route="other", recheck_grace=4 * PERIOD)
    third = await house.open(route="third", recheck_grace=4 * PERIOD)

    def is_authorized(handler, user, action, resource):
        if resource == "wshandler:other":
            raise ZeroDivisionError
        return resource != "wshandler:third"

    house.authorizer.is_authorized = is_authorized
    await until(lambda: third.closed == FORBIDDEN)
    await until(lambda: other.closed is not None)
    assert other.closed[0] == 4401
    await questions(house, 3)
    assert one.closed is None


async def test_a_provider_that_never_answers_is_given_up_and_the_grace_holds(house, monkeypatch):
    monkeypatch.setattr(asking, "PATIENCE", 0.1)
    one = await house.open(recheck_grace=3 * PERIOD)
    house.provider.hangs = 0.01  # and it swallows its cancellation
    await until(lambda: one.closed is not None)
    assert one.closed[0] == 4401
    assert house.events[0]["error"] == "TimeoutError"


async def test_a_provider_that_sends_a_browser_to_its_login_has_said_no(house):
    one = await house.open()
    house.provider.elsewhere = True
    await until(lambda: one.closed == ENDED)


async def test_a_proxys_word_is_asked_again_for_each_user_by_their_own_request(house):
    shared = [("Authorization", "Basic the-proxys-own")]
    ada, bob = await house.open("ada", fields=shared), await house.open("bob", fields=shared)

    def is_authorized(handler, user, action, resource):
        return user.username != "bob"

    house.authorizer.is_authorized = is_authorized
    await until(lambda: bob.closed == FORBIDDEN)
    assert ada.closed is None


async def test_many_sockets_with_the_same_word_of_a_proxy_cost_one_question(house):
    for _ in range(20):
        await house.open()
    house.provider.asked = 0
    started = asyncio.get_running_loop().time()
    await until(lambda: house.provider.asked >= 4)
    periods = (asyncio.get_running_loop().time() - started) / PERIOD
    assert house.provider.asked <= periods + 2


async def test_what_is_asked_of_the_authorizer_can_look_at_the_handler_as_at_a_handshake(house):
    one = await house.open()
    seen = []

    def is_authorized(handler, user, action, resource):
        assert handler.current_user == user
        assert handler.identity_provider.is_token_authenticated(handler) is False
        assert handler.get_signed_cookie("any") is None
        seen.append((handler.request.path, handler.path_kwargs, handler.token_authenticated))
        return True

    house.authorizer.is_authorized = is_authorized
    await until(lambda: len(seen) >= 2)
    assert seen[0] == ("/chat", {}, False)
    assert one.closed is None
    assert house.metrics.rechecks["failed"] == 0
