"""A notebook's bot with rooms, and what its cells do with them."""

import jupyter_wshandler as wsh


async def open(handler):
    """Say which rooms it is in when `open` runs."""
    handler.write_message(f"in {','.join(handler.rooms)}")


async def on_message(handler, message):
    """Obey one word: join, leave, count, order, members, history, pm."""
    word, _, rest = message.partition(" ")
    if word == "join":
        try:
            await handler.join(rest)
        except wsh.RoomRefused as refusal:
            return f"refused: {refusal}"
        return f"in {','.join(handler.rooms)}"
    if word == "leave":
        await handler.leave(rest)
        return f"in {','.join(handler.rooms)}"
    if word == "count":
        return list(await handler.broadcast(rest))
    if word == "others":
        handler.broadcast(rest.encode(), exclude_self=True)
        return "said"
    if word == "order":
        handler.write_message("1")
        handler.broadcast("2")
        handler.write_message("3")
        handler.broadcast("4")
        return "5"
    if word == "members":
        members = await wsh.room("blue").members()
        return [[member.id, member.connections] for member in members]
    if word == "history":
        return [[one.offset, str(one.message)] for one in await wsh.room("blue").history()]
    if word == "pm":
        user, _, text = rest.partition(" ")
        await wsh.to_user(user).send(text)
    return None


bot = wsh.serve(
    "/nb/{room}",
    open=open,
    on_message=on_message,
    name="nb",
    rooms=["{room}", "user:{user}"],
    space="shared",
    presence=True,
    history={"size": 5, "replay": 2},
)
