"""What a client offers of permessage-deflate, and what a route's options say (RFC 7692)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

MIN_SIZE = 32
"""Messages below this many bytes go out as they are: deflate hardly makes them smaller."""

DEFAULTS = {"compression_level": 6, "mem_level": 5, "max_window_bits": 12, "min_size": MIN_SIZE}
RANGES = {
    "compression_level": (0, 9),
    "mem_level": (1, 9),
    "max_window_bits": (9, 15),
    "min_size": (0, 1 << 30),
}
FLAGS = ("server_no_context_takeover", "client_no_context_takeover")

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 - the grammar's word
_PARAMETER = rf'[ \t]*;[ \t]*({_TOKEN})(?:[ \t]*=[ \t]*(?:({_TOKEN})|"((?:[^"\\]|\\.)*)"))?'
_match_name = re.compile(rf"[ \t]*({_TOKEN})").match
_match_parameter = re.compile(_PARAMETER).match
_match_end = re.compile(r"[ \t]*(?:,|$)").match
_match_empty = re.compile(r"[ \t]*,").match
_is_token = re.compile(_TOKEN).fullmatch
_is_bits = re.compile(r"[89]|1[0-5]").fullmatch

Parameters = list[tuple[str, str | None]]


def parse_extensions(header: str) -> list[tuple[str, Parameters]]:
    """Parse one Sec-WebSocket-Extensions value (RFC 6455 section 9.1).

    Args:
        header: The field's value as received.

    Returns:
        Name and parameters of each extension, in order; a parameter without value has None.

    Raises:
        ValueError: The value does not follow the grammar.
    """
    found: list[tuple[str, Parameters]] = []
    at, end = 0, len(header)
    while at < end:
        if empty := _match_empty(header, at):
            at = empty.end()
            continue
        name = _match_name(header, at)
        if name is None:
            if header[at:].strip(" \t"):
                raise ValueError(f"expected an extension's name at character {at}")
            break
        at = name.end()
        parameters: Parameters = []
        while match := _match_parameter(header, at):
            key, value, quoted = match.groups()
            if quoted is not None:
                value = re.sub(r"\\(.)", r"\1", quoted)
                if not _is_token(value):
                    raise ValueError(f"parameter {key}: a quoted value must be a token inside")
            parameters.append((key, value))
            at = match.end()
        separator = _match_end(header, at)
        if separator is None:
            raise ValueError(f"expected a semicolon, a comma or the end at character {at}")
        at = separator.end()
        found.append((name[1], parameters))
    return found


class Offer(NamedTuple):
    """The parameters of one offer (RFC 7692 section 7.1)."""

    server_no_context_takeover: bool
    client_no_context_takeover: bool
    server_max_window_bits: int | None
    client_max_window_bits: int | None
    client_takes_window_bits: bool


def read_offer(parameters: Parameters) -> Offer | None:
    """Return what the parameters say; None where the offer must be declined (RFC 7692 section 7.1).

    Args:
        parameters: As `parse_extensions` returns them.
    """
    given = dict(parameters)
    if len(given) != len(parameters):
        return None
    bits: dict[str, int | None] = {}
    for name, value in given.items():
        if name in FLAGS:
            if value is not None:
                return None
        elif name == "client_max_window_bits" and value is None:
            bits[name] = None
        elif name in ("server_max_window_bits", "client_max_window_bits"):
            if value is None or not _is_bits(value):
                return None
            bits[name] = int(value)
        else:
            return None
    if bits.get("server_max_window_bits") == 8:
        # zlib cannot compress with a window of 256 bytes in raw mode.
        return None
    return Offer(
        server_no_context_takeover="server_no_context_takeover" in given,
        client_no_context_takeover="client_no_context_takeover" in given,
        server_max_window_bits=bits.get("server_max_window_bits"),
        client_max_window_bits=bits.get("client_max_window_bits"),
        client_takes_window_bits="client_max_window_bits" in given,
    )


def check_options(options: Mapping[str, Any] | None) -> dict[str, int]:
    """Return the options of a route, with the defaults of what they do not say.

    Args:
        options: See `PerMessageDeflate.negotiate`.

    Raises:
        ValueError: One is unknown or out of its range.
    """
    checked = {**DEFAULTS, **dict.fromkeys(FLAGS, False)}
    for name, value in (options or {}).items():
        if name in FLAGS:
            if type(value) is not bool:
                raise ValueError(
                    f"compression option {name}: expected True or False, found {value!r}"
                )
        elif name in RANGES:
            low, high = RANGES[name]
            if type(value) is not int or not low <= value <= high:
                raise ValueError(
                    f"compression option {name}: expected a whole number from {low} to {high}, "
                    f"found {value!r}"
                )
        else:
            raise ValueError(
                f"compression option {name!r} is unknown; expected {', '.join(checked)}"
            )
        checked[name] = value
    return checked
