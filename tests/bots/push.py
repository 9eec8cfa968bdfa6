"""A bot that sends unasked: to all, to one, from threads, tasks and timers."""

import asyncio
import threading

from jupyter_server.serverapp import ServerApp

import jupyter_wshandler as wsh

ended = []


async def on_message(handler, message):
    word, _, rest = message.partition(" ")
    if word == "all":
        return {"sent": wsh.send("push", rest)}
    if word == "to":
        to, _, text = rest.partition(" ")
        return {"sent": wsh.send("push", text, to=to)}
    if word == "id":
        return {"id": handler.id, "user": handler.current_user.username}
    if word == "ids":
        return {"ids": [c.id for c in wsh.connections("push")]}
    if word == "thread":

        def push():
            wsh.send("push", {"from": "thread"})

        context = __import__("contextvars").copy_context()
        threading.Thread(target=context.run, args=(push,)).start()
        return None
    if word == "wrong":
        try:
            wsh.send("pusch", "x")
        except LookupError as error:
            return str(error)
    if word == "task":

        async def forever():
            try:
                await asyncio.sleep(600)
            finally:
                ended.append(handler.id)

        handler.start_task(forever(), name="forever")
        return "started"
    if word == "failing":

        async def fails():
            raise RuntimeError("a task failed")

        handler.start_task(fails())
        return "started"
    if word == "ended":
        return {"ended": ended}
    if word == "every":
        handler.every(0.05, lambda handler: "turn")
        return "started"
    if word == "activity":
        app = ServerApp.instance()
        times = app.web_app.settings["last_activity_times"]
        return {
            "message": str(times.get("wshandler")),
            "any": bool(app.extension_manager.any_activity()),
        }
    return "echo " + message


running = 0


async def slow(handler, message):
    global running
    running += 1
    await asyncio.sleep(0.35)
    assert running == 1
    running -= 1
    return "slow done"


async def tick(handler):
    assert running == 0
    handler.state.turns = handler.state.get("turns", 0) + 1
    return f"tick {handler.state.turns}"


async def never_opens(handler):
    await asyncio.sleep(600)
