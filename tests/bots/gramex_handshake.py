"""Bots that tell who has come, with which session, and how often."""

import asyncio

from journal import note


async def who(handler, message):
    user = handler.current_user
    return {"user": user and user.username, "session": handler.session["id"], "id": handler.id}


def remember(handler, message):
    before = handler.session.get("word")
    handler.session["word"] = message
    return {"before": before, "session": handler.session["id"]}


def closed(handler):
    note(handler, "close", handler.close_code)


def opened(handler):
    handler.state.count = 0


def count(handler, message):
    handler.state.count += 1
    return {"session": handler.session["id"], "id": handler.id, "count": handler.state.count}


def late(handler):
    del handler.state.count
    note(handler, "closed", handler.id)


def yes(handler):
    return handler.current_user.username == "ann"


async def fails(handler):
    await asyncio.sleep(0)
    raise RuntimeError("a-detail-only-the-log-knows")
