"""Bots that say who is there, for the tests of shares."""

from __future__ import annotations


async def who(handler, message):
    """Answer with what a bot sees of whoever asks."""
    user = handler.current_user
    count = handler.session["count"] = handler.session.get("count", 0) + 1
    return {
        "kind": user.kind,
        "username": user.username,
        "name": user.name,
        "share": getattr(user, "share", None),
        "session": handler.session["id"],
        "count": count,
        "arguments": sorted(handler.request.arguments),
    }


async def refuses_label(handler):
    """Let in whoever is not called Mallory."""
    return handler.current_user is None or handler.current_user.name != "Mallory"


class Nobody:
    """What a careless bot has in place of a user: whoever looks at it is in for a surprise."""

    kind = "guest"
    share: list = []

    @property
    def username(self):
        """Raise."""
        raise RuntimeError("there is nobody")


async def writes_over(handler, message):
    """Write over who asks."""
    handler.current_user = Nobody()
    return "done"
