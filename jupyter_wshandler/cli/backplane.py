"""``jupyter wshandler check --backplane``: try out what is to join several servers."""

from __future__ import annotations

import asyncio
import sys
from typing import TextIO

from ..backplane.base import PREFIX
from ..backplane.choose import MEMORY, open_backplane


def check_backplane(url: str, prefix: str = "", *, stream: TextIO | None = None) -> int:
    """Try a backplane out and print what was found; nothing of a login is shown.

    Args:
        url: Where it is, as `c.WSHandlerApp.backplane` has it.
        prefix: What the names of its keys begin with; what a server takes by itself where empty.
        stream: Where to print; standard output if None.

    Returns:
        The exit status: 0 if all is well, 1 if there is a problem.
    """
    stream, prefix = stream or sys.stdout, prefix or PREFIX
    try:
        open_backplane(url, prefix=prefix)
        if url == MEMORY:
            print("backplane: this server's own memory; no other server joins", file=stream)
            return 0
        from ..backplane.redis.probe import probe

        found = asyncio.run(probe(url, prefix))
    except ValueError as error:
        print(f"backplane: {error}", file=stream)
        return 1
    print(f"backplane {found.shown}: {found.name or 'not reached'}", file=stream)
    for sentence in found.advice:
        print(f"  note: {sentence}", file=stream)
    if found.problem:
        print(f"  problem: {found.problem}", file=stream)
        return 1
    print(f"  good: a message comes back after {1000 * found.seconds:.1f} ms", file=stream)
    return 0
