"""An identity provider and an Authorizer that fail as a request's header says."""

import asyncio
import contextlib

from jupyter_server.auth.authorizer import Authorizer
from jupyter_server.auth.identity import PasswordIdentityProvider
from tornado.web import HTTPError

DETAIL = "a-detail-only-the-log-knows"


class Odd(Exception):
    def __str__(self):
        raise RuntimeError("cannot be shown")


class Mute:
    @property
    def username(self):
        raise RuntimeError(DETAIL)


async def does(handler, who):
    how = handler.request.headers.get("X-" + who)
    while how == "hangs":
        await asyncio.sleep(3600)
    while how == "stubborn":
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
    errors = {
        "raises": RuntimeError(DETAIL),
        "unreachable": ConnectionRefusedError(DETAIL),
        "times-out": TimeoutError(DETAIL),
        "exits": SystemExit(DETAIL),
        "group": BaseExceptionGroup(DETAIL, [SystemExit(1)]),
        "cancels": asyncio.CancelledError(DETAIL),
        "odd": Odd(),
        "502": HTTPError(502, DETAIL),
        "401": HTTPError(401, reason="No"),
    }
    if how in errors:
        raise errors[how]
    return how


class Provider(PasswordIdentityProvider):
    async def get_user(self, handler):
        how = await does(handler, "Identity")
        if how == "wrong":
            return DETAIL
        if how == "mute":
            return Mute()
        return await super().get_user(handler)

    def _raise(self, handler, what):
        if handler.request.headers.get("X-Identity") == what:
            raise RuntimeError(DETAIL)

    def is_token_authenticated(self, handler):
        self._raise(handler, "token")
        return super().is_token_authenticated(handler)

    def should_check_origin(self, handler):
        self._raise(handler, "origin")
        return super().should_check_origin(handler)

    def get_token(self, handler):
        if getattr(handler, "_jupyter_current_user", None):
            self._raise(handler, "which-token")
        return super().get_token(handler)


class Keeper(Authorizer):
    async def is_authorized(self, handler, user, action, resource):
        how = await does(handler, "Keeper")
        if how == "bool":

            class Neither:
                def __bool__(self):
                    raise RuntimeError(DETAIL)

            return Neither()
        return how != "no"
