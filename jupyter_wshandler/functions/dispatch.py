"""One function for each kind of message: what ``types:`` in a route's configuration says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import CallbackError
from ..types import Callback
from .decoders import Shape, WrongTag, shape_of, tag_of, tag_reader
from .resolve import BoundCallback
from .schemas import fixed_in, refuses
from .typed import decoding
from .unfit import no_binary, of_tag

EVENT = "types"

FIELD = "type"
"""The field of a message that says of which kind it is, where no type says another."""

Tags = dict[str, str | int]


class Dispatcher:
    """The functions of a route that says ``types:``, as one callback.

    It runs on the event loop where all of them do. Else it is called in a thread: what an ``async
    def`` among them returns there is awaited on the loop, as it always is.

    Args:
        choices: The functions, by the key that they stand under.
        field: The field of a message that has the tag.
        tags: The tag as it is in JSON, for each key.
    """

    __slots__ = ("call", "choices", "event", "field", "inline", "name", "tags")

    def __init__(self, choices: Mapping[str, BoundCallback], field: str, tags: Tags) -> None:
        self.choices = dict(choices)
        self.field = field
        self.tags = tags
        self.event = "on_message"
        self.name = f"types ({', '.join(one.name for one in choices.values())})"
        self.inline = all(one.inline for one in choices.values())
        self.call = self._caller()

    def _caller(self) -> Callable[..., Any]:
        calls = {self.tags[key]: _typed(one) for key, one in self.choices.items()}
        read = tag_reader(self.field, tuple(calls))

        def call(handler: Any, message: Any) -> Any:
            if type(message) is bytes:
                raise no_binary()
            try:
                chosen = calls[read(message)]
            except WrongTag as error:
                raise of_tag(error.field, error.tags, error.error, message) from None
            return chosen(handler, message)

        # What looks for the author's module finds it behind this; see `callbacks.bound`.
        call.__wrapped__ = next(iter(calls.values()))  # type: ignore[attr-defined]
        return call

    def __repr__(self) -> str:
        return f"<Dispatcher by {self.field}: {', '.join(self.choices)}>"


def with_types(callbacks: Mapping[str, Callback]) -> dict[str, Callback]:
    """Return the callbacks of a route with those of ``types:`` made one, which is `on_message`.

    Args:
        callbacks: By event; those of ``types:`` stand under ``types TAG``.

    Raises:
        CallbackError: They do not agree on which field has the tag, or one takes another tag.
    """
    found: dict[str, Callback] = {}
    choices: dict[str, BoundCallback] = {}
    for event, callback in callbacks.items():
        kind, _, key = event.partition(" ")
        if kind == EVENT and isinstance(callback, BoundCallback):
            choices[key] = callback
        else:
            found[event] = callback
    if choices:
        found["on_message"] = Dispatcher(choices, *_agreed(choices))
    return found


def _typed(callback: BoundCallback) -> Callable[..., Any]:
    """Return what takes the text of a message; a function without types gets a dict."""
    if callback.takes is not None:
        return callback.call
    any_object = shape_of(dict[str, Any])
    assert any_object is not None
    return decoding(callback.call, any_object)


def _agreed(choices: Mapping[str, BoundCallback]) -> tuple[str, Tags]:
    """Return the field that has the tag, and the tag of each choice as it is in JSON."""
    said = {key: _tag(key, callback) for key, callback in choices.items()}
    fields = {key: found[0] for key, found in said.items() if found is not None}
    first, field = next(iter(fields.items()), ("", FIELD))
    for key, other in fields.items():
        if other != field:
            raise CallbackError(
                f"types: the messages of {choices[first].name} say what they are in {field!r}, and "
                f"those of {choices[key].name} in {other!r}; let both say it in the same field"
            )
    tags: Tags = {key: key if found is None else found[1] for key, found in said.items()}
    if len({type(tag) for tag in tags.values()}) > 1:
        raise CallbackError("types: some tags are numbers and some are texts; use one of the two")
    for callback in choices.values():
        shape = callback.takes
        if shape is not None and refuses(shape.schema, shape.named, field):
            raise CallbackError(
                f"types: {callback.name} takes messages without other fields than its own, and "
                f"{field!r}, which says what they are, is none; add it, or allow unknown fields"
            )
    return field, tags


def _tag(key: str, callback: BoundCallback) -> tuple[str, str | int] | None:
    """Return the field that says what the messages of a function are, and what it says.

    Returns:
        None where its type says nothing of it, or it has none.

    Raises:
        CallbackError: It says another tag than the configuration.
    """
    shape: Shape | None = callback.takes
    if shape is None:
        return None
    tag = tag_of(shape.annotation)
    if tag is not None and str(tag[1]) != key:
        raise CallbackError(
            f"types: {callback.name} takes messages with the tag {tag[1]!r}, and stands under "
            f"{key!r}; write {tag[1]}: {callback.name}"
        )
    for field, values in fixed_in(shape.schema, shape.named).items():
        if [str(value) for value in values] == [key]:
            return field, values[0]
    return None
