"""A program that counts in one session of a file, fifty times."""

import asyncio
import logging
import sys

from jupyter_wshandler.sessions.manager import SessionManager
from jupyter_wshandler.sessions.stores import open_store


async def main():
    manager = SessionManager(open_store(sys.argv[1]), log=logging.getLogger())
    for _ in range(50):
        session = await manager.attach("shared", "user:alice")
        manager.touch(session)
        session["n"] = session.get("n", 0) + 1
        manager.detach(session)
        while manager._live:
            await asyncio.sleep(0.001)
    await manager.stop()


asyncio.run(main())
