"""The opening handshake: what a server must check (RFC 6455 section 4.2)."""

from __future__ import annotations

import base64

import pytest

from jupyter_wshandler.engine.handshake import (
    accept_key,
    check_upgrade,
    is_upgrade,
    select_subprotocol,
)
from jupyter_wshandler.errors import HandshakeError

GOOD = [
    ("Host", "server.example.com"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
]
Fields = list[tuple[str, str]]


def without(name: str) -> Fields:
    return [field for field in GOOD if field[0] != name]


def with_value(name: str, value: str) -> Fields:
    return [(key, value if key == name else old) for key, old in GOOD]


def refused(fields: Fields, method: str = "GET", version: str = "HTTP/1.1") -> HandshakeError:
    with pytest.raises(HandshakeError) as error:
        check_upgrade(method, version, fields)
    return error.value


def test_the_rfcs_handshake_is_answered_with_the_rfcs_accept() -> None:
    handshake = check_upgrade("GET", "HTTP/1.1", GOOD)
    assert handshake.accept == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert handshake.subprotocols == []
    assert handshake.extensions == []
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == handshake.accept


@pytest.mark.parametrize(
    "fields",
    [
        [(name.upper(), value) for name, value in GOOD],
        [(name.lower(), value) for name, value in GOOD],
        with_value("Upgrade", "WebSocket"),
        with_value("Upgrade", "h2c, websocket"),
        with_value("Connection", "keep-alive, Upgrade"),
        with_value("Connection", "upgrade"),
        [*with_value("Connection", "keep-alive"), ("Connection", "upgrade")],
        with_value("Sec-WebSocket-Key", " dGhlIHNhbXBsZSBub25jZQ== "),
        [*GOOD, ("Content-Length", "0")],
        [*GOOD, ("Origin", "http://example.com"), ("Cookie", "a=b"), ("Cookie", "c=d")],
    ],
)
def test_the_spellings_that_the_rfc_allows_are_accepted(fields: Fields) -> None:
    assert check_upgrade("GET", "HTTP/1.1", fields).accept == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize("method", ["POST", "HEAD", "OPTIONS", "CONNECT", "get"])
def test_another_method_is_405(method: str) -> None:
    error = refused(GOOD, method=method)
    assert error.status == 405
    assert error.headers == {"Allow": "GET"}


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/0.9", "", "HTTP", "http/1.1", "HTTP/1.1x"])
def test_http_before_1_1_is_400(version: str) -> None:
    assert refused(GOOD, version=version).status == 400


def test_http_after_1_1_passes() -> None:
    assert check_upgrade("GET", "HTTP/2.0", GOOD)


@pytest.mark.parametrize(
    "fields",
    [
        without("Host"),
        [*GOOD, ("Host", "other.example.com")],
        [*GOOD, ("host", "server.example.com")],
        with_value("Host", ""),
    ],
)
def test_host_must_be_given_exactly_once(fields: Fields) -> None:
    error = refused(fields)
    assert error.status == 400
    assert "Host" in error.reason


@pytest.mark.parametrize("fields", [without("Upgrade"), with_value("Upgrade", "")])
def test_426_has_no_upgrade_where_none_was_asked_for_as_http2_forbids_the_field(
    fields: Fields,
) -> None:
    error = refused(fields)
    assert error.status == 426
    assert error.headers == {"Sec-WebSocket-Version": "13"}


@pytest.mark.parametrize(
    "fields",
    [
        with_value("Upgrade", "h2c"),
        with_value("Upgrade", "websockets"),
        with_value("Upgrade", "web socket"),
        with_value("Sec-WebSocket-Version", "8"),
    ],
)
def test_without_upgrade_to_websocket_the_answer_is_426(fields: Fields) -> None:
    error = refused(fields)
    assert error.status == 426
    assert error.headers == {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
    }


@pytest.mark.parametrize(
    "fields",
    [
        without("Connection"),
        with_value("Connection", "close"),
        with_value("Connection", "Upgrades"),
    ],
)
def test_connection_must_hold_upgrade(fields: Fields) -> None:
    error = refused(fields)
    assert error.status == 400
    assert "proxy" in error.reason


@pytest.mark.parametrize("version", ["8", "12", "14", "013", "13, 8", "thirteen", ""])
def test_another_version_is_426_and_names_ours(version: str) -> None:
    error = refused(with_value("Sec-WebSocket-Version", version))
    assert error.status == 426
    assert error.headers["Sec-WebSocket-Version"] == "13"


def test_a_missing_version_is_426_and_a_doubled_one_400() -> None:
    assert refused(without("Sec-WebSocket-Version")).status == 426
    assert refused([*GOOD, ("Sec-WebSocket-Version", "13")]).status == 400


@pytest.mark.parametrize(
    "key",
    [
        "",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZQ=",
        "dGhlIHNhbXBsZSBub25jZQ==\n",
        "dGhlIHNhbXBsZSBub25j!Q==",
        "dGhlIHNhbXBsZSBub25jZ-_=",
        base64.b64encode(bytes(15)).decode(),
        base64.b64encode(bytes(17)).decode(),
        base64.b64encode(bytes(18)).decode(),
        "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==",
        "é" * 22 + "==",
    ],
)
def test_a_key_that_is_not_16_bytes_in_base64_is_400(key: str) -> None:
    assert refused(with_value("Sec-WebSocket-Key", key)).status == 400


def test_a_missing_or_doubled_key_is_400() -> None:
    assert "not at all" in refused(without("Sec-WebSocket-Key")).reason
    doubled = refused([*GOOD, ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")])
    assert doubled.status == 400
    assert "found 2 times" in doubled.reason


@pytest.mark.parametrize(
    "field",
    [
        ("Content-Length", "1"),
        ("Content-Length", "x"),
        ("Content-Length", "10"),
        ("Transfer-Encoding", "chunked"),
        ("transfer-encoding", ""),
    ],
)
def test_a_request_with_a_body_is_400(field: tuple[str, str]) -> None:
    assert refused([*GOOD, field]).status == 400


@pytest.mark.parametrize(
    ("values", "offered"),
    [
        (["chat"], ["chat"]),
        (["chat, superchat"], ["chat", "superchat"]),
        (["b,a", "c"], ["b", "a", "c"]),
        (["chat,,superchat,"], ["chat", "superchat"]),
        (["Chat, chat"], ["Chat", "chat"]),
        (["wsh.v1,v1.kernel.websocket.jupyter.org"], ["wsh.v1", "v1.kernel.websocket.jupyter.org"]),
    ],
)
def test_subprotocols_are_read_from_every_line_in_order(
    values: list[str], offered: list[str]
) -> None:
    fields = [*GOOD, *(("Sec-WebSocket-Protocol", value) for value in values)]
    assert check_upgrade("GET", "HTTP/1.1", fields).subprotocols == offered


@pytest.mark.parametrize(
    "values",
    [[""], [","], ["a b"], ["a/b"], ['"a"'], ["é"], ["a, a"], ["a", "b, a"], ["a;b"], ["a\n"]],
)
def test_subprotocols_that_are_no_tokens_or_come_twice_are_400(values: list[str]) -> None:
    fields = [*GOOD, *(("Sec-WebSocket-Protocol", value) for value in values)]
    assert refused(fields).status == 400


def test_extensions_are_handed_on_as_they_came() -> None:
    fields = [
        *GOOD,
        ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
        ("sec-websocket-extensions", "foo, bar; baz=2"),
    ]
    assert check_upgrade("GET", "HTTP/1.1", fields).extensions == [
        "permessage-deflate; client_max_window_bits",
        "foo, bar; baz=2",
    ]


@pytest.mark.parametrize(
    ("fields", "asks"),
    [
        (GOOD, True),
        ([("upgrade", "WebSocket")], True),
        ([("Upgrade", "h2c"), ("Upgrade", "foo, websocket")], True),
        ([("Host", "x"), ("Sec-WebSocket-Key", "stripped by a proxy")], True),
        ([("Host", "x"), ("Connection", "keep-alive")], False),
        ([("Upgrade", "h2c"), ("Connection", "Upgrade")], False),
        ([("Upgrade-Insecure-Requests", "1")], False),
        ([], False),
    ],
)
def test_a_request_asks_for_a_websocket_by_upgrade_or_key(fields: Fields, asks: bool) -> None:
    assert is_upgrade(fields) is asks


@pytest.mark.parametrize(
    ("offered", "supported", "chosen"),
    [
        (["a", "b"], ["b", "a"], "a"),
        (["x", "b"], ["a", "b"], "b"),
        (["A"], ["a"], None),
        ([], ["a"], None),
        (["a"], [], None),
    ],
)
def test_the_clients_order_chooses_the_subprotocol(
    offered: list[str], supported: list[str], chosen: str | None
) -> None:
    assert select_subprotocol(offered, supported) == chosen
