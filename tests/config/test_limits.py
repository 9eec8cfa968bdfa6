"""The limits of a route as written: what is taken, and what is said about the rest."""

from __future__ import annotations

from typing import Any

import pytest

from jupyter_wshandler.config.loader import load
from jupyter_wshandler.config.model import (
    PUBLIC_RATELIMIT,
    MaxConnections,
    Rate,
    Ratelimit,
    RouteConfig,
)
from jupyter_wshandler.config.units import RATE_UNITS, parse_rate

MIB = 1024 * 1024


def loaded(public: bool = False, defaults: Any = None, **kwargs: Any):
    route = {"pattern": "/bot", "handler": "WebSocketHandler", "kwargs": kwargs}
    return load(url={"bot": route}, allow_public_routes=public, defaults=defaults)


def route(**kwargs: Any) -> RouteConfig:
    config = loaded(public="auth" in kwargs, **kwargs)
    assert not config.broken, config.broken
    return config.routes[0]


def messages(**kwargs: Any) -> list[str]:
    config = loaded(**kwargs)
    assert not config.routes
    return [str(problem) for problem in config.broken[0].problems]


# ---- rates -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (100, (100.0, 1.0)),
        (0.5, (0.5, 1.0)),
        ("100", (100.0, 1.0)),
        ("100/s", (100.0, 1.0)),
        (" 100 / s ", (100.0, 1.0)),
        ("600/min", (600.0, 60.0)),
        ("600/m", (600.0, 60.0)),
        ("5/h", (5.0, 3600.0)),
        ("2/day", (2.0, 86400.0)),
        ("2/d", (2.0, 86400.0)),
    ],
)
def test_a_rate_is_a_number_per_second_or_per_unit_of_time(written, expected) -> None:
    assert parse_rate(written) == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (4096, (4096.0, 1.0)),
        ("1MiB", (MIB, 1.0)),
        ("1MiB/s", (MIB, 1.0)),
        ("10 KB/min", (10_000, 60.0)),
        ("4096", (4096, 1.0)),
    ],
)
def test_a_rate_of_bytes_takes_a_size(written, expected) -> None:
    assert parse_rate(written, of_bytes=True) == expected


@pytest.mark.parametrize(
    "written",
    ["", "/", "100/", "/s", "100/week", "-1/s", "1e3/s", "100/s/s", 0, -5, "0/s", 1e12, "1MiB/s"],
)
def test_what_is_no_rate_is_refused_with_what_is_one(written) -> None:
    with pytest.raises(ValueError, match=r"expected a rate such as 100/s, 600/min or 2/day"):
        parse_rate(written)


def test_an_unknown_unit_of_time_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError) as error:
        parse_rate("2/weekend" + "d" * 500)
    assert ", ".join(RATE_UNITS) in str(error.value)
    assert len(str(error.value)) < 250


# ---- max_connections ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (20, MaxConnections(user=20)),
        ({"user": 20}, MaxConnections(user=20)),
        ({"address": 50, "route": 1000}, MaxConnections(address=50, route=1000)),
    ],
)
def test_max_connections_is_a_number_per_user_or_a_mapping(written, expected) -> None:
    assert route(max_connections=written).max_connections == expected


def test_without_max_connections_there_is_no_limit() -> None:
    assert route().max_connections == MaxConnections(user=0, address=0, route=0)


@pytest.mark.parametrize("value", [0, -1, True, "20", 1.5, None, {}, [], 1_000_001])
def test_a_max_connections_of_the_wrong_kind_is_one_problem(value: Any) -> None:
    (message,) = messages(max_connections=value)
    assert message.startswith("c.WSHandlerApp.url['bot'].kwargs.max_connections")
    assert "expected a number from 1 to 1000000, or a mapping" in message


def test_each_part_of_max_connections_is_checked_in_its_place() -> None:
    found = messages(max_connections={"user": 0, "adress": 5, "route": "many"})
    assert len(found) == 3
    text = "\n".join(found)
    assert "max_connections.user: expected a number from 1 to 1000000" in text
    assert "max_connections.adress: unknown key 'adress'; did you mean address?" in text
    assert "max_connections.route: expected a number" in text


# ---- ratelimit ---------------------------------------------------------------------------------


def test_a_ratelimit_with_every_key() -> None:
    written = {"messages": "600/min", "bytes": "1MiB/s", "per": "user", "burst": "5s"}
    assert route(ratelimit={**written, "then": "error"}).ratelimit == Ratelimit(
        messages=Rate(600.0, 60.0),
        bytes=Rate(float(MIB), 1.0),
        per="user",
        burst=5.0,
        then="error",
    )


def test_the_defaults_of_a_ratelimit_are_per_connection_and_close() -> None:
    found = route(ratelimit={"messages": 100}).ratelimit
    assert found == Ratelimit(messages=Rate(100.0), bytes=None, per="connection", then="close")


@pytest.mark.parametrize("off", [False, "off"])
def test_a_route_with_login_has_no_ratelimit_and_a_public_one_100_messages_a_second(off) -> None:
    assert route().ratelimit is None
    assert route(auth=True).ratelimit is None
    assert route(auth=False).ratelimit == PUBLIC_RATELIMIT == Ratelimit(messages=Rate(100.0))
    assert route(auth=False, ratelimit=off).ratelimit is None
    own = Ratelimit(bytes=Rate(5000.0))
    assert route(auth=False, ratelimit={"bytes": 5000}).ratelimit == own
    config = loaded(public=True, auth=False, defaults={"ratelimit": off})
    assert config.routes[0].ratelimit is None


@pytest.mark.parametrize("value", [100, "100/s", True, None, [], "no"])
def test_a_ratelimit_of_the_wrong_kind_is_one_problem(value: Any) -> None:
    (message,) = messages(ratelimit=value)
    assert "expected a mapping with messages or bytes, or off" in message


@pytest.mark.parametrize("value", [{}, {"per": "user"}, {"then": "error", "burst": 5}])
def test_a_ratelimit_without_a_rate_says_what_is_missing(value: Any) -> None:
    (message,) = messages(ratelimit=value)
    assert "expected messages, bytes or both, such as {messages: 100/s}" in message


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("messages", "100/week", "found the unit of time 'week'"),
        ("messages", "1MiB/s", "found the unit 'MiB' in '1MiB'"),
        ("messages", "many", "expected a rate such as 100/s"),
        ("messages", True, "expected a rate such as 100/s"),
        ("messages", None, "expected a rate such as 100/s"),
        ("messages", 0, "expected a rate such as 100/s"),
        ("bytes", "1mib/s", "the units are B, KB"),
        ("bytes", "2GiB/s", "not in 0 to"),
        ("per", "session", "expected connection, user or address"),
        ("burst", 0, "expected a duration over 0"),
        ("burst", "soon", "expected a duration"),
        ("then", "drop", "expected close or error"),
        ("mesages", 5, "unknown key 'mesages'; did you mean messages?"),
    ],
)
def test_each_part_of_a_ratelimit_is_checked_in_its_place(key, value, expected) -> None:
    rest = {} if key == "messages" else {"messages": 5}
    (message,) = messages(ratelimit={key: value, **rest})
    assert f"kwargs.ratelimit.{key}: " in message
    assert expected in message


@pytest.mark.parametrize(
    "written",
    [
        {"keys": ["user", "daily"], "limit": 10},
        {"keys": "daily, user", "limit": {"function": "calc.limit(handler)"}, "pool": "users"},
        {"pool": "users"},
    ],
)
def test_row_ratelimit_in_the_shape_of_gramex_says_what_to_write_instead(written) -> None:
    (message,) = messages(ratelimit=written)
    assert "max_connections: {user: 20}" in message
    assert "ratelimit: {messages: 100/s, per: user}" in message
