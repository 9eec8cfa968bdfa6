"""A program with a thread that never returns; it ends all the same."""

import asyncio
import threading

from jupyter_wshandler.callbacks.pool import ThreadPool


async def main():
    pool = ThreadPool(2)
    pool.submit(threading.Event().wait, label="stuck")
    await pool.submit(pow, 1, 1, label="x")
    print(await pool.stop(0.05))


asyncio.run(main())
