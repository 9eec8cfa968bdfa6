"""X-Forwarded-For with a port: visitors behind a proxy are told apart."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import websockets.exceptions
from support.server import running_server, wait_for

from jupyter_wshandler.server.forwarded import (
    client_address,
    one_spelling,
    read_forwarded,
    without_port,
)

CONFIG = """
url:
  who:
    pattern: /who
    handler: WebSocketHandler
    kwargs: {on_message: bot.who, auth: false, max_connections: {address: 1}}
  scheme:
    pattern: /scheme
    handler: WebSocketHandler
    kwargs: {on_message: bot.scheme, auth: false}
"""

BOT = """
async def who(handler, message):
    return handler.request.remote_ip

async def scheme(handler, message):
    return handler.request.protocol
"""

PUBLIC = "--WSHandlerApp.allow_public_routes=True"


@pytest.fixture(scope="module", params=[True, False], ids=["trusted", "not trusted"])
def server(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("forwarded")
    with running_server(
        CONFIG,
        folder=folder,
        modules={"bot.py": BOT},
        extra_args=[PUBLIC, f"--ServerApp.trust_xheaders={request.param}"],
    ) as running:
        running.extra["trusted"] = request.param
        yield running


def connect(server, headers):
    return server.connect_sync("/who", token=False, headers=headers)


def address(server, headers) -> str:
    with connect(server, headers) as socket:
        socket.send("?")
        return socket.recv(timeout=10)


NAMED = {
    "192.0.2.1": "192.0.2.1",
    "192.0.2.1:51342": "192.0.2.1",
    "[2001:db8::1]:443": "2001:db8::1",
    "[2001:db8::1]": "2001:db8::1",
    "2001:db8::1": "2001:db8::1",
    '"[2001:db8::1]:4711"': "2001:db8::1",
    "198.51.100.7:80, 192.0.2.1:51342": "192.0.2.1",
    "198.51.100.7,192.0.2.1:0": "192.0.2.1",
    "  192.0.2.1:65535  ": "192.0.2.1",
}

NOBODY = ["unknown", "_hidden:80", "192.0.2.1:51342:1", "192.0.2.999:80", "[192.0.2.1", "a:b", ","]


@pytest.mark.parametrize("field", ["X-Forwarded-For", "X-Real-Ip"])
@pytest.mark.parametrize("value", NAMED)
def test_a_visitor_has_the_address_that_a_trusted_proxy_names_with_or_without_a_port(
    server, field, value
):
    if field == "X-Real-Ip" and "," in value:
        return
    expected = NAMED[value] if server.extra["trusted"] else "127.0.0.1"
    wait_for(lambda: came(server, {field: value}) == expected, what=expected)


def came(server, headers) -> str | None:
    """Return the address, or None while the last visitor's place is not free yet."""
    try:
        return address(server, headers)
    except websockets.exceptions.InvalidStatus:
        return None


@pytest.mark.parametrize("value", NOBODY)
def test_what_is_no_address_leaves_the_proxys_own(server, value):
    wait_for(lambda: came(server, {"X-Forwarded-For": value}) == "127.0.0.1", what=value)


def test_visitors_behind_a_proxy_that_names_ports_do_not_share_a_limit(server):
    one, other = ({"X-Forwarded-For": f"192.0.2.{n}:5{n}00"} for n in (11, 12))
    again = {"X-Forwarded-For": "192.0.2.11:59999"}
    wait_for(lambda: came(server, {}), what="a free place")
    with connect_soon(server, one):
        if server.extra["trusted"]:
            assert address(server, other) == "192.0.2.12"
        with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
            connect(server, again)
        assert refused.value.response.status_code == 429


def connect_soon(server, headers):
    def opened():
        try:
            return connect(server, headers)
        except websockets.exceptions.InvalidStatus:
            return None

    return wait_for(opened, what="a free place")


def test_a_proxy_that_names_no_address_is_in_the_log_once_and_what_it_said_is_not(server):
    for _ in range(3):
        came(server, {"X-Forwarded-For": "something-secret"})
    said = "names its client with something that is no address"
    assert server.log_text().count(said) == (1 if server.extra["trusted"] else 0)
    assert "something-secret" not in server.log_text()


@pytest.mark.parametrize(
    ("forwarded", "real", "trusted", "expected"),
    [
        (None, None, set(), None),
        ("192.0.2.1:80, 10.0.0.1:443", None, {"10.0.0.1"}, "192.0.2.1"),
        ("192.0.2.1, 10.0.0.1", None, {"10.0.0.1"}, "192.0.2.1"),
        ("10.0.0.1:443", None, {"10.0.0.1"}, "10.0.0.1"),
        ("192.0.2.1:80", "192.0.2.9:81", set(), "192.0.2.9"),
        ("[2001:db8::1]:443, [fd00::1]:1", None, {"fd00::1"}, "2001:db8::1"),
    ],
)
def test_the_address_is_the_last_one_that_is_no_trusted_proxys(forwarded, real, trusted, expected):
    assert client_address(forwarded, real, trusted) == expected


@pytest.mark.parametrize("value", ["", "unknown", "host:80", "1.2.3.4:123456", "[::1]:x"])
def test_what_is_no_address_with_a_port_is_left_as_it_is(value):
    assert without_port(value) == value


# ---- the scheme ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "protocol"),
    [
        ({"X-Forwarded-Proto": "wss"}, "https"),
        ({"X-Forwarded-Proto": "WSS"}, "https"),
        ({"X-Forwarded-Proto": "http, wss"}, "https"),
        ({"X-Forwarded-Proto": "wss, ws"}, "http"),
        ({"X-Forwarded-Proto": "https"}, "https"),
        ({"X-Forwarded-Proto": "ws"}, "http"),
        ({"X-Forwarded-Proto": "gopher"}, "http"),
        ({"X-Scheme": "wss", "X-Forwarded-Proto": "http"}, "https"),
        ({}, "http"),
    ],
)
def test_a_socket_behind_tls_is_https_whichever_word_a_trusted_proxy_has_for_it(
    server, headers, protocol
):
    with server.connect_sync("/scheme", token=False, headers=headers) as socket:
        cookie = socket.response.headers["Set-Cookie"]
        socket.send("?")
        came = socket.recv(timeout=10), "; secure" in cookie.lower()
    trusted = server.extra["trusted"]
    expected = protocol if trusted else "http"
    # With several proxies in a row any of them may be the browser's hop.
    secure = trusted and bool(_hops(headers))
    assert came == (expected, secure)


def _hops(headers: dict[str, str]) -> list[str]:
    words = ",".join(headers.values()).split(",")
    return [word.strip() for word in words if word.strip().lower() in ("https", "wss")]


SPELLINGS = {
    "127.0.0.1": ["127.0.0.1", "::ffff:127.0.0.1", "::FFFF:7f00:1", "0:0:0:0:0:ffff:127.0.0.1",
                  "127.1", "0x7f000001", "2130706433"],
    "::1": ["::1", "0:0:0:0:0:0:0:1", "0000:0000:0000:0000:0000:0000:0000:0001", "::0001"],
    "2001:db8::a": ["2001:db8::a", "2001:DB8::A", "2001:0db8:0:0::000a", "2001:db8:0:0::0.0.0.10"],
    "fe80::1%eth0": ["fe80::1%eth0", "FE80:0::1%eth0"],
    "": [""],
    "no address": ["no address"],
    "192.0.2.1 and more": ["192.0.2.1 and more"],
    "192.0.2.999": ["192.0.2.999"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("spelling", "expected"), [(text, one) for one, all_ in SPELLINGS.items() for text in all_]
)
def test_an_address_has_one_spelling(spelling, expected):
    assert one_spelling(spelling) == expected
    assert one_spelling(expected) == expected


def test_a_proxy_that_is_trusted_is_passed_over_in_every_spelling():
    entries = "198.51.100.7, ::ffff:192.0.2.1, 2001:DB8:0::1"
    assert client_address(entries, None, {"192.0.2.1", "2001:db8::1"}) == "198.51.100.7"


@pytest.mark.parametrize(
    ("first", "again"),
    [
        ("2001:db8::21", "2001:0DB8:0:0:0:0:0:21"),
        ("192.0.2.21", "::ffff:192.0.2.21"),
        ("[::ffff:192.0.2.22]:4711", "192.0.2.22"),
    ],
)
def test_another_spelling_of_an_address_is_no_other_visitor(server, first, again):
    wait_for(lambda: came(server, {}), what="a free place")
    with connect_soon(server, {"X-Forwarded-For": first}):
        with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
            connect(server, {"X-Forwarded-For": again})
        assert refused.value.response.status_code == 429


def test_a_visitor_of_a_socket_for_both_families_counts_as_the_ipv4_address():
    request = SimpleNamespace(remote_ip="::ffff:192.0.2.1")
    read_forwarded(SimpleNamespace(settings={}, request=request))
    assert request.remote_ip == "192.0.2.1"
