"""From what a bot or a client wants to send to what a frame carries."""

from __future__ import annotations

import inspect

from ..types import Message


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
