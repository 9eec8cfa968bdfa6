"""Asking again, with JupyterHub's own identity provider and a Hub that can be slow or wrong."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace

import pytest
from jupyter_server.auth import AllowAllAuthorizer
from jupyterhub.services.auth import HubOAuth
from jupyterhub.singleuser.extension import JupyterHubIdentityProvider
from support.memory import until
from tornado.web import Application, HTTPError

from jupyter_wshandler.config.model import AuthConfig
from jupyter_wshandler.connection.request import Request
from jupyter_wshandler.metrics import Metrics
from jupyter_wshandler.server.access.recheck import Recheck

PERIOD = 0.2

ENDED = (4401, "your login has ended")
FORBIDDEN = (4403, "you are no longer allowed here")


class Hub(HubOAuth):
    """The Hub's answers without a Hub: scopes by token, and seconds that an answer takes."""

    def __init__(self, **scopes):
        super().__init__(
            api_token="of-the-server", oauth_client_id="client", access_scopes={"access:servers"}
        )
        self.scopes_of = scopes
        self.slow: dict[str, float] = {}
        self.asked: list[str] = []

    async def _api_request(self, method, url, /, **kwargs):
        token = kwargs["headers"]["Authorization"].removeprefix("token ")
        self.asked.append(token)
        await asyncio.sleep(self.slow.get(token, 0))
        if token not in self.scopes_of:
            return None
        scopes = self.scopes_of[token]
        return {"name": f"user-{token}", "kind": "user", "groups": [], "scopes": scopes}


class Provider(JupyterHubIdentityProvider):
    """JupyterHub's own, which may also refuse with an exception."""

    refuses = False

    async def get_user(self, handler):
        if self.refuses:
            raise HTTPError(403, "banned")
        return await super().get_user(handler)


class Route:
    """What the recheck needs of a route."""

    name = "chat"

    def __init__(self, recheck: float) -> None:
        self.config = SimpleNamespace(auth=AuthConfig(recheck=recheck))


class Connection:
    """What the recheck needs of a connection."""

    def __init__(self, token: str, recheck: float) -> None:
        self.entry = Route(recheck)
        self.route, self.id, self.current_user = "chat", f"{token}-{id(self)}", None
        pairs = [("Authorization", f"token {token}"), ("Host", "localhost")]
        self.request = Request(pairs, "/chat", "127.0.0.1", "http", "localhost")
        self.credential = None
        self.closed: tuple[int, str] | None = None
        self.broken = False

    def take_credential(self, digest):
        self.credential = digest

    def end(self, code, reason):
        if self.broken:
            raise OSError("a transport that fails")
        self.closed = (int(code), reason)


class House:
    """A recheck that runs, and what it works with."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.provider = Provider(hub_auth=hub)
        application = Application(
            identity_provider=self.provider,
            authorizer=AllowAllAuthorizer(),
            base_url="/",
            cookie_secret="s",
            headers={},
            allow_remote_access=True,
        )
        self.metrics = Metrics()
        self.manager = SimpleNamespace(
            connections={}, log=logging.getLogger("test"), metrics=self.metrics
        )
        self.given_up: list[str] = []
        self.manager.give_up = self._give_up
        self.events: list[tuple[str, dict]] = []
        refusals = SimpleNamespace(
            closed=lambda *args: None, emit=lambda *event: self.events.append(event)
        )
        self.recheck = Recheck(application, self.manager, refusals)

    def _give_up(self, name: str) -> None:
        self.given_up.append(name)
        del self.manager.connections[name]

    async def open(self, token: str, recheck: float = PERIOD) -> Connection:
        """Open a connection as the handshake does."""
        connection = Connection(token, recheck)
        handler = self.recheck._handler(connection)
        with self.recheck.fresh(recheck):
            handler.current_user = await handler.identity_provider.get_user(handler)
        assert handler.current_user is not None
        assert self.recheck.note_login(handler, connection)
        self.manager.connections[connection.id] = connection
        return connection


@pytest.fixture
async def house():
    hub = Hub(a=["access:servers"], b=["access:servers"])
    built = House(hub)
    built.recheck.start()
    yield built
    await asyncio.wait_for(built.recheck.stop(), 5)
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("wshandler")]


async def test_an_answer_that_is_late_holds_nobody_else_up(house):
    slow, other = await house.open("a"), await house.open("b")
    house.hub.slow["a"] = 60
    await until(lambda: house.hub.asked.count("a") >= 2)
    del house.hub.scopes_of["b"]
    await until(lambda: other.closed == ENDED)
    assert slow.closed is None


async def test_what_goes_wrong_with_one_connection_does_not_end_the_asking(house, caplog):
    one, beside, other = await house.open("a"), await house.open("a"), await house.open("b")
    one.broken = True
    del house.hub.scopes_of["a"]
    await until(lambda: "a transport that fails" in caplog.text and beside.closed == ENDED)
    del house.hub.scopes_of["b"]
    await until(lambda: other.closed == ENDED)


async def test_what_goes_wrong_with_all_of_them_does_not_end_the_asking(house, caplog):
    one = await house.open("a")
    connections, house.manager.connections = house.manager.connections, None
    await until(lambda: "Open connections could not be looked at" in caplog.text)
    house.manager.connections = connections
    del house.hub.scopes_of["a"]
    await until(lambda: one.closed == ENDED)


async def test_a_connection_that_cannot_be_looked_at_is_given_up_and_the_others_asked_about(house):
    one = await house.open("a")
    house.manager.connections["broken"] = SimpleNamespace(_route=None)
    del house.hub.scopes_of["a"]
    await until(lambda: one.closed == ENDED)
    assert house.given_up == ["broken"]


async def test_a_refusal_that_is_raised_is_a_refusal(house):
    one = await house.open("a")
    house.provider.refuses = True
    await until(lambda: one.closed in (ENDED, FORBIDDEN))


async def test_an_authorizer_that_refuses_one_route_by_raising_closes_that_one_only(house):
    one, other = await house.open("a"), await house.open("a")
    other.entry.name = other.route = "other"

    def is_authorized(handler, user, action, resource):
        if resource == "wshandler:other":
            raise HTTPError(403)
        return True

    house.recheck._application.settings["authorizer"].is_authorized = is_authorized
    await until(lambda: other.closed == FORBIDDEN)
    assert one.closed is None


async def test_a_right_that_comes_back_counts_again(house):
    one = await house.open("a")
    house.hub.cache_max_age = 0
    house.hub.scopes_of["a"] = []
    await until(lambda: one.closed == FORBIDDEN)
    house.manager.connections.clear()
    house.hub.scopes_of["a"] = ["access:servers"]
    await asyncio.sleep(PERIOD)
    await house.open("a")


async def test_a_login_that_was_found_to_have_ended_is_refused_by_routes_that_never_ask(house):
    await house.open("a", recheck=0)
    one = await house.open("a")
    del house.hub.scopes_of["a"]
    await until(lambda: one.closed == ENDED)
    never = Connection("a", recheck=0)
    handler = house.recheck._handler(never)
    handler.current_user = None
    assert house.recheck.note_login(handler, never) is True  # nobody was asked yet
    handler.current_user = "somebody"
    handler._token_authenticated = True
    assert house.recheck.note_login(handler, never) is False


async def test_one_credential_is_asked_about_once_a_period_however_many_connections(house):
    for _ in range(20):
        await house.open("a")
    started = asyncio.get_running_loop().time()
    await until(lambda: house.hub.asked.count("a") >= 6)
    periods = (asyncio.get_running_loop().time() - started) / PERIOD
    assert house.hub.asked.count("a") <= periods + 2


@pytest.mark.parametrize("turns", range(4))
async def test_stop_ends_whatever_happens_in_its_last_moments(turns):
    built = House(Hub(a=["access:servers"]))
    built.recheck.start()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await built.open("a")
    for _ in range(turns):
        await asyncio.sleep(0)
    await asyncio.wait_for(built.recheck.stop(), 5)


async def test_a_hub_that_is_down_is_no_busy_loop(house, monkeypatch):
    monkeypatch.setattr("jupyter_wshandler.server.access.hub.RETRY", 0.0)
    one = await house.open("a")

    async def down(method, url, /, **kwargs):
        house.hub.asked.append("down")
        raise HTTPError(500)

    house.hub._api_request = down
    started = asyncio.get_running_loop().time()
    await until(lambda: house.hub.asked.count("down") >= 5)
    assert asyncio.get_running_loop().time() - started >= 4 * PERIOD
    assert one.closed is None
