"""Log lines that nobody would read are not made.

Jupyter's log has the level DEBUG at all times, and its handlers leave out what is below
``--log-level``: each line is made whole before it is thrown away, three of them for a handshake.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.log import log_request
from jupyter_server.prometheus import log_functions


class HeardLog(logging.Logger):
    """Another log, but that it makes only those lines that a handler would take.

    Args:
        log: The other one. Its handlers, levels and filters are obeyed as they are when a line is
            to be made; what is set here is set there.
    """

    def __init__(self, log: logging.Logger) -> None:
        super().__init__(log.name)
        self.parent = self.whole = log
        self.filters = log.filters

    def isEnabledFor(self, level: int) -> bool:
        """Return whether a line of a level is written by anybody."""
        return self.whole.isEnabledFor(level) and level >= _lowest(self.whole)

    def getEffectiveLevel(self) -> int:
        """Return the other's level."""
        return self.whole.getEffectiveLevel()

    def setLevel(self, level: int | str) -> None:
        """Set the other's level."""
        if hasattr(self, "whole"):  # the base class sets its own at first
            self.whole.setLevel(level)

    def addHandler(self, hdlr: logging.Handler) -> None:
        """Give the other one a handler."""
        self.whole.addHandler(hdlr)

    def removeHandler(self, hdlr: logging.Handler) -> None:
        """Take a handler from the other one."""
        self.whole.removeHandler(hdlr)


_known: dict[logging.Logger, HeardLog] = {}

KNOWN_AT_MOST = 16


def heard(log: Any) -> Any:
    """Return a log that makes only those lines of another one that somebody would read.

    Args:
        log: The other one; what is no plain `logging.Logger` is returned as it is.
    """
    if not isinstance(log, logging.Logger) or isinstance(log, HeardLog):
        return log
    if log not in _known:
        if len(_known) >= KNOWN_AT_MOST:
            _known.clear()
        _known[log] = HeardLog(log)
    return _known[log]


def _lowest(log: logging.Logger) -> int:
    """Return the lowest level that a handler takes of those that a log's lines go to."""
    level = logging.CRITICAL
    found = False
    at: logging.Logger | None = log
    while at is not None:
        for handler in at.handlers:
            found = True
            level = min(level, handler.level)
        at = at.parent if at.propagate else None
    return level if found else logging.NOTSET


def counted(handler: JupyterHandler) -> bool:
    """Count a request as Jupyter's own log function does beside its line; return whether it did.

    Args:
        handler: Has answered, and nobody would read the line about it.
    """
    log = handler.settings.get("log_function")
    if not isinstance(log, partial) or log.func is not log_request or log.args:
        return False
    if log.keywords.keys() != {"record_prometheus_metrics"}:
        return False
    if log.keywords["record_prometheus_metrics"]:
        log_functions.prometheus_log_method(handler)  # type: ignore[no-untyped-call]
    return True
