"""What the directory asks the Hub: whose server has a token, who is in which group, what runs.

Sources: JupyterHub's REST API, ``GET /user`` and ``GET /users/{name}``; scopes in its reference on
roles.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

import msgspec
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest

from .codes import digest

T = TypeVar("T")

NEEDED_SCOPES = ("read:users:name", "read:users:groups", "read:servers")
"""What the directory's service may ask the Hub for, by a role of the administrator's."""

PATIENCE = 10.0
"""Seconds that the Hub has to answer."""

FRESH = 3.0
"""Seconds for which an answer counts as new: many guests are asked about at the same time."""

TOKEN_FRESH = 30.0
"""Seconds for which the Hub is not asked again whose server a token is of."""

REMEMBER = 5_000
"""Answers that are kept; the oldest are forgotten first."""

_OWN = re.compile(r"access:servers!server=(?P<owner>[^/]*)/(?P<server>.*)")


class HubSilent(Exception):
    """The Hub has not answered, or says that the directory may not ask.

    Args:
        sentence: What it was, in words that hold no secret.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class ServerId(NamedTuple):
    """A server of a user's, as the Hub knows it.

    Attributes:
        owner: The name of the user.
        name: The name of the server; "" for the default one.
    """

    owner: str
    name: str


class Place(NamedTuple):
    """Where a server is.

    Attributes:
        url: Its URL, or its path at the Hub's host, with a slash at its end; "" where the Hub does
            not know such a server.
        ready: Whether it runs.
    """

    url: str
    ready: bool


class HubUser(NamedTuple):
    """A user as the Hub knows them.

    Attributes:
        name: The name.
        groups: Names of the user's groups.
        servers: Where the user's servers are, by name.
    """

    name: str
    groups: tuple[str, ...]
    servers: dict[str, Place]


class _Answers:
    """The newest answers, for a moment; who asks for the same at the same time asks once."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._kept: OrderedDict[str, tuple[float, asyncio.Task[Any]]] = OrderedDict()

    async def get(self, key: str, ask: Callable[[], Awaitable[T]]) -> T:
        """Return a fresh answer, asked for where there is none."""
        at, task = self._kept.get(key, (0.0, None))
        if task is None or (task.done() and (_failed(task) or monotonic() - at >= self._seconds)):
            task = asyncio.get_running_loop().create_task(
                _run(ask), name="wshandler directory asks the Hub"
            )
            # Everybody who has waited for it may have left; then nobody looks at its failure.
            task.add_done_callback(_failed)
            self._kept.pop(key, None)
            self._kept[key] = (monotonic(), task)
            while len(self._kept) > REMEMBER:
                self._kept.popitem(last=False)
        # Who leaves must not take the answer from the others.
        found: T = await asyncio.shield(task)
        return found

    async def stop(self) -> None:
        """Ask nothing any more."""
        tasks = [task for _, task in self._kept.values() if not task.done()]
        self._kept.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def _run(ask: Callable[[], Awaitable[T]]) -> T:
    return await ask()


def _failed(task: asyncio.Task[Any]) -> bool:
    return task.cancelled() or task.exception() is not None


class Hub:
    """The questions of the directory to the Hub.

    Args:
        hub_auth: JupyterHub's HubAuth, which knows where the Hub is and has the service's token.
    """

    def __init__(self, hub_auth: Any) -> None:
        self._api_url = str(hub_auth.api_url).rstrip("/")
        self._token = str(hub_auth.api_token)
        self._ssl = ssl_of(hub_auth)
        self._client = AsyncHTTPClient(force_instance=True, max_clients=20)
        self._tokens = _Answers(TOKEN_FRESH)
        self._users = _Answers(FRESH)

    async def server_of(self, token: str) -> ServerId | None:
        """Return whose server has a token, or None where it is no server's.

        Only what the Hub has given to one server, and whose user is the owner of that server,
        counts: not a user's own token, which may do more, nor the login of a visitor.

        Args:
            token: What came with a request.

        Raises:
            HubSilent: The Hub cannot be asked.
        """
        return await self._tokens.get(digest(token), lambda: self._server_of(token))

    async def _server_of(self, token: str) -> ServerId | None:
        found = await self._ask("user", token)
        return None if found is None else server_in(found)

    async def user(self, name: str) -> HubUser | None:
        """Return what the Hub knows of a user now, or None where there is none.

        Args:
            name: The Hub's name of the user.

        Raises:
            HubSilent: The Hub cannot be asked.
        """
        return await self._users.get(name, lambda: self._user(name))

    async def _user(self, name: str) -> HubUser | None:
        path = f"users/{quote(name, safe='')}?include_stopped_servers"
        found = await self._ask(path, self._token)
        if found is None:
            await self._refuse_without_scopes()
            return None
        missing = [key for key in ("name", "groups", "servers") if key not in found]
        if missing:
            raise HubSilent(lacking(list(NEEDED_SCOPES)))
        servers = {
            str(server): Place(str(model.get("url") or ""), bool(model.get("ready")))
            for server, model in found["servers"].items()
        }
        return HubUser(str(found["name"]), tuple(map(str, found["groups"])), servers)

    async def missing_scopes(self) -> list[str]:
        """Return which of the scopes that it needs the directory's service does not have.

        Raises:
            HubSilent: The Hub cannot be asked.
        """
        found = await self._tokens.get("", lambda: self._ask("user", self._token))
        own = set(found.get("scopes") or ()) if found is not None else set()
        return [scope for scope in NEEDED_SCOPES if scope not in own]

    async def _refuse_without_scopes(self) -> None:
        """Tell a user that the Hub does not know from one that this service may not hear of.

        Raises:
            HubSilent: It may not.
        """
        missing = await self.missing_scopes()
        if missing:
            raise HubSilent(lacking(missing))

    async def stop(self) -> None:
        """Ask nothing any more."""
        await self._tokens.stop()
        await self._users.stop()
        self._client.close()

    async def _ask(self, path: str, token: str) -> dict[str, Any] | None:
        request = HTTPRequest(
            f"{self._api_url}/{path}",
            headers={"Authorization": f"token {token}", "Accept": "application/json"},
            connect_timeout=PATIENCE,
            request_timeout=PATIENCE,
            follow_redirects=False,
            ssl_options=self._ssl,
        )
        try:
            answer = await self._client.fetch(request)
            found = msgspec.json.decode(answer.body)
        except HTTPClientError as error:
            # 403 for a token that is nobody's, 404 for a user whom it does not know.
            if error.code in (403, 404):
                return None
            raise HubSilent(f"the Hub has answered {error.code}") from None
        except (OSError, msgspec.MsgspecError) as error:
            raise HubSilent(f"the Hub has not answered: {type(error).__name__}") from None
        if not isinstance(found, dict):
            raise HubSilent("the Hub has answered with something else than expected")
        return found


def lacking(scopes: list[str]) -> str:
    """Return what to do where scopes are missing, in one sentence.

    Args:
        scopes: Those that are missing.
    """
    return (
        f"the directory may not ask the Hub for what it needs: give this service a role with the "
        f"scopes {', '.join(scopes)} (c.JupyterHub.load_roles)"
    )


def server_in(model: dict[str, Any]) -> ServerId | None:
    """Return the one server that a token is of, from the Hub's answer to whose it is, or None.

    Args:
        model: The answer of ``GET /user``.
    """
    if model.get("kind") != "user":
        return None
    found = set()
    for scope in model.get("scopes") or ():
        match = _OWN.fullmatch(str(scope))
        if match is not None:
            found.add(ServerId(match["owner"], match["server"]))
    if len(found) != 1:
        return None
    server = found.pop()
    return server if server.owner == model.get("name") else None


def ssl_of(hub_auth: Any) -> ssl.SSLContext | None:
    """Return how to speak with a Hub that has certificates of its own, or None for any other.

    Args:
        hub_auth: JupyterHub's HubAuth.
    """
    if not hub_auth.keyfile or not hub_auth.certfile:
        return None
    context = ssl.create_default_context(cafile=hub_auth.client_ca or None)
    context.load_cert_chain(hub_auth.certfile, hub_auth.keyfile)
    return context
