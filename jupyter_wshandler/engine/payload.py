"""From what a bot or a client wants to send to what a frame carries."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator

from ..types import Message


class JsonText(str):
    """JSON text of something that was no text itself."""

    __slots__ = ()


def in_its_thread(item: object) -> object:
    """Return what a function has returned or yielded in a thread, ready for the event loop.

    What becomes JSON becomes it here: that takes its time, and may run code of the user's.

    Args:
        item: What may be sent, None, or what is to be awaited or streamed.

    Raises:
        TypeError: It holds what has no JSON form; says where and what to do.
        ValueError: It contains itself, or two keys of it are the same in JSON.
    """
    if item is None or isinstance(item, (str, bytes, bytearray, memoryview, AsyncIterator)):
        return item
    if inspect.isawaitable(item) or inspect.isgenerator(item):
        return item
    from .jsontext import to_json

    return JsonText(to_json(item))


def to_message(message: object, binary: bool | None = None) -> Message:
    """Turn what a callback sends into what a frame carries.

    Args:
        message: str travels as text, bytes, bytearray and memoryview as binary, and anything
            else that has a JSON form (`jsontext.to_json`) as its JSON text.
        binary: True or False forces the frame's type; of JSON text too.

    Raises:
        TypeError: It is None, or holds what has no JSON form; says where and what to do.
        ValueError: Bytes that are to go out as text are not UTF-8, or it contains itself.
    """
    if isinstance(message, str):
        return message.encode() if binary else str.__str__(message)
    if isinstance(message, (bytes, bytearray, memoryview)):
        return bytes(message).decode() if binary is False else bytes(message)
    if message is None:
        raise TypeError('None is no message; send "null" for the JSON value')
    if inspect.isawaitable(message):
        raise TypeError(f"a {type(message).__name__} is no message; await it, and send what it is")
    if inspect.isgenerator(message) or inspect.isasyncgen(message):
        raise TypeError("a generator is no message; send each of its items, or return it")
    from .jsontext import to_json  # loads msgspec, which a client that sends text does without

    text = to_json(message)
    return text.encode() if binary else text
