"""A script that sends to the clients of a server's routes, and prints what comes of it.

Its arguments are the URL of the server, "" for the one that is found, and what to do.
"""

import asyncio
import contextlib
import os
import sys
import threading

import jupyter_wshandler as wsh

SERVER, WHAT = sys.argv[1:3]

where = {"server": SERVER} if SERVER else {}


def failed(delivery):
    try:
        return repr(delivery.result())
    except Exception as error:
        return f"{type(error).__mro__[0].__name__} {isinstance(error, LookupError)}: {error}"


async def awaits():
    sent = await wsh.send("push", "awaited", **where)
    print(sent == 1, sent + 1, f"{sent}", sent, repr(sent))
    print(await wsh.send("push", b"bytes", **where))
    print(int(await wsh.send("push", {"n": 1}, to="nobody", **where)))
    try:
        await wsh.send("pusch", "x", **where)
    except LookupError as error:
        print(error)


async def gives_up():
    """Await a message behind a server that does not answer, for a while."""
    first = wsh.send("push", "first", **where)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(wsh.send("push", "never sent", **where), 0.2)
    print(first.done)


if WHAT == "plain":
    print(repr(wsh.send("push", "plain", **where).result()))
elif WHAT == "unawaited":
    deliveries = [wsh.send("push", number, **where) for number in range(4)]
    print(sum(delivery.done for delivery in deliveries))
elif WHAT == "await":
    asyncio.run(awaits())
elif WHAT == "unknown":
    print(failed(wsh.send("pusch", "x", **where)))
    print(failed(wsh.send("", "x", **where)))
    print(failed(wsh.send("\ud800", "x", **where)))
elif WHAT == "unheard":
    for _ in range(3):
        wsh.send("pusch", "x", **where)
    print("goes on")
elif WHAT == "truth":
    delivery = wsh.send("push", "x", **where)
    try:
        bool(delivery)
    except TypeError as error:
        print(error)
    print(delivery.result() == 1, delivery)
elif WHAT == "wrong":
    for value in (None, {1, object()}, "\ud800"):
        try:
            wsh.send("push", value, **where)
        except (TypeError, ValueError) as error:
            print(type(error).__name__)
    try:
        wsh.send("push", "x", server="ftp://host/")
    except ValueError as error:
        print(error)
elif WHAT == "gives up":
    asyncio.run(gives_up())
elif WHAT == "fork":
    wsh.send("push", "parent", **where).result()
    child = os.fork()
    if not child:
        print(repr(wsh.send("push", "child", **where).result()), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
elif WHAT == "threads":
    done = []
    threads = [
        threading.Thread(target=lambda n=n: done.append(wsh.send("push", n, **where).result()))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(sum(done), [t.name for t in threading.enumerate() if "outbox" in t.name])
elif WHAT == "many":
    deliveries = [wsh.send("push", "x" * 10, **where) for _ in range(1002)]
    print(sum(d.done for d in deliveries) > 0, failed(deliveries[-1]))
    os._exit(0)
