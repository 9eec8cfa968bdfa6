"""The close codes that a client may see, each with what it means; `docs/pages.md` says more."""

from __future__ import annotations

from ..types import CloseCode

MEANINGS: dict[CloseCode, str] = {
    CloseCode.NORMAL: "the bot has ended the conversation; `idle`: nobody said anything",
    CloseCode.GOING_AWAY: "the server has stopped",
    CloseCode.PROTOCOL_ERROR: "one side broke the protocol",
    CloseCode.UNSUPPORTED_DATA: "the bot does not take this kind of message, or none at all",
    CloseCode.NO_STATUS: "the connection was ended without a word: by a proxy, or by the client",
    CloseCode.ABNORMAL: "the connection was lost, or never opened",
    CloseCode.INVALID_PAYLOAD: "text that is no UTF-8",
    CloseCode.POLICY_VIOLATION: "the route's rules were broken, as `ratelimit`",
    CloseCode.MESSAGE_TOO_BIG: "a message over `max_message`",
    CloseCode.INTERNAL_ERROR: "a function has failed or has taken too long",
    CloseCode.SERVICE_RESTART: "the route is restarted, is gone, or its kernel has ended",
    CloseCode.TRY_AGAIN_LATER: "the server is busy, or this client reads too slowly",
    CloseCode.LOGGED_OUT: "signed out",
    CloseCode.FORBIDDEN: "no longer allowed",
}

OWN = (3000, 4999)
"""Codes that a bot may close with, but for those above."""

PASSING = frozenset(
    {
        CloseCode.GOING_AWAY,
        CloseCode.NO_STATUS,
        CloseCode.ABNORMAL,
        CloseCode.INTERNAL_ERROR,
        CloseCode.SERVICE_RESTART,
        CloseCode.TRY_AGAIN_LATER,
    }
)
"""Codes after which a client may try again."""
