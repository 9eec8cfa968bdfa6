"""A bot behind a proxy: it echoes, fails, and closes with the code that it is told."""

ends = {}


async def echo(handler, message):
    if message == "fail":
        raise RuntimeError("a bot with a fault")
    return message


def gone(handler):
    ends[handler.id] = (handler.close_code, handler.close_reason)


async def end(handler, message):
    if message == "last":
        return list(ends.values())[-1] if ends else None
    code, _, reason = message.partition(" ")
    handler.close(int(code), reason)
    return None
