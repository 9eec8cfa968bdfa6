"""Save modules that break Python for the process they are imported in, each in one of its own.

Run it with a folder and the cases as JSON; it prints what became of each as JSON.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import os
import signal
import sys
from pathlib import Path

from jupyter_wshandler.config.loader import load
from jupyter_wshandler.manager import WebSocketManager

CONFIG = (
    "url:\n"
    "  b: {pattern: /b, handler: WebSocketHandler, kwargs: {on_message: hostbot.on_message}}\n"
)
GOOD = "def on_message(handler, message):\n    return %r\n"
SECONDS = 60


async def save(folder: Path, files: dict[str, str], first: bool) -> dict[str, object]:
    """Save a module and then a good one; return the errors and the answers."""
    config, bot = folder / "site.yaml", folder / "hostbot.py"
    config.write_text(CONFIG)
    source = functools.partial(load, files=[str(config)], allow_public_routes=True)
    manager = WebSocketManager(reload="off")

    def answer() -> str:
        route = manager.table.get("b")
        if route.state != "ready":
            return f"broken: {route.error}"
        return route.callbacks["on_message"].call(None, "?")

    def write() -> None:
        for name, text in files.items():
            (folder / name).write_text(text)

    if first:
        write()
    else:
        bot.write_text(GOOD % "before")
    manager.apply(source(), source)
    await manager.start()
    found: dict[str, object] = {"start": answer()}
    if not first:
        write()
        found["errors"] = list((await manager.reload()).errors)
        found["answer"] = answer()
    bot.write_text(GOOD % "mended" + "# another size\n")
    found["next errors"] = list((await manager.reload()).errors)
    found["next answer"] = answer()
    return found


def main() -> None:
    """Try each case in a forked process, before this one has any thread."""
    logging.disable()
    folder = Path(sys.argv[1])
    results = {}
    for name, case in json.loads((folder / "cases.json").read_text()).items():
        place = folder / name
        place.mkdir()
        child = os.fork()
        if child == 0:
            signal.alarm(SECONDS)
            write, exit_ = (place / "result.json").write_text, os._exit
            try:
                write(json.dumps(asyncio.run(save(place, case["files"], case["first"]))))
            except BaseException as error:
                write(json.dumps({"raised": f"{type(error).__name__}: {error}"}))
            finally:
                exit_(0)
        _, status = os.waitpid(child, 0)
        found = place / "result.json"
        results[name] = json.loads(found.read_text()) if found.exists() else {"ended": status}
    sys.stdout.write(json.dumps(results))


if __name__ == "__main__":
    main()
