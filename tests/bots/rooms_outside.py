"""A script that speaks to the rooms of a server, and prints what comes of it.

Its arguments are the URL of the server, "" for the one that is found, and what to do.
"""

import asyncio
import sys

import jupyter_wshandler as wsh

SERVER, WHAT = sys.argv[1:3]

where = {"server": SERVER} if SERVER else {}

blue = wsh.room("blue", space="talk", **where)


def failed(function):
    try:
        return repr(function())
    except Exception as error:
        return f"{type(error).__name__} {isinstance(error, LookupError)}: {error}"


async def awaits():
    """Ask everything on an event loop of its own, where nobody may wait."""
    print(await blue.send({"n": 1}))
    print(await blue.send(b"\0\1"))
    members = await blue.members()
    print([(m.id.partition("/")[0], m.connections) for m in members], members.total)
    said = await blue.history()
    print([(one.offset, one.message) for one in said], said.offset, said.complete)
    later = await blue.history(since=(said.epoch, said[0].offset))
    print([one.offset for one in later], later.complete)
    print([one.offset for one in await blue.history(limit=1)])
    print(await blue.clear(), len(await blue.history()))


if WHAT == "plain":
    print(blue, blue.send("from a script").result())
    print([one.message for one in blue.history()], len(blue.members()))
    print(blue.clear().result())
elif WHAT == "names":
    for name in ("é ?#&", "a/b %2F"):
        odd = wsh.room(name, space="talk", **where)
        print(odd.send(name).result().delivered, [one.message for one in odd.history()])
elif WHAT == "order":
    for number in range(5):
        blue.send(number)
    print([one.message for one in blue.history()][-5:])
elif WHAT == "await":
    asyncio.run(awaits())
elif WHAT == "unheard":
    wsh.room("blue", space="nowhere", **where).send("x")
    delivery = blue.send("heard")
    print(failed(lambda: delivery.result().delivered), delivery)
elif WHAT == "wrong":
    print(failed(lambda: wsh.room("blue", **where)))
    print(failed(lambda: wsh.room("", space="talk", **where)))
    print(failed(lambda: wsh.room("blue", space="nowhere", **where).send("x").result()))
    print(failed(lambda: wsh.room("blue", space="", **where).send("x").result()))
    print(failed(lambda: wsh.room("blue", space="\ud800", **where).send("x").result()))
    print(failed(lambda: wsh.room("blue", space="bare", **where).history()))
    print(failed(lambda: wsh.room("blue", space="bare", **where).members()))
    print(failed(lambda: blue.send(None)))
    print(failed(lambda: blue.send("\ud800")))
    print(failed(lambda: bool(blue.clear())))
