"""The one question that is put to Jupyter's Authorizer: may this user do that here?

It is put when a route is opened, when a page asks for a ticket, for each address of the API, and
again and again while connections are open. What differs is only who waits for the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from inspect import isawaitable

from jupyter_server.base.handlers import JupyterHandler

from ...routes import Route
from .asking import AUTHORIZER, PATIENCE, Asker

ACTION = "execute"
"""What Jupyter calls it to run code: that is what a message to a bot does."""

READ, WRITE = "read", "write"
"""What it calls to look at what is there, and to change it: a message to a bot's clients does."""

RESOURCE = "wshandler"
"""What the Authorizer knows the extension by; see `resource_of` for one of its routes."""


def resource_of(route: Route) -> str:
    """Return what the Authorizer knows a route by.

    Args:
        route: The route.
    """
    return f"{RESOURCE}:{route.name}"


async def is_authorized(
    asker: Asker,
    handler: JupyterHandler,
    resource: str,
    action: str = ACTION,
    *,
    patience: float = PATIENCE,
    gone: asyncio.Future[None] | None = None,
) -> bool:
    """Ask the Authorizer whether a handler's user may do something.

    Args:
        asker: Asks.
        handler: A handler whose user is known.
        resource: With what: `RESOURCE`, or one of `resource_of`.
        action: What is to be done: `ACTION`, `READ` or `WRITE`.
        patience: Seconds that the answer may take.
        gone: Done when nobody waits for the answer any more.

    Raises:
        Denied: It has said no by raising.
        Unanswered: It has failed, or does not answer.
        ClientGone: `gone` is done.
    """
    user = handler.current_user

    def question() -> object:
        answer = handler.authorizer.is_authorized(handler, user, action, resource)
        # What it returns is of the Authorizer's making, too: where that has no truth value, it is
        # the Authorizer that has failed.
        return _truth(answer) if isawaitable(answer) else bool(answer)

    return bool(await asker.ask(AUTHORIZER, question, handler, patience, gone))


async def _truth(answer: Awaitable[object]) -> bool:
    return bool(await answer)
