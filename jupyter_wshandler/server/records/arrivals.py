"""When the messages came that are not done, so that it can be told how long each took."""

from __future__ import annotations

from time import perf_counter


class Arrivals:
    """Those of each connection, in the order in which they came, in which they are done as well."""

    def __init__(self) -> None:
        # Lists: they are short, as an inbox is, and an empty `deque` takes 760 bytes.
        self._of: dict[str, list[float | None]] = {}

    def before(self, name: str, count: int) -> None:
        """Take note of messages that came before anybody measured.

        Args:
            name: The connection's id.
            count: How many of them are not done.
        """
        if count:
            self._of[name] = [None] * count

    def came(self, name: str) -> None:
        """Take note of a message that comes.

        Args:
            name: The connection's id.
        """
        self._of.setdefault(name, []).append(perf_counter())

    def done(self, name: str, later: int | None = None) -> float | None:
        """Take note that a message is done, and return how many seconds it took.

        Args:
            name: The connection's id.
            later: How many have come after it; None of the oldest. See `Observer.message_done`.

        Returns:
            None where that is not known, and for one that no callback got: it was not measured
            from its begin, or taken out from between the others.
        """
        waiting = self._of.get(name)
        if not waiting:
            return None
        if later is not None:
            if later < len(waiting):
                del waiting[-1 - later]
            return None
        begun = waiting.pop(0)
        return None if begun is None else perf_counter() - begun

    def forget(self, name: str) -> None:
        """Forget a connection.

        Args:
            name: Its id.
        """
        self._of.pop(name, None)

    def clear(self) -> None:
        """Forget them all."""
        self._of.clear()
