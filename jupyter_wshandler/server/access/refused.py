"""Refusals of a handshake: a status, and one sentence that the client may see."""

from __future__ import annotations

from tornado.web import HTTPError


class Refused(HTTPError):
    """A refusal: a status, and one sentence that the client may see.

    Args:
        status: The HTTP status.
        sentence: Why, in words for the client.
        headers: More header fields of the answer.
        detail: More words, for the log alone.
    """

    cause = ""
    """A word for programs, where the status leaves open what it was."""

    def __init__(
        self,
        status: int,
        sentence: str,
        headers: dict[str, str] | None = None,
        *,
        detail: str = "",
    ) -> None:
        super().__init__(status)
        self.sentence = sentence
        self.headers = headers or {}
        self.detail = detail


class WrongOrigin(Refused):
    """The refusal of a page of another origin.

    Args:
        detail: More words, for the log alone.
    """

    cause = "origin"

    def __init__(self, detail: str = "") -> None:
        super().__init__(403, "this origin is not allowed", detail=detail)


class GuestRefused(Refused):
    """The refusal of somebody who comes by a share; it is for a person to read.

    Args:
        sentence: Why.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(403, sentence)


class StaleLogin(Refused):
    """The refusal of a ticket or login that may have been good a moment ago."""

    cause = "login"

    def __init__(self, sentence: str) -> None:
        super().__init__(403, sentence)


def words_of(error: HTTPError) -> str:
    """Return what an error says, as it was written; "" where it says nothing.

    Args:
        error: One of ours, or of Jupyter's.
    """
    said = error.log_message or ""
    # Tornado has it as a format: each percent sign stands there twice where it has no arguments.
    return str(said % error.args) if error.args else said.replace("%%", "%")
