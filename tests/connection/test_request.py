"""The opening request as callbacks see it."""

from __future__ import annotations

import pytest

from jupyter_wshandler.connection.request import Headers, Request


def test_header_fields_are_found_in_any_case_and_repeated_ones_are_joined() -> None:
    headers = Request([("X-Room", "blue"), ("x-room", "red"), ("Host", "a:1")]).headers
    assert headers["X-ROOM"] == "blue,red"
    assert headers.get("host") == "a:1"
    assert headers.get("missing") is None
    assert "x-Room" in headers
    assert 5 not in headers
    assert list(headers) == ["X-Room", "Host"]
    assert len(headers) == 2
    assert dict(headers) == {"X-Room": "blue,red", "Host": "a:1"}
    with pytest.raises(KeyError):
        headers["missing"]


def test_a_value_may_hold_colons_and_be_empty() -> None:
    headers = Request([("A", "b:c: d"), ("Empty", "")]).headers
    assert dict(headers) == {"A": "b:c: d", "Empty": ""}
    assert dict(Request().headers) == {}


def test_row_query_arguments_are_a_dict_of_lists_in_utf8() -> None:
    request = Request(uri="/bot?a=1&a=2&b=&c=%C3%BC+x&d")
    assert request.arguments == {"a": ["1", "2"], "b": [""], "c": ["ü x"], "d": [""]}
    assert (request.path, request.query) == ("/bot", "a=1&a=2&b=&c=%C3%BC+x&d")


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("/bot?token=secret", "/bot"),
        ("/bot?a=%7e&token=secret&b=x+y", "/bot?a=%7e&b=x+y"),
        ("/bot?token=one&token=secret&c", "/bot?c"),
        ("/bot?ws_token=secret&_xsrf=secret", "/bot"),
        ("/bot?%74oken=secret&a=1", "/bot?a=1"),
        ("/bot?mytoken=mine&tokens=2&Token=3", "/bot?mytoken=mine&tokens=2&Token=3"),
        ("/token=secret", "/token=secret"),
        ("/bot?", "/bot?"),
    ],
)
def test_no_credential_of_the_query_is_seen_by_a_callback(uri, shown) -> None:
    request = Request(uri=uri)
    assert request.uri == shown
    assert request._whole_uri == uri
    assert not {"token", "ws_token", "_xsrf"} & {*request.arguments}
    assert "secret" not in request.query


@pytest.mark.parametrize(
    ("uri", "path", "arguments"),
    [
        ("/", "/", {}),
        ("/a%20b?", "/a%20b", {}),
        ("//[?x=1", "//[", {"x": ["1"]}),
        ("/bot?a=1?b", "/bot", {"a": ["1?b"]}),
        ("/bot?bad=%ff", "/bot", {"bad": ["\ufffd"]}),
        ("/bot?" + "&".join(f"k{n}={n}" for n in range(1500)), "/bot", None),
    ],
)
def test_no_path_or_query_is_too_strange_to_be_looked_at(uri, path, arguments) -> None:
    request = Request(uri=uri)
    assert request.path == path
    if arguments is None:
        assert len(request.arguments) == 1500
    else:
        assert request.arguments == arguments


def test_cookies_are_found_by_name() -> None:
    request = Request([("Cookie", 'a=1; b="q z"; c=x=y')])
    assert dict(request.cookies) == {"a": "1", "b": "q z", "c": "x=y"}
    assert dict(Request().cookies) == {}
    with pytest.raises(TypeError):
        request.cookies["a"] = "2"  # type: ignore[index]


def test_a_malformed_cookie_takes_no_others_with_it() -> None:
    """Pages of other applications on the same host leave all kinds of cookies."""
    request = Request([("Cookie", 'first=1; prefs={"a":1,"b":[2]}; ; last=2')])
    assert request.cookies["first"] == "1"
    assert request.cookies["prefs"] == '{"a":1,"b":[2]}'
    assert request.cookies["last"] == "2"


def test_no_secret_is_shown_by_repr() -> None:
    request = Request(
        [("Cookie", "sid=secret"), ("Authorization", "token secret")],
        "/bot?token=secret",
        "192.0.2.1",
    )
    assert repr(request) == "<Request /bot from 192.0.2.1>"
    assert repr(request.headers) == "<Headers Cookie, Authorization>"
    assert "secret" not in f"{Headers([('A', 'secret')])!r}"


def test_a_request_cannot_be_given_other_attributes() -> None:
    request = Request(uri="/bot")
    with pytest.raises(AttributeError):
        request.headers = {}  # type: ignore[misc, assignment]
    with pytest.raises(AttributeError):
        request.user = "me"  # type: ignore[attr-defined]
