"""Signals that stop a server: what Jupyter leaves to chance about them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any


def stop_in_order_on_sigint() -> None:
    """Let SIGINT do what SIGTERM does, where nobody else takes it.

    JupyterHub stops a local server with SIGINT, and without a terminal jupyter_server leaves that
    to Python: the process would end with its sockets open.
    """
    if (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        and callable(signal.getsignal(signal.SIGTERM))
    ):
        signal.signal(signal.SIGINT, signal.getsignal(signal.SIGTERM))


def stop_once(serverapp: Any, again: Callable[[], None]) -> None:
    """Let a further signal to stop do nothing while a server stops.

    jupyter_server begins to stop anew at each: kernels are shut down twice at the same time, and
    the loop ends with the first, in the middle of the others. A stop that has failed may be tried
    again.

    Args:
        serverapp: The server.
        again: Called at a further signal.
    """
    # It has no public name: `ServerApp.stop` only puts this coroutine on the loop, once a signal.
    stop, is_stopping = serverapp._stop, False

    async def stop_unless_stopping() -> None:
        nonlocal is_stopping
        if is_stopping:
            again()
            return
        is_stopping = True
        try:
            await stop()
        finally:
            is_stopping = False

    serverapp._stop = stop_unless_stopping
