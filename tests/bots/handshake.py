"""Bots that tell what the handshake has brought, and choosers of a subprotocol."""


async def echo(handler, message):
    return message


async def who(handler, message):
    return {
        "session": handler.session["id"],
        "user": handler.current_user and handler.current_user.username,
        "path_args": list(handler.path_args),
        "path_kwargs": dict(handler.path_kwargs),
        "args": handler.args,
        "subprotocol": handler.subprotocol,
    }


def choose(handler, protocols):
    return protocols[-1]


def invent(handler, protocols):
    return "never-offered"


def fail(handler, protocols):
    raise RuntimeError("a-detail-only-the-log-knows")


def never(handler):
    return False
