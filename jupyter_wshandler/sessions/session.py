"""A session as callbacks see it, and whoever owns those that are in use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, SupportsIndex

_ALL = object()  # stands for every key


class Session(dict[str, Any]):
    """What survives reconnects: a dict whose values are JSON.

    ``session["id"]`` is always there and cannot be changed; `clear` leaves it. What is read
    back after a restart has gone through JSON: tuples are lists, and keys of dicts are str.

    Args:
        id: The session's name.

    Attributes:
        used: Whether it was written, or handed to a callback, since whoever saves it last looked
            and set this back. Only the package needs it.
    """

    __slots__ = ("_id", "_removed", "used")

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self._id = id
        self.used = False
        # Keys removed since `expect_stored`: the stored values come later and must not bring
        # back what a callback has removed meanwhile. None where nothing is to come.
        self._removed: set[object] | None = None

    @property
    def id(self) -> str:
        """The session's name, the same at each reconnect."""
        return self._id

    def _check(self, key: object, *value: object) -> None:
        self.used = True
        if key == "id" and value != (self._id,):
            raise TypeError(
                "session['id'] cannot be changed; keep your own value under another key"
            )

    def __setitem__(self, key: str, value: Any) -> None:
        self._check(key, value)
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        self._check(key)
        if self._removed is not None:
            self._removed.add(key)
        super().__delitem__(key)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Take several values, as `dict.update` does."""
        values = dict(*args, **kwargs)
        if "id" in values:
            self._check("id", values["id"])
        self.used = True
        super().update(values)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return a value, and set it where there is none, as `dict.setdefault` does."""
        self.used = True
        return super().setdefault(key, default)

    def __ior__(self, other: Any) -> Session:  # type: ignore[override,misc]
        self.update(other)
        return self

    def pop(self, key: str, *default: Any) -> Any:
        """Remove a value and return it, as `dict.pop` does."""
        self._check(key)
        if self._removed is not None:
            self._removed.add(key)
        return super().pop(key, *default)

    def popitem(self) -> tuple[str, Any]:
        """Remove the newest value and return it with its key; never the id."""
        for key in reversed(self):
            if key != "id":
                return key, self.pop(key)
        raise KeyError("the session is empty")

    def clear(self) -> None:
        """Remove everything but the id."""
        self.used = True
        if self._removed is not None:
            self._removed.add(_ALL)
        super().clear()
        super().__setitem__("id", self._id)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        # A copy is a plain dict: there is one object of a session.
        return dict, (dict(self),)

    def expect_stored(self) -> None:
        """Remember from now on what is removed: `merge_stored` follows. For the package only."""
        self._removed = set()

    def merge_stored(self, values: Mapping[str, Any]) -> None:
        """Take what was stored, but for what was written or removed before it came.

        For the package only.

        Args:
            values: What the store holds; empty where it holds nothing.
        """
        removed, self._removed = self._removed or (), None
        if _ALL not in removed:
            for key, value in values.items():
                if key not in removed:
                    self.setdefault(key, value)


class Sessions(Protocol):
    """The owner of the sessions that are in use.

    Attributes:
        hangs: How often the store has not answered for `PATIENCE` seconds.
    """

    hangs: int

    @property
    def is_away(self) -> bool:
        """Whether the store cannot be read or written, as far as is known."""

    async def attach(self, session_id: str, user_key: str, *, new: bool = False) -> Session:
        """Return the live object of a session, for one more connection."""

    def detach(self, session: Session) -> None:
        """Let one connection go."""

    def touch(self, session: Session) -> None:
        """Note that a callback has the session in hands; may be called in any thread."""

    async def flush(self, *, wait: bool = True) -> None:
        """Save every session that has changed."""

    async def stop(self, timeout: float = 5.0) -> None:
        """Save what has changed, and end."""
