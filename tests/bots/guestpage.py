"""A bot that says who has spoken, for the tests of guests' pages."""

from __future__ import annotations


async def answer(handler, message):
    """Answer with who has said what; end or fail on command."""
    if message == "close":
        return handler.close(4000, "that was it")
    user = handler.current_user
    return f"{user.display_name} ({user.kind}) says {message}"
