"""What becomes of what callbacks raise: it is told, written down, and given a reference."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from typing import Any

from ..connection.connection import Connection
from ..connection.observer import Observers
from ..errors import ConnectionClosed, MessageRefused
from ..guard import is_interrupt
from .advice import advise
from .errorlog import CallbackFailure, ErrorLog, ErrorSink


class Failures:
    """Where everything goes that callbacks raise, and that their tasks and timers do.

    Args:
        loop: The event loop.
        log: Where lines go that are no failure's.
        sink: Takes the failures; None writes them to the log.
        observers: Who hears of them.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        log: logging.Logger | logging.LoggerAdapter[Any],
        sink: ErrorSink | None,
        observers: Observers,
    ) -> None:
        self._loop = loop
        self._log = log
        self._sink = sink or ErrorLog(log)
        self._observers = observers
        self._warned_late: set[str] = set()

    def take(self, c: Connection, name: str, message: Any, error: BaseException) -> str:
        """Count and write an error; return the reference that a client may be told.

        Args:
            c: Whose callback it was.
            name: The callback's name, or what the task or the timer is called.
            message: What `on_message` got, or `on_pong`; None for others.
            error: What was raised.
        """
        advise(error)
        error_id = secrets.token_hex(4)
        failure = CallbackFailure(c, message, error, name, time.time(), error_id)
        if self._observers.failed:
            self._observers.tell(self._observers.failed, c, failure)
        try:
            self._sink.write(failure, self._loop.time())
        except BaseException as unwritten:  # an exception whose own `__str__` raises, say
            if is_interrupt(unwritten):
                raise
            self._log.error(
                "Error %s in %s, route %s, connection %s: %s, which cannot be shown: %s",
                error_id,
                name,
                c.route,
                c.id,
                type(error).__name__,
                type(unwritten).__name__,
            )
        return error_id

    def refused(self, c: Connection, name: str, error: MessageRefused) -> None:
        """Tell a client that its message is not what a function takes.

        It is the client's fault: no error of the bot's is written, and the connection stays open.

        Args:
            c: Whose message it was.
            name: The callback's name.
            error: What is wrong with it.
        """
        self._log.debug(
            "Route %s: %s was not given a message of connection %s: wrong at %s",
            c.route,
            name,
            c.id,
            error.path,
        )
        if c.closed:
            return
        if c.chat_answers is None or not c.chat_answers.refused(error.problem()):
            c.write_message(error.problem())

    def beside(self, c: Connection, label: str, error: BaseException) -> str:
        """Write what a task, a timer or a filter has raised beside a connection's callbacks.

        Args:
            c: Whose it is.
            label: What it is called in the log.
            error: What it has raised.

        Returns:
            The reference that a client may be told; empty where nothing has failed.
        """
        if type(error) is ConnectionClosed and c.closed:
            if c.route not in self._warned_late:
                self._warned_late.add(c.route)
                self._log.warning(
                    "Route %s: %s goes on after connection %s has ended: %s; stop it in on_close",
                    c.route,
                    label,
                    c.id,
                    error,
                )
            return ""
        return self.take(c, label, None, error)
