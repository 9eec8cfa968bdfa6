"""Tracebacks that show the test and the bot, and nothing of what is between them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from ..callbacks.errorlog import users_part
from ..errors import WSHandlerError

P = ParamSpec("P")
T = TypeVar("T")

__tracebackhide__ = True

_SAID_IN_WORDS = (AssertionError, TimeoutError, WSHandlerError)
"""What our own code raises on purpose: where it does so helps nobody."""


def brief(method: Callable[P, T]) -> Callable[P, T]:
    """Leave our own frames out of what a method raises, for pytest and for a notebook."""

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        __tracebackhide__ = True  # IPython looks for it in a frame only
        try:
            return method(*args, **kwargs)
        except BaseException as error:
            own = users_part(error.__traceback__)
            if own is not None or isinstance(error, _SAID_IN_WORDS):
                error.__traceback__ = own
            raise

    return call
