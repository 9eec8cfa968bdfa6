"""Set-Cookie fields and signed values, written without Tornado's detours.

A handshake of a script sets two cookies, and making them was a sixth of what the handshake cost.
What is written is the same, letter for letter; whatever is out of the ordinary is left to Tornado.
"""

from __future__ import annotations

import hmac
import re
import time
from base64 import b64encode
from functools import lru_cache
from http.cookies import Morsel
from typing import Any

from tornado.httputil import format_timestamp
from tornado.web import DEFAULT_SIGNED_VALUE_VERSION

_OPTIONS = frozenset({"expires_days", "path", "httponly", "secure", "samesite"})

# RFC 2616's tokens, and a colon: what `http.cookies` writes as it is.
_is_bare = re.compile(r"[\w!#$%&'*+\-.^`|~:]+", re.ASCII).fullmatch
# What else is in base64: written in quotes, with nothing to be escaped.
_is_quotable = re.compile(r"[\w!#$%&'*+\-.^`|~:/=]+", re.ASCII).fullmatch
_is_attribute = re.compile(r"[!-:<-~]*").fullmatch

_names: Morsel[str] = Morsel()
_dates: dict[float, tuple[int, str]] = {}

DATES_AT_MOST = 16
"""Periods whose end is kept as text for the second that it is good for."""


def set_cookie_line(name: str, value: str | bytes, **options: Any) -> str | None:
    """Return the value of a Set-Cookie field (RFC 6265 section 4.1), or None: let Tornado do it.

    Args:
        name: The cookie's name.
        value: Its value.
        options: Those of Tornado's ``RequestHandler.set_cookie``.
    """
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    path, samesite = options.get("path", "/") or "", options.get("samesite") or ""
    days = options.get("expires_days")
    if (
        not options.keys() <= _OPTIONS
        or not isinstance(name, str)
        or not _is_bare(name)
        or _names.isReservedKey(name)
        or not _is_quotable(text)
        or not _is_attribute(path)
        or not _is_attribute(samesite)
        or (days is not None and not 0 < days < 10_000)
    ):
        return None
    parts = [f"{name}={text}" if _is_bare(text) else f'{name}="{text}"']
    if days is not None:
        parts.append(f"expires={_date_in(days)}")
    if options.get("httponly"):
        parts.append("HttpOnly")
    if path:
        parts.append(f"Path={path}")
    if samesite:
        parts.append(f"SameSite={samesite}")
    if options.get("secure"):
        parts.append("Secure")
    return "; ".join(parts)


def _date_in(days: float) -> str:
    now = int(time.time())
    second, text = _dates.get(days, (0, ""))
    if second != now:
        if len(_dates) >= DATES_AT_MOST:
            _dates.clear()
        text = format_timestamp(now + days * 86400)
        _dates[days] = (now, text)
    return text


def signed_value(secret: Any, name: str, value: str | bytes) -> bytes | None:
    """Return a value with its time and signature as Tornado's version 2, or None: let it do it.

    Args:
        secret: The server's ``cookie_secret``; where there are several, Tornado knows which counts.
        name: The cookie's name.
        value: Its value.
    """
    if DEFAULT_SIGNED_VALUE_VERSION != 2 or not secret or not isinstance(secret, (str, bytes)):
        return None
    if not isinstance(name, str) or not name.isascii():
        return None
    data = b64encode(value.encode() if isinstance(value, str) else value).decode()
    now = str(int(time.time()))
    text = f"2|1:0|{len(now)}:{now}|{len(name)}:{name}|{len(data)}:{data}|".encode()
    signer = _signer(secret).copy()
    signer.update(text)
    return text + signer.hexdigest().encode()


@lru_cache(maxsize=4)
def _signer(secret: str | bytes) -> hmac.HMAC:
    """Return what has taken the secret, and nothing else: to look its hash up is the dear part."""
    return hmac.new(secret.encode() if isinstance(secret, str) else secret, digestmod="sha256")
