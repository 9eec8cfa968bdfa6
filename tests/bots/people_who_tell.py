"""An identity provider and an Authorizer that write down what they are asked about."""

from __future__ import annotations

from pathlib import Path

from jupyter_server.auth import Authorizer, PasswordIdentityProvider


class Telling(PasswordIdentityProvider):
    """Jupyter's own, which tells of every request that it is asked about."""

    async def get_user(self, handler):
        """Write down what the request shows."""
        shown = handler.request.headers.get("Authorization", "")
        with Path("asked.log").open("a") as log:
            log.write(f"{handler.request.uri} {shown}\n")
        return await super().get_user(handler)


class Keeper(Authorizer):
    """One that lets everybody do everything, and writes down whom it is asked about."""

    async def is_authorized(self, handler, user, action, resource):
        """Write down who wants what."""
        with Path("asked.log").open("a") as log:
            log.write(f"authorize {user.username} {resource}\n")
        return True
